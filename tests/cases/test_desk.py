"""The desk: a request's life, its ledger, and what is never written down."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from contextlib import closing

import pytest
from by_hand import REFUSED, REPORT, actions, new_version, release, submit, work

from crowd import at_once
from dossiers import predicate_of
from tampering import let_rows_change
from unlearn.cases import planning
from unlearn.cases.desk import Desk
from unlearn.cases.store import dump
from unlearn.cases.store import requests as request_store
from unlearn.cases.store.adapters import Serving
from unlearn.cases.store.ledger import entries_about
from unlearn.cases.store.requests import Wanted
from unlearn.cases.tables import Request
from unlearn.errors import BadInput, Conflict, LeaseLost, NotFound
from unlearn.evidence.ledger import LedgerBroken


def test_a_released_job_completes_its_request_and_moves_the_alias(desk, adapter, company):
    request, job_id = submit(desk, company)
    assert (request.state, request.jobs[0].state) == ("pending", "queued")
    claim = work(desk, job_id)
    assert desk.request(request.id).state == "in_progress"
    desk.progress(claim, "erasing", 3, 20)
    assert desk.job(job_id).progress.step == 3
    version = new_version(desk, claim)
    desk.release(claim, version, REPORT)
    after = desk.adapter("bot")
    assert (after.current.number, after.current.sha256, after.current.job_id) == (2, version.sha256, job_id)
    ended = desk.request(request.id)
    assert (ended.state, ended.jobs[0].verdict) == ("completed", "released")
    assert ended.completed_at is not None
    assert actions(desk) == [
        "adapter_registered",
        "request_accepted",
        "job_planned",
        "attempt_started",
        "verdict",
        "version_released",
        "data_erased",
        "request_completed",
    ]
    assert desk.inspect_ledger().entries == 8


def test_a_refused_job_leaves_the_old_version_serving_and_asks_for_a_person(desk, adapter, company):
    request, job_id = submit(desk, company)
    desk.hold(work(desk, job_id), None, REFUSED)
    assert desk.request(request.id).state == "needs_review"
    assert desk.adapter("bot").current.number == 1
    assert desk.job(job_id).report["verdict"] == "refused"


def test_the_claim_says_whom_to_forget_and_whom_earlier_jobs_erased(desk, adapter, company):
    request, job_id = submit(desk, company, 0)
    first = work(desk, job_id)
    assert first.subject_hashes == {request.subject_hash}
    assert first.erased_hashes == frozenset()
    desk.release(first, new_version(desk, first), REPORT)
    other, other_job = submit(desk, company, 1)
    second = work(desk, other_job)
    assert second.subject_hashes == {other.subject_hash}
    assert second.erased_hashes == {request.subject_hash}
    assert second.adapter.current.number == 2


def test_an_open_subject_is_refused_and_one_nobody_knows_any_more_is_completed_at_once(desk, adapter, company):
    unknown = desk.submit("customer:nobody")
    assert (unknown.state, unknown.jobs) == ("completed", ())
    request, job_id = submit(desk, company)
    with pytest.raises(Conflict, match=request.id):
        submit(desk, company)
    release(desk, work(desk, job_id))
    people = company.people
    again = desk.submit(people[0])
    assert (again.state, again.jobs) == ("completed", ())
    with desk.store.reading() as session:
        facts = [entry.facts for entry in entries_about(session, unknown.id) if entry.action == "request_completed"]
        later = [entry.facts for entry in entries_about(session, again.id) if entry.action == "request_completed"]
    assert [(f["adapters_searched"], f["adapters_that_learned"]) for f in facts + later] == [(1, 0), (1, 1)]
    serves = {"adapter": adapter.id, "version": 1, "sha256": adapter.current.sha256}
    now = desk.adapter("bot").current
    assert facts[0]["adapters_versions"] == [serves]
    assert later[0]["adapters_versions"] == [serves | {"version": 2, "sha256": now.sha256}]
    assert predicate_of(desk.export(unknown.id))["searched"] == {
        "adapters_searched": 1,
        "adapters_that_learned": 0,
        "adapters_versions": [serves],
    }


def test_what_was_searched_is_named_up_to_a_hundred_and_then_by_the_digest_of_the_list():
    request = Request(id="req_1")
    many = tuple(Serving(f"adp_{number:03}", 1, f"{number:064x}") for number in range(101))
    few, more = (planning.completed(request, which, []).facts for which in (many[:100], many))
    assert len(few["adapters_versions"]) == few["adapters_searched"] == 100
    listed = [{"adapter": one.adapter_id, "sha256": one.sha256, "version": one.number} for one in many]
    spelled = json.dumps(listed, sort_keys=True, separators=(",", ":")).encode()
    assert more["adapters_versions_sha256"] == hashlib.sha256(spelled).hexdigest()
    assert (more["adapters_searched"], "adapters_versions" in more) == (101, False)


def test_after_a_refusal_the_same_subject_can_be_submitted_again(desk, adapter, company):
    first, job_id = submit(desk, company)
    desk.hold(work(desk, job_id), None, REFUSED)
    second, _ = submit(desk, company)
    assert second.id != first.id


def test_trying_again_counts_what_was_judged_in_vain_for_the_same_person_alone(desk, adapter, company):
    def tried(*verdicts):
        methods = ["calibrated", "npo", "retrain"][: len(verdicts)]
        tries = [{"method": m, "verdict": v} for m, v in zip(methods, verdicts, strict=True)]
        return REFUSED | {"attempts": tries}

    first, job_id = submit(desk, company)
    claim = work(desk, job_id)
    assert claim.judged_before == 0
    desk.hold(claim, None, tried("refused", None, "refused"))  # one made no adapter, one has nothing to pass with
    again = desk.retry(first.id)
    claim = work(desk, next(job.id for job in again.jobs if job.state == "queued"))
    assert claim.judged_before == 1
    desk.hold(claim, None, tried("refused", "inconclusive"))
    _, job_id = submit(desk, company)  # withdrawing and asking anew does not begin from nothing
    claim = work(desk, job_id)
    assert claim.judged_before == 3
    desk.release(claim, new_version(desk, claim), REPORT)
    _, job_id = submit(desk, company, 1)
    assert work(desk, job_id).judged_before == 0


def test_a_request_on_two_adapters_ends_when_both_jobs_have(desk, adapter, inputs, company):
    desk.register_adapter("bot-2", **inputs)
    request, _ = submit(desk, company)
    first, second = (job.id for job in request.jobs)
    release(desk, work(desk, first))
    assert desk.request(request.id).state == "in_progress"
    desk.hold(work(desk, second), None, REFUSED)
    assert desk.request(request.id).state == "needs_review"


def test_only_one_job_of_an_adapter_runs_and_the_next_gets_its_doorbell_when_it_ends(desk, adapter, company, clock):
    _, first = submit(desk, company, 0)
    clock.forward(1)
    _, second = submit(desk, company, 1)
    desk.rung([outbox_id for outbox_id, _ in desk.doorbells()])
    assert desk.claim(second, "w2") is None, "the earlier job goes first"
    claim = work(desk, first)
    assert desk.claim(second, "w2") is None, "one at a time"
    assert desk.doorbells() == []
    desk.release(claim, new_version(desk, claim), REPORT)
    assert [job for _, job in desk.doorbells()] == [second]
    assert work(desk, second).adapter.current.number == 2


def test_requests_are_listed_newest_first_in_pages(desk, adapter, company, clock):
    made = []
    for which in range(5):
        made.append(submit(desk, company, which)[0].id)
        clock.forward(1)
    newest_first = made[::-1]
    assert [r.id for r in desk.requests(limit=2)] == newest_first[:2]
    assert [r.id for r in desk.requests(limit=2, after=newest_first[1])] == newest_first[2:4]
    assert desk.requests(Wanted(state="completed")) == []
    with pytest.raises(BadInput, match="after"):
        desk.requests(after="req_unknown")


def test_what_is_not_there_is_not_found(desk):
    for ask in (desk.request, desk.job, desk.adapter, desk.export):
        with pytest.raises(NotFound):
            ask("req_nothing")


def test_the_export_is_the_same_twice_and_only_made_of_ended_requests(desk, adapter, company):
    request, job_id = submit(desk, company)
    with pytest.raises(Conflict, match="pending"):
        desk.export(request.id)
    desk.hold(work(desk, job_id), None, REFUSED)
    first = desk.export(request.id)
    assert desk.export(request.id) == first
    archive = zipfile.ZipFile(io.BytesIO(first))
    entries = [json.loads(line) for line in archive.read("ledger/entries.jsonl").splitlines()]
    assert [e["action"] for e in entries if not e["action"].startswith("ledger_")] == [
        "request_accepted",
        "job_planned",
        "attempt_started",
        "verdict",
        "request_needs_review",
    ]
    assert actions(desk)[-2:] == ["export_made", "export_made"]


def test_no_plain_identity_reaches_the_database_or_the_export(desk, adapter, company, settings):
    request, job_id = submit(desk, company)
    subject = company.people[0]
    desk.hold(work(desk, job_id), None, REFUSED)
    archive = zipfile.ZipFile(io.BytesIO(desk.export(request.id)))
    held = b"".join(archive.read(name) for name in archive.namelist())
    with desk.store.reading() as session:
        connection = session.connection()
        held += b"".join(repr(list(dump.rows(connection, one))).encode() for one in dump.tables(connection))
    desk.close()
    for file in settings.home.glob("unlearn.db*"):
        held += file.read_bytes()
    assert request.subject_hash.encode() in held
    assert subject.encode() not in held
    assert subject.split(":")[1].encode() not in held


def test_an_edited_ledger_row_is_found(desk, adapter, company):
    submit(desk, company)
    with desk.store.writing() as session:
        from sqlalchemy import text

        let_rows_change(session)
        session.execute(text("UPDATE ledger SET action = 'verdict' WHERE seq = 2"))
    with pytest.raises(LedgerBroken, match="entry 2 was edited"):
        desk.inspect_ledger()


def test_eight_writers_at_once_keep_one_whole_ledger(desk, adapter, company, settings, clock):
    people = company.people[:8]

    def one(number):
        with closing(Desk(settings, clock)) as own:
            own.submit(people[number])

    at_once(one, len(people))
    assert desk.inspect_ledger().entries == 1 + 2 * len(people)


def test_the_same_subject_from_eight_clients_at_once_is_one_request(desk, adapter, company, settings, clock):
    def one(_):
        with closing(Desk(settings, clock)) as own:
            return own.submit(company.subject)

    assert sum(not isinstance(outcome, Conflict) for outcome in at_once(one, given=Conflict)) == 1
    assert len(desk.requests()) == 1


def test_the_table_of_moves_lets_no_request_leave_an_end(desk, adapter, company, clock):
    request, job_id = submit(desk, company)
    release(desk, work(desk, job_id))
    with desk.store.writing() as session, pytest.raises(ValueError, match="can't go from completed"):
        request_store.move(session, request.id, "cancelled", clock())
    assert all(not request_store.MOVES[state] for state in ("cancelled", "rejected"))
    assert request_store.MOVES["completed"] == {"pending"}  # a rollback brings its subject back


def test_a_worker_that_lost_its_lease_can_write_nothing(desk, adapter, company, clock):
    _, job_id = submit(desk, company)
    late = work(desk, job_id, "late")
    clock.forward(91)
    assert desk.sweep() == 1
    new = work(desk, job_id, "new")
    assert new.fence == late.fence + 1
    version = new_version(desk, late)
    for write in (
        lambda: desk.heartbeat(late),
        lambda: desk.progress(late, "erasing", 1, 2),
        lambda: desk.started_run(late, "run"),
        lambda: desk.release(late, version, REPORT),
        lambda: desk.hold(late, None, REFUSED),
        lambda: desk.fail(late, "x", final=True),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert desk.adapter("bot").current.number == 1
    assert desk.job(job_id).state == "running"
    desk.heartbeat(new)
