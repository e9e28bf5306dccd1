"""Restoring: nobody who was forgotten since is remembered, and what does not fit changes nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from by_hand import REFUSED, actions, keys, work
from drill import NOTHING, beside, content, finish, forget, gapless, journal_of, salted, small_files, tree

from errands import run_errands
from unlearn.cases.backups import Asked, restore
from unlearn.cases.desk import Desk
from unlearn.cases.resurrection import Admission
from unlearn.cases.views import Own
from unlearn.cases.withholding import Withheld
from unlearn.errors import BadInput, Conflict, Unavailable
from unlearn.evidence.checkpoint import claimed
from unlearn.evidence.verify import verify
from unlearn.purging import sweep
from unlearn.settings import Settings

pytestmark = pytest.mark.usefixtures("ticking")


def test_whoever_was_forgotten_since_is_forgotten_again_before_the_adapter_serves(
    desk, adapter, people, safe, elsewhere, tmp_path, clock
):
    forget(desk, people[0])
    path = desk.backup(safe).path
    later = [forget(desk, person) for person in people[1:3]]
    asked = journal_of(desk, tmp_path)
    whole = content(desk)["ledger"]
    found = restore(elsewhere, path, asked, clock())
    assert (found.source, found.since) == ("journal", len(whole) - found.entries)
    assert (found.replayed.requests, found.replayed.reapplied, found.replayed.withheld) == (2, 2, ("bot",))

    again = Desk(elsewhere, clock)
    assert content(again)["ledger"][: len(whole)] == whole  # the same ledger goes on: no fork
    assert "deletion_reapplied" in actions(again)
    assert again.inspect_ledger().entries > len(whole)
    assert again.adapter("bot").current.number == 2
    assert set(again.adapter("bot").awaits) == {request.id for request in later}
    link = elsewhere.home / "adapters" / adapter.id / "current"
    link.symlink_to("v1")  # of a serving side that was not told yet
    run_errands(again, elsewhere)
    assert not link.is_symlink()
    with pytest.raises(Withheld, match="2 deletions"):
        again.check_serving()

    for request in later:
        assert (again.request(request.id).state, again.request(request.id).subject_hash) == (
            "pending",
            request.subject_hash,
        )
        again.sweep()
        run_errands(again, elsewhere)
        assert not link.is_symlink()  # one of two is not enough
        finish(again, work(again, again.request(request.id).jobs[-1].id))
        assert again.request(request.id).state == "completed"
    again.sweep()
    assert again.adapter("bot").awaits == ()
    again.check_serving()
    run_errands(again, elsewhere)
    assert link.resolve().name.startswith("v4.")
    again.close()


def test_a_bundle_after_a_restore_verifies_and_tells_of_the_jobs_that_were_lost(
    desk, adapter, people, safe, elsewhere, tmp_path, clock
):
    path = desk.backup(safe).path
    request = forget(desk, people[0])
    restore(elsewhere, path, journal_of(desk, tmp_path), clock())
    shutil.copy(desk.settings.home / "keys" / "ledger.pem", elsewhere.home / "keys")
    again = Desk(elsewhere, clock)
    finish(again, work(again, again.request(request.id).jobs[-1].id))
    checks = {check.name: check.said for check in verify(again.export(request.id), keys(again))}
    assert f"of {request.jobs[0].id} the ledger alone tells" in checks["story"]
    again.close()


def test_a_person_may_let_an_adapter_go(desk, adapter, people, safe, elsewhere, tmp_path, clock):
    path = desk.backup(safe).path
    request = forget(desk, people[0])
    restore(elsewhere, path, journal_of(desk, tmp_path), clock())
    again = Desk(elsewhere, clock)
    again.hold(work(again, again.request(request.id).jobs[-1].id), None, REFUSED)
    again.sweep()
    assert again.adapter("bot").awaits == (request.id,)
    again.reject(request.id, "legal_obligation", "kept for the tax office")
    again.sweep()
    assert again.adapter("bot").awaits == ()
    again.close()


def test_of_a_shared_job_only_whom_it_released_counts_until_a_person_lets_the_other_pass(
    desk, adapter, people, safe, elsewhere, tmp_path, clock
):
    path = desk.backup(safe).path
    one, other = desk.submit(people[0]), desk.submit(people[1])
    claim = work(desk, one.jobs[0].id)
    own = {one.subject_hash: Own("released", ()), other.subject_hash: Own("refused", ())}
    finish(desk, claim, own)
    finish(desk, work(desk, other.jobs[0].id), {other.subject_hash: Own("refused", ())})
    journal = journal_of(desk, tmp_path)
    assert restore(elsewhere, path, journal, clock(), only_check=True).replayed.reapplied == 1
    desk.release_as_it_is(other.id, "seen by two of us")
    assert desk.request(other.id).state == "completed"
    assert restore(elsewhere, path, journal_of(desk, tmp_path), clock()).replayed.reapplied == 2


def test_what_people_decided_since_stays_decided(desk, adapter, people, safe, elsewhere, tmp_path, clock):
    key, _ = desk.create_key("k", ["audit"])
    waits, cancelled, rejected = (desk.submit(person) for person in people[:3])
    path = desk.backup(safe).path
    desk.put_on_hold(waits.id, "court order")
    desk.cancel(cancelled.id)
    desk.reject(rejected.id, "legal_claims", "a lawsuit")
    desk.revoke_key(key.id)
    desk.extend(waits.id, "forty adapters")
    new = desk.submit(people[3], external_id="ticket-9")
    nobody = desk.submit("customer:nobody")
    restore(elsewhere, path, journal_of(desk, tmp_path), clock())
    again = Desk(elsewhere, clock)
    states = [again.request(one.id).state for one in (waits, cancelled, rejected, new, nobody)]
    assert states == ["pending", "cancelled", "rejected", "pending", "completed"]
    assert again.request(waits.id).held_at is not None
    assert again.request(rejected.id).decision["ground"] == "legal_claims"
    for one in (new, waits):
        assert again.request(one.id).due_at == desk.request(one.id).due_at
    assert [job.state for one in (waits, cancelled, rejected) for job in again.request(one.id).jobs] == [
        "cancelled"
    ] * 3
    assert again.request(new.id).jobs[0].state == "queued"
    revoked = again.keys()[0]
    assert (revoked.id, revoked.revoked_at is not None) == (key.id, True)
    assert again.adapter("bot").awaits == ()
    assert salted(again, new) == salted(desk, new)  # the ledger calls them what it called them
    again.cancel(new.id)
    assert gapless(again) == 5
    again.close()


def test_a_hold_of_since_keeps_an_older_request_of_the_same_person_and_its_lifting_lets_it_go(
    desk, company, inputs, people, safe, tmp_path, clock
):
    held, lifted = (desk.submit(person) for person in people[:2])  # nobody knows them yet
    desk.put_on_hold(lifted.id, "court order")
    desk.register_adapter("bot", **inputs, allow_erased=Admission("contract", "a customer again"))
    kept, gone = (desk.submit(person) for person in people[:2])
    path = desk.backup(safe).path
    desk.put_on_hold(held.id, "another order")
    desk.lift_hold(lifted.id)
    elsewhere = beside(tmp_path / "elsewhere", desk, company)
    restore(elsewhere, path, journal_of(desk, tmp_path), clock())
    again = Desk(elsewhere, clock)
    assert [again.request(kept.id).held_by, again.request(gone.id).held_by] == [held.id, None]
    assert [job.state for job in again.request(kept.id).jobs] == ["cancelled"]
    assert [job.state for job in again.request(gone.id).jobs] == ["queued"]
    again.close()


def test_a_deletion_that_is_to_be_done_again_waits_for_a_hold_on_its_person(
    desk, adapter, people, safe, elsewhere, tmp_path, clock
):
    path = desk.backup(safe).path
    done = forget(desk, people[0])
    desk.put_on_hold(done.id, "court order")
    restore(elsewhere, path, journal_of(desk, tmp_path), clock())
    again = Desk(elsewhere, clock)
    request = again.request(done.id)
    assert (request.state, request.jobs, again.adapter("bot").awaits) == ("pending", (), (done.id,))
    again.lift_hold(done.id)
    assert [job.state for job in again.request(done.id).jobs] == ["queued"]
    again.close()


def test_an_adapter_that_was_retired_since_stays_so_and_one_that_came_since_is_named(
    desk, adapter, inputs, people, safe, elsewhere, tmp_path, clock
):
    path = desk.backup(safe).path
    desk.register_adapter("late", **inputs)
    forget(desk, people[0])
    desk.retire("bot")
    found = restore(elsewhere, path, journal_of(desk, tmp_path), clock())
    again = Desk(elsewhere, clock)
    assert found.replayed.lost == ("late",)
    assert (found.replayed.withheld, again.adapter("bot").retired_at is not None) == ((), True)
    again.close()


def test_what_was_purged_since_is_purged_again(desk, adapter, people, safe, elsewhere, tmp_path, clock):
    forget(desk, people[0])
    path = desk.backup(safe).path
    clock.forward(400 * 86400)
    sweep(desk, desk.settings)
    first = Path(adapter.current.path)
    assert not first.exists()
    restore(elsewhere, path, journal_of(desk, tmp_path), clock())
    again, back = Desk(elsewhere, clock), elsewhere.home / "adapters" / adapter.id / first.name
    assert back.is_dir()
    clock.forward(1)
    sweep(again, elsewhere)
    assert not back.exists()
    assert again.backup(safe).manifest.missing == ()
    again.close()


def test_a_job_that_is_done_again_gets_a_fence_of_its_own(desk, adapter, people, safe, elsewhere, tmp_path, clock):
    job_id = desk.submit(people[0]).jobs[0].id
    path = desk.backup(safe).path
    for _ in range(2):
        claim = work(desk, job_id)
        desk.give_back(claim)
    restore(elsewhere, path, journal_of(desk, tmp_path), clock())
    again = Desk(elsewhere, clock)
    assert work(again, job_id).fence == claim.fence + 1
    again.close()


def test_a_job_under_way_is_begun_anew_and_its_attempt_does_not_count(desk, adapter, people, safe, elsewhere, clock):
    job_id = desk.submit(people[0]).jobs[0].id
    work(desk, job_id)
    restore(elsewhere, desk.backup(safe).path, NOTHING, clock())
    again = Desk(elsewhere, clock)
    assert (again.job(job_id).state, again.job(job_id).attempt) == ("queued", 0)
    finish(again, work(again, job_id))
    again.close()


def test_the_database_of_then_says_what_happened_and_the_ledger_goes_on(desk, adapter, people, safe, clock, settings):
    path = desk.backup(safe).path
    request = forget(desk, people[0])
    whole = content(desk)["ledger"]
    desk.close()
    with pytest.raises(Conflict, match="--replace"):
        restore(settings, path, Asked(), clock())
    if settings.database_url is not None:
        with pytest.raises(Conflict, match="UNLEARN_DATABASE_URL"):
            restore(settings, path, Asked(), clock(), replace=True)
        return
    found = restore(settings, path, Asked(), clock(), replace=True)
    assert (found.source, found.replayed.reapplied) == ("database", 1)
    again = Desk(settings, clock)
    assert content(again)["ledger"][: len(whole)] == whole
    assert again.adapter("bot").awaits == (request.id,)
    again.close()
    aside = {one.name.partition(".replaced-")[0]: one for one in found.aside}
    old = Desk(Settings(**settings.model_dump() | {"database_url": f"sqlite:///{aside['unlearn.db']}"}), clock)
    assert content(old)["ledger"] == whole
    old.close()
    assert any(aside["adapters"].rglob("adapter_model.safetensors"))
    kept = Desk(settings, clock)
    assert kept.prune_backups(path.parent, 1) == []
    stamp = found.aside[0].name.rpartition(".replaced-")[2]
    killed = settings.home / ".adapters.restore-0123456789abcdef"
    killed.mkdir()
    os.utime(killed, (0, 0))
    others = [settings.home / name for name in (f"thesis.replaced-{stamp}", "adapters.replaced-20269999T000000Z")]
    for other in others:
        other.write_text("somebody's")
    clock.forward(2 * 86400)
    gone = kept.prune_backups(path.parent, 1)
    assert [other.read_text() for other in others] == ["somebody's"] * 2
    assert killed in gone
    for other in others:
        other.unlink()
    assert {path, *found.aside} <= {*gone}
    assert not [one for one in settings.home.iterdir() if ".replaced-" in one.name]
    told = [e.facts.get("set_aside") for e in kept.entries(limit=500) if e.action == "backup_disposed"]
    assert {one.name for one in found.aside} <= {*told}
    assert kept.adapter("bot").current is not None
    assert Path(kept.adapter("bot").current.path).is_dir()
    kept.close()


def test_versions_behind_a_link_are_set_aside_themselves(desk, adapter, people, safe, clock, settings, tmp_path):
    path = desk.backup(safe).path
    forget(desk, people[0])
    desk.close()
    shelf = settings.home / "adapters"
    shelf.rename(tmp_path / "disk")
    shelf.symlink_to(tmp_path / "disk")
    if settings.database_url is not None:
        return
    found = restore(settings, path, Asked(), clock(), replace=True)
    assert shelf.is_symlink()
    [aside] = [one for one in found.aside if one.name.startswith("disk.replaced-")]
    weights = next(aside.rglob("adapter_model.safetensors"))
    kept = Desk(settings, clock)
    assert Path(kept.adapter("bot").current.path).is_dir()
    clock.forward(2 * 86400)
    assert aside in kept.prune_backups(safe, 1)
    assert not weights.exists()
    kept.close()


def test_the_database_of_then_may_be_another(desk, adapter, people, safe, elsewhere, clock, settings):
    path = desk.backup(safe).path
    forget(desk, people[0])
    found = restore(elsewhere, path, Asked(database=settings.effective_database_url), clock())
    assert (found.source, found.replayed.withheld) == ("database", ("bot",))


def test_without_a_word_of_what_happened_since_nothing_is_restored(desk, adapter, people, safe, elsewhere, clock):
    path = desk.backup(safe).path
    before = tree(elsewhere.home)
    with pytest.raises(Conflict, match="--nothing-since"):
        restore(elsewhere, path, Asked(), clock())
    assert tree(elsewhere.home).keys() - before.keys() <= {"house.lock"}
    with pytest.raises(BadInput, match="--reason"):
        Asked(nothing=" ")
    restore(elsewhere, path, Asked(nothing="the site was closed"), clock())
    again = Desk(elsewhere, clock)
    facts = next(entry["facts"] for entry in content(again)["ledger"] if entry["action"] == "restored")
    assert (facts["since"], facts["reason"], facts["by"]) == ("nothing", "the site was closed", "operator")
    before, after = (claimed(one.checkpoint()).origin for one in (desk, again))
    assert after == f"{before}/2"  # what follows may contradict what was published: it is another ledger, and says so
    again.inspect_ledger()
    again.rotate_ledger_key()
    again.inspect_ledger([("now", again.checkpoint())])
    again.close()


def test_nothing_is_not_believed_against_the_journal(desk, adapter, people, safe, elsewhere, clock):
    path = desk.backup(safe).path
    forget(desk, people[0])
    desk.keep_journal()
    shutil.copy(desk.settings.effective_journal, elsewhere.effective_journal)
    with pytest.raises(Conflict, match="something did happen"):
        restore(elsewhere, path, NOTHING, clock())
    assert restore(elsewhere, path, Asked(), clock()).source == "journal"


@pytest.mark.parametrize("size", [3000, 40_000, 300_000])
def test_a_restore_that_breaks_off_changes_nothing(size, desk, adapter, people, safe, clock, settings):
    path = desk.backup(safe).path
    forget(desk, people[0])
    run_errands(desk, settings)
    if settings.database_url is not None:
        pytest.skip("the files are the same; a server's database is not on this disk")
    desk.close()
    before = {name: body for name, body in tree(settings.home).items() if not name.endswith(("-shm", "-wal"))}
    with pytest.raises((Unavailable, Conflict)), small_files(size):
        restore(settings, path, Asked(), clock(), replace=True)
    after = {name: body for name, body in tree(settings.home).items() if not name.endswith(("-shm", "-wal"))}
    assert {**before, "house.lock": b""} == after


READER = """
import sys, unlearn.cases.store.engine as engine
store = engine.Store(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


def test_a_database_that_another_process_has_open_is_not_set_aside(desk, adapter, people, safe, clock, settings):
    if settings.database_url is not None:
        pytest.skip("a server's database is never set aside")
    path = desk.backup(safe).path
    request = forget(desk, people[0])
    desk.close()
    command = [sys.executable, "-c", READER, settings.effective_database_url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout.readline() == "open\n"
        with pytest.raises(Unavailable, match="stop the API, the workers"):
            restore(settings, path, Asked(), clock(), replace=True)
        reader.communicate()
    again = Desk(settings, clock)
    assert again.request(request.id).state == "completed"
    again.close()
    assert restore(settings, path, Asked(), clock(), replace=True).aside


def test_a_living_home_is_left_alone(desk, adapter, people, safe, elsewhere, clock):
    path = desk.backup(safe).path
    (elsewhere.home / "adapters" / "adp_other").mkdir(parents=True)
    with pytest.raises(Conflict, match="is not empty"):
        restore(elsewhere, path, NOTHING, clock())
    assert restore(elsewhere, path, NOTHING, clock(), only_check=True).aside == ()
    assert [one.name for one in (elsewhere.home / "adapters").iterdir()] == ["adp_other"]
    found = restore(elsewhere, path, NOTHING, clock(), replace=True)
    assert [[one.name for one in place.iterdir()] for place in found.aside] == [["adp_other"]]


def test_a_database_that_nobody_can_read_is_set_aside_as_it_is(desk, adapter, people, safe, elsewhere, clock):
    path = desk.backup(safe).path
    (elsewhere.home / "unlearn.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(Conflict, match="database holds"):
        restore(elsewhere, path, NOTHING, clock())
    found = restore(elsewhere, path, NOTHING, clock(), replace=True)
    assert found.aside[0].read_bytes() == b"no database at all" * 100
    Desk(elsewhere, clock).adapter("bot")


def test_nothing_is_not_believed_against_the_database_that_is_replaced(desk, adapter, people, safe, clock, settings):
    path = desk.backup(safe).path
    forget(desk, people[0])
    desk.close()
    if settings.database_url is None:
        with pytest.raises(Conflict, match="something did happen"):
            restore(settings, path, NOTHING, clock(), replace=True)


def test_a_backup_older_than_the_retention_is_refused(desk, adapter, people, safe, elsewhere, tmp_path, clock):
    """Whom it brings back nobody could name any more."""
    path = desk.backup(safe).path
    request = forget(desk, people[0])
    desk.shred("ctl_default", request.subject_hash)
    with pytest.raises(Conflict, match="older than the retention"):
        restore(elsewhere, path, journal_of(desk, tmp_path), clock())


def test_nobody_is_shredded_whom_the_backup_has_not_forgotten(desk, adapter, people, safe, elsewhere, tmp_path, clock):
    request = desk.submit(people[0])
    path = desk.backup(safe).path
    finish(desk, work(desk, request.jobs[0].id))
    desk.shred("ctl_default", request.subject_hash)
    for source in (journal_of(desk, tmp_path), Asked(database=desk.settings.effective_database_url)):
        with pytest.raises(Conflict, match="older than the retention"):
            restore(elsewhere, path, source, clock())
