"""Purging: what is due goes, once and for good; what somebody may still need stays; what broke off is resumed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from by_hand import REFUSED, REPORT, new_version, released, submit, work
from mlflow.tracking import MlflowClient

from errands import run_errands
from mlflow_server import mlflow_server
from unlearn import purging
from unlearn.cases.data_tables import StoredCorpus
from unlearn.cases.desk import UNFINISHED, Desk
from unlearn.cases.store import places
from unlearn.cases.store.ledger import all_entries, entries_about
from unlearn.cases.tables import AdapterVersion
from unlearn.cases.views import Own
from unlearn.errors import Conflict
from unlearn.settings import Settings

DAY = 86400.0


def held_back(desk, company, which=0):
    request, job_id = submit(desk, company, which)
    claim = work(desk, job_id)
    candidate = new_version(desk, claim)
    desk.hold(claim, candidate, REFUSED | {"adapter": {"after_sha256": candidate.sha256}})
    return request, job_id, candidate.path


def sweep(desk):
    return {(purge.number, purge.job_id) for purge in purging.sweep(desk, desk.settings)}


def facts(desk, action, request_id=None):
    with desk.store.reading() as session:
        found = all_entries(session) if request_id is None else entries_about(session, request_id)
        return [entry.facts for entry in found if entry.action == action]


def test_when_the_grace_period_is_over_weights_and_corpora_of_the_old_version_go(desk, adapter, company, clock):
    request, claim = released(desk, company)
    clock.forward(30 * DAY - 1)
    assert [p.number for p in desk.due_purges() if p.number] == []
    clock.forward(1)
    old = desk.adapter("bot").versions[0]
    assert (1, None) in sweep(desk)
    assert not Path(old.path).exists()
    assert len(list((desk.settings.home / "adapters" / adapter.id / "corpora").iterdir())) == 2
    assert desk.corpus(desk.adapter("bot"), "train").records
    [version] = facts(desk, "version_purged", request.id)
    assert version.pop("nth").keys() == {request.id}
    assert version == {"adapter": adapter.id, "version": 1, "sha256": old.sha256}
    purged = facts(desk, "corpus_purged", request.id)
    assert {fact["kind"]: fact["sha256"] for fact in purged} == {c.kind: c.sha256 for c in old.corpora}
    assert desk.adapter("bot").versions[0].purged_at == clock()
    [before] = desk.job(claim.job_id).superseded
    assert (before.number, before.purged_at) == (1, clock())
    with desk.store.reading() as session:
        assert session.get(StoredCorpus, (adapter.id, 1, 1, "train")).sealed_key is None
    assert sweep(desk) == set()
    assert len(facts(desk, "version_purged")) == 1


def test_the_policy_says_how_long_the_grace_is(desk, inputs, company, clock):
    desk.register_adapter("bot", **inputs, policy={"retention": {"grace_days": 0}})
    released(desk, company)
    assert (1, None) in sweep(desk)


def test_everybody_whom_the_old_version_knew_is_told_in_their_export(desk, adapter, company, clock):
    first, _ = released(desk, company)
    second, _ = released(desk, company, 1)
    clock.forward(31 * DAY)
    sweep(desk)
    assert [fact["version"] for fact in facts(desk, "version_purged", first.id)] == [1]
    assert [fact["version"] for fact in facts(desk, "version_purged", second.id)] == [1, 2]


@pytest.mark.parametrize("broken_off", ["before anything went", "in the middle", "after all went"])
def test_a_purge_that_broke_off_is_resumed_and_noted_once(desk, adapter, company, clock, broken_off):
    released(desk, company)
    clock.forward(31 * DAY)
    [purge] = [p for p in desk.due_purges() if p.number == 1]
    assert desk.begin_purge(purge)
    for place in purge.places[: {"before": 0, "in the": 1, "after ": 3}[broken_off[:6]]]:
        shutil.rmtree(place) if Path(place).is_dir() else os.remove(place)
    [again] = [p for p in desk.due_purges() if p.number == 1]
    assert again.since == clock()
    assert (1, None) in sweep(desk)
    assert not any(Path(place).exists() for place in purge.places)
    desk.purged(purge)  # whoever was slower
    assert len(facts(desk, "version_purged")) == 1


def test_what_can_not_be_deleted_keeps_nothing_else_and_is_tried_again(desk, adapter, company, clock, monkeypatch):
    _, job_id, _ = held_back(desk, company, 3)
    desk.reject(desk.job(job_id).request_ids[0], "legal_claims", "a suit")
    released(desk, company)
    clock.forward(31 * DAY)
    stuck = desk.adapter("bot").versions[0].path
    dispose = purging.dispose

    def failing(place):
        if place == stuck:
            raise OSError("the disk is read-only")
        dispose(place)

    monkeypatch.setattr(purging, "dispose", failing)
    assert (None, job_id) in sweep(desk)
    assert [p.number for p in desk.due_purges()] == [1]
    assert facts(desk, "version_purged") == []
    monkeypatch.undo()
    assert sweep(desk) == {(1, None)}


def test_a_rollback_within_the_grace_period_stops_the_purge(desk, adapter, company, clock):
    released(desk, company)
    clock.forward(29 * DAY)
    late = purging_of(desk, clock, 1)
    desk.roll_back("bot", 1, reopen=True)
    clock.forward(2 * DAY)
    assert not desk.begin_purge(late)
    assert [p.number for p in desk.due_purges() if p.number] == []
    assert Path(desk.adapter("bot").current.path).is_dir()
    clock.forward(30 * DAY)  # and the version that was left is purged in its turn
    assert [p.number for p in desk.due_purges() if p.number] == [2]


def purging_of(desk, clock, number):
    """The purge as somebody saw it who looked a moment too late."""
    before = clock.now
    clock.forward(40 * DAY)
    found = next(p for p in desk.due_purges() if p.number == number)
    clock.now = before
    return found


def test_a_legal_hold_keeps_the_versions_that_know_the_person_and_no_others(desk, adapter, company, clock):
    released(desk, company)
    second, _ = released(desk, company, 1)
    released(desk, company, 2)
    desk.put_on_hold(second.id, "court order 12/2026")
    clock.forward(31 * DAY)
    sweep(desk)
    assert [v.purged_at is not None for v in desk.adapter("bot").versions] == [False, False, True, False]
    assert desk.request(second.id).state == "completed"
    with pytest.raises(Conflict, match="held already"):
        desk.put_on_hold(second.id, "again")
    desk.lift_hold(second.id)
    sweep(desk)
    assert [v.purged_at is not None for v in desk.adapter("bot").versions] == [True, True, True, False]


def test_a_hold_on_somebody_who_was_never_erased_keeps_every_version(desk, adapter, company, clock):
    released(desk, company)
    waiting, _ = submit(desk, company, 1)
    desk.put_on_hold(waiting.id, "court order 12/2026")
    clock.forward(31 * DAY)
    assert [p.number for p in desk.due_purges() if p.number] == []
    desk.cancel(waiting.id)  # which ends no hold
    assert [p.number for p in desk.due_purges() if p.number] == []
    desk.lift_hold(waiting.id)
    assert [p.number for p in desk.due_purges() if p.number] == [1]


def test_a_candidate_stays_while_a_person_may_release_it(desk, adapter, company, clock):
    request, job_id, candidate = held_back(desk, company)
    clock.forward(400 * DAY)
    assert desk.due_purges() == []
    again = desk.retry(request.id)
    assert [p.job_id for p in desk.due_purges()] == [job_id]  # the newer job counts
    sweep(desk)
    assert not candidate.exists()
    assert desk.job(job_id).purged_at == clock()
    [fact] = facts(desk, "candidate_purged", request.id)
    assert (fact["job"], fact["verdict"], len(fact["sha256"])) == (job_id, "refused", 64)
    assert desk.request(again.id).state == "pending"


@pytest.mark.parametrize("ending", ["reject", "cancel", "hold"])
def test_a_candidate_of_nobody_goes_and_one_under_a_hold_stays(desk, adapter, company, clock, ending):
    request, _, candidate = held_back(desk, company)
    if ending == "reject":
        desk.reject(request.id, "not_the_subject", "another person of that name")
    elif ending == "cancel":
        desk.cancel(request.id)
    else:
        desk.put_on_hold(request.id, "court order 12/2026")
    assert desk.due_purges() == []  # its worker may not have heard
    clock.forward(3601)
    sweep(desk)
    assert candidate.exists() == (ending == "hold")


def test_workshops_of_ended_jobs_go_and_a_released_candidate_stays(desk, adapter, company, clock):
    request, job_id, candidate = held_back(desk, company)
    workshop = desk.settings.home / "jobs" / job_id
    (workshop / "f1" / "adapter").mkdir(parents=True)
    (workshop / "f1" / "adapter" / "draft").write_bytes(b"weights")
    desk.release_as_it_is(request.id, "good enough")
    clock.forward(3601)
    assert sweep(desk) == {(None, job_id)}
    assert not workshop.exists()
    assert candidate.is_dir()
    assert desk.adapter("bot").current.path == str(candidate)
    assert facts(desk, "candidate_purged") == []


def test_a_retired_adapter_leaves_nothing_on_its_shelf(desk, adapter, company, clock):
    released(desk, company)
    shelf = desk.settings.home / "adapters" / adapter.id
    (shelf / "shadows.parquet").write_bytes(b"levels")
    desk.retire("bot")
    clock.forward(31 * DAY)
    assert {(1, None), (2, None)} <= sweep(desk)
    assert [entry.name for entry in shelf.rglob("*")] == ["corpora"]


def test_a_sweep_clears_away_what_belongs_to_nothing_as_well(desk, adapter):
    lost = desk.settings.home / "adapters" / adapter.id / ".v3.draft"
    lost.mkdir()
    os.utime(lost, (1, 1))
    sweep(desk)
    assert not lost.exists()


def test_a_registration_leaves_no_mark_of_being_unfinished(desk, adapter):
    assert not (desk.settings.home / "adapters" / adapter.id / UNFINISHED).exists()


@pytest.mark.parametrize("place", ["/etc", "{home}", "{home}/adapters", "{home}/adapters/../keys", "file:///etc/x"])
def test_a_path_that_is_none_of_ours_is_never_deleted(desk, adapter, company, clock, place, tmp_path):
    released(desk, company)
    own = place.format(home=desk.settings.home)
    with desk.store.writing() as session:
        session.get(AdapterVersion, (adapter.id, 1)).path = own
    clock.forward(31 * DAY)
    assert (1, None) not in sweep(desk)
    assert facts(desk, "version_purged") == []
    assert (desk.settings.home / "keys").is_dir()
    assert desk.adapter("bot").versions[0].purged_at is None


@pytest.fixture
def registering(settings, tmp_path, clock):
    """A desk whose hook registers releases with an MLflow server, and a client of that."""
    with mlflow_server(tmp_path / "runs.db", tmp_path / "artifacts") as url:
        hooks = [{"kind": "mlflow", "uri": url}]
        desk = Desk(Settings(**settings.model_dump() | {"hooks": hooks, "mlflow_tracking_uri": url}), clock)
        desk.migrate()
        yield desk, MlflowClient(tracking_uri=url, registry_uri=url)
        desk.close()


def registered(client):
    """Our numbers of the model versions, and of the versions whose weights MLflow has."""
    models = {int(one.tags["adapter_version"]) for one in client.search_model_versions("name = 'bot'")}
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    has = {int(run.data.tags["adapter_version"]) for run in runs if client.list_artifacts(run.info.run_id, "adapter")}
    return models, has


def test_what_a_hook_put_into_mlflow_goes_with_its_version(registering, inputs, company, clock, tmp_path):
    desk, client = registering
    desk.register_adapter("bot", **inputs)
    for which in (0, 1):
        clock.forward(1)
        released(desk, company, which)
        run_errands(desk, desk.settings)
    assert registered(client) == ({2, 3}, {2, 3})
    clock.forward(31 * DAY)
    assert {(1, None), (2, None)} <= sweep(desk)
    assert registered(client) == ({3}, {3})
    assert len(list((tmp_path / "artifacts").rglob("*.safetensors"))) == 1
    assert client.get_model_version_by_alias("bot", "champion").tags["adapter_version"] == "3"


def test_a_version_is_not_purged_while_a_hook_can_not_say_what_it_has_of_it(
    registering, inputs, company, clock, tmp_path
):
    desk, _ = registering
    (tmp_path / "file").touch()
    desk.register_adapter("bot", **inputs)
    released(desk, company)
    clock.forward(31 * DAY)
    hooks = [{"kind": "mlflow", "uri": f"sqlite:///{tmp_path}/file/runs.db"}]
    away = desk.settings.model_copy(update={"hooks": hooks})
    assert (1, None) not in {(purge.number, purge.job_id) for purge in purging.sweep(desk, away)}
    assert facts(desk, "version_purged") == []
    assert (1, None) in sweep(desk)


@pytest.mark.parametrize("known", [False, True])
def test_the_ledger_says_where_mlflow_alone_could_delete_its_copy(registering, inputs, company, clock, tmp_path, known):
    desk, _ = registering
    if known:
        desk.settings = desk.settings.model_copy(update={"mlflow_artifacts": str(tmp_path / "artifacts")})
    desk.register_adapter("bot", **inputs)
    for which in (0, 1):
        clock.forward(1)
        released(desk, company, which)
        run_errands(desk, desk.settings)
    clock.forward(31 * DAY)
    sweep(desk)
    told = {fact["version"]: fact.get("mlflow_copy") for fact in facts(desk, "version_purged")}
    assert told == {1: None, 2: None if known else "deleted by MLflow alone"}


@pytest.fixture
def accepted(desk, inputs, company, clock):
    """Two requests shared a job; the gates refused one alone, and a person let it count as fulfilled a day later."""
    desk.register_adapter("bot", **inputs, policy={"schedule": {"coalescing_seconds": 60}})
    people = company.people
    requests = [desk.submit(person) for person in people[:2]]
    clock.forward(61)
    claim = work(desk, requests[0].jobs[0].id)
    own = {requests[0].subject_hash: Own("refused", ()), requests[1].subject_hash: Own("released", ())}
    desk.release(claim, new_version(desk, claim), REPORT, own)
    return people, [request.id for request in requests], claim.job_id


def test_who_is_released_by_decision_alone_leaves_the_corpora_of_the_version_that_serves(
    desk, accepted, company, clock
):
    people, ids, job_id = accepted
    before = desk.corpus(desk.adapter("bot"), "train")
    assert (people[0] in before.subjects, people[1] in before.subjects) == (True, False)
    clock.forward(DAY)
    desk.release_as_it_is(ids[0], "good enough")
    adapter = desk.adapter("bot")
    assert adapter.current.number == 2
    assert people[0] not in desk.corpus(adapter, "train").subjects
    assert [v.quarantined_at is not None for v in adapter.versions] == [True, False]
    gone = {r.id for r in company.world.train if set(people[:2]) & set(r.subjects)}
    assert set(desk.job(job_id).erased["train"]) == gone
    clock.forward(29 * DAY + 1)
    assert {(p.number, p.edition) for p in desk.due_purges() if p.number} == {(1, None)}
    sweep(desk)
    clock.forward(DAY)
    [replaced] = desk.due_purges()
    assert (replaced.number, replaced.edition, len(replaced.places)) == (2, 1, 2)
    sweep(desk)
    assert not any(Path(place).exists() for place in replaced.places)
    assert desk.due_purges() == []
    assert people[0] not in desk.corpus(desk.adapter("bot"), "train").subjects
    editions = [(fact["version"], fact["edition"]) for fact in facts(desk, "corpus_purged", ids[0])]
    assert sorted(set(editions)) == [(1, 1), (2, 1)]


def replaced(desk, accepted, clock):
    """The purge of the corpora that the version that serves had before, when it is due."""
    _, ids, _ = accepted
    desk.release_as_it_is(ids[0], "good enough")
    clock.forward(31 * DAY)
    [found] = [purge for purge in desk.due_purges() if purge.edition is not None]
    return found, ids[0]


def test_a_purge_of_replaced_corpora_that_began_before_a_legal_hold_is_ended(desk, accepted, clock):
    purge, request_id = replaced(desk, accepted, clock)
    assert desk.begin_purge(purge)
    os.remove(purge.places[0])
    desk.put_on_hold(request_id, "court order 12/2026")
    [again] = [p for p in desk.due_purges() if p.edition is not None]
    assert (again.places, again.since) == (purge.places, clock())
    with desk.store.reading() as session:
        assert not set(purge.places) & {place.place for place in places.known(session)}, "nor does a backup look for it"
    sweep(desk)
    assert not any(Path(place).exists() for place in purge.places)
    noted = facts(desk, "corpus_purged", request_id)
    assert [(fact["version"], fact["edition"]) for fact in noted if fact["version"] == 2] == [(2, 1)] * 2


def test_a_legal_hold_that_came_first_keeps_replaced_corpora(desk, accepted, clock):
    purge, request_id = replaced(desk, accepted, clock)
    desk.put_on_hold(request_id, "court order 12/2026")
    assert not desk.begin_purge(purge)
    desk.purged(purge)  # whoever began nothing has nothing to note
    sweep(desk)
    assert all(Path(place).exists() for place in purge.places)
    assert 2 not in {fact["version"] for fact in facts(desk, "corpus_purged")}


def test_nobody_is_accepted_into_a_version_while_the_next_is_made_to_keep_her(desk, accepted, company, clock):
    people, ids, _ = accepted
    third = desk.submit(people[2])
    clock.forward(61)
    claim = work(desk, third.jobs[0].id)
    with pytest.raises(Conflict, match="a job runs"):
        desk.release_as_it_is(ids[0], "good enough")
    desk.release(claim, new_version(desk, claim), REPORT)
    with pytest.raises(Conflict, match="serves no more"):
        desk.release_as_it_is(ids[0], "good enough")
    assert desk.request(ids[0]).state == "needs_review"
    left = desk.corpus(desk.adapter("bot"), "train").subjects
    assert people[0] in left
    assert not {people[1], people[2]} & left


def test_a_subject_is_past_retention_when_all_its_requests_ended_long_ago(desk, adapter, company, clock, settings):
    keeping = Desk(settings.model_copy(update={"retention_days": 365}), clock)
    done, _ = released(desk, company)
    waiting, _ = submit(desk, company, 1)
    desk.cancel(waiting.id)
    held, _ = released(desk, company, 2)
    desk.put_on_hold(held.id, "court order 12/2026")
    clock.forward(365 * DAY - 1)
    assert keeping.past_retention() == []
    clock.forward(1)
    found = {subject for _, subject in keeping.past_retention()}
    assert found == {done.subject_hash, waiting.subject_hash}
    assert desk.past_retention() == []
    purging.sweep(keeping, keeping.settings)
    assert keeping.past_retention() == []  # their salts are gone
    keeping.close()
