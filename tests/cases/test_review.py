"""What people do to requests and adapters: holds, retries, decisions, rollbacks; and how requests share a job."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from by_hand import REFUSED, REPORT, actions, names, new_version, release, work

from dossiers import predicate_of
from unlearn.cases.resurrection import Admission
from unlearn.cases.store.ledger import entries_about
from unlearn.cases.tables import Request
from unlearn.cases.views import Own
from unlearn.corpus.records import Record
from unlearn.errors import BadInput, Conflict, LeaseLost, NotFound, PolicyError
from unlearn.fulfilment import _own, fulfil
from unlearn.guards import Finding

pytestmark = pytest.mark.usefixtures("ticking")

AGAIN = Admission("contract", "a customer again")


def held_back(desk, claim):
    """A candidate beside the versions, held for a person."""
    candidate = new_version(desk, claim)
    desk.hold(claim, candidate, REFUSED)
    return candidate


def test_a_cancelled_job_is_lost_to_its_worker_and_the_old_version_serves(desk, adapter, people):
    request = desk.submit(people[0])
    claim = work(desk, request.jobs[0].id)
    assert desk.cancel(request.id).state == "cancelled"
    for act in (lambda: desk.heartbeat(claim), lambda: desk.release(claim, new_version(desk, claim), REPORT)):
        with pytest.raises(LeaseLost):
            act()
    assert desk.adapter("bot").current.number == 1
    assert desk.job(claim.job_id).state == "cancelled"
    with pytest.raises(Conflict, match="is cancelled"):
        desk.cancel(request.id)
    assert desk.submit(people[0]).state == "pending"


def test_the_next_job_is_rung_for_when_one_is_cancelled(desk, adapter, people):
    first, second = desk.submit(people[0]), desk.submit(people[1])
    work(desk, first.jobs[0].id)
    desk.rung([outbox for outbox, _ in desk.doorbells()])
    desk.cancel(first.id)
    assert [job for _, job in desk.doorbells()] == [second.jobs[0].id]


def test_a_hold_keeps_everything_and_lifting_it_plans_anew(desk, adapter, people, clock):
    request = desk.submit(people[0])
    claim = work(desk, request.jobs[0].id)
    held = desk.put_on_hold(request.id, " court order 12/2026 ")
    assert (held.state, held.held_at, held.hold_reason) == ("pending", clock(), "court order 12/2026")
    assert held.due_at == request.due_at  # the clock runs on
    with pytest.raises(LeaseLost):
        desk.heartbeat(claim)
    assert desk.claim(request.jobs[0].id, "w") is None
    with pytest.raises(Conflict, match="held already"):
        desk.put_on_hold(request.id, "again")
    lifted = desk.lift_hold(request.id)
    assert lifted.held_at is None
    assert [job.state for job in lifted.jobs] == ["cancelled", "queued"]
    with pytest.raises(Conflict, match="not held"):
        desk.lift_hold(request.id)


def test_a_hold_is_on_the_person_so_that_a_later_request_of_hers_waits_for_its_lifting(desk, inputs, people):
    unknown = desk.submit(people[0])
    assert unknown.state == "completed"
    desk.put_on_hold(unknown.id, "court order 12/2026")
    desk.register_adapter("bot", **inputs, allow_erased=AGAIN)
    later, other = desk.submit(people[0]), desk.submit(people[1])
    assert (later.state, later.jobs, later.held_by) == ("pending", (), unknown.id)
    assert (other.held_by, len(other.jobs)) == (None, 1)
    assert desk.claim_first("w").request_ids == (other.id,)
    assert desk.claim_first("v") is None
    desk.lift_hold(unknown.id)
    lifted = desk.request(later.id)
    assert (lifted.held_by, [job.state for job in lifted.jobs]) == (None, ["queued"])


def test_a_hold_on_an_old_request_takes_the_new_one_from_its_worker_until_every_hold_is_lifted(desk, inputs, people):
    first = desk.submit(people[0])
    desk.register_adapter("bot", **inputs, allow_erased=AGAIN)
    second = desk.submit(people[0])
    claim = work(desk, second.jobs[0].id)
    desk.put_on_hold(first.id, "court order 12/2026")
    with pytest.raises(LeaseLost):
        desk.heartbeat(claim)
    desk.put_on_hold(second.id, "another order")
    desk.cancel(second.id)  # which ends no hold
    third = desk.submit(people[0])
    desk.lift_hold(first.id)
    assert (third.held_by, desk.request(third.id).held_by) == (first.id, second.id)
    desk.lift_hold(second.id)
    assert [job.state for job in desk.request(third.id).jobs] == ["queued"]


def test_neither_a_retry_nor_a_release_nor_a_rollback_erases_a_person_under_a_hold(desk, adapter, people):
    refused = desk.submit(people[0])
    candidate = held_back(desk, work(desk, refused.jobs[0].id))
    assert candidate is not None
    with desk.store.writing() as session:  # of another request, long ago
        session.get_one(Request, refused.id).held_at = desk._clock()
    with pytest.raises(Conflict, match="under a legal hold"):
        desk.release_as_it_is(refused.id, "small")
    waiting = desk.retry(refused.id)
    assert (waiting.state, waiting.held_by, [job.state for job in waiting.jobs]) == ("pending", refused.id, ["done"])
    desk.lift_hold(refused.id)
    release(desk, work(desk, desk.request(refused.id).jobs[-1].id))
    desk.put_on_hold(refused.id, "court")
    desk.roll_back("bot", 1, reopen=True)
    reopened = desk.request(refused.id)
    assert (reopened.state, [job.state for job in reopened.jobs]) == ("pending", ["done", "done"])
    desk.lift_hold(refused.id)
    assert desk.request(refused.id).jobs[-1].state == "queued"


def test_a_job_that_was_planned_in_the_very_moment_of_a_hold_is_not_begun(desk, adapter, people):
    request, other = desk.submit(people[0]), desk.submit(people[1])
    with desk.store.writing() as session:  # by a transaction that did not see the job
        session.get_one(Request, request.id).held_at = desk._clock()
    assert desk.claim_first("w") is None
    assert [job.state for job in desk.request(request.id).jobs] == ["cancelled"]
    assert other.jobs[0].id in {job for _, job in desk.doorbells()}
    assert desk.claim_first("w").request_ids == (other.id,)


@pytest.mark.parametrize("reason", ["court\0order", "\x1b[2J", "half a \ud800 pair"])
def test_a_reason_is_plain_text_that_every_database_keeps(desk, adapter, people, reason):
    request = desk.submit(people[0])
    with pytest.raises(BadInput, match="control characters"):
        desk.put_on_hold(request.id, reason)
    assert desk.put_on_hold(request.id, "line one\nline two").hold_reason == "line one\nline two"


def test_time_is_extended_once_with_a_reason_before_it_is_over(desk, adapter, people, clock):
    request = desk.submit(people[0])
    with pytest.raises(BadInput, match="reason"):
        desk.extend(request.id, "  ")
    extended = desk.extend(request.id, "forty adapters")
    assert extended.due_at.replace(microsecond=0) == datetime(2026, 6, 1, 12, tzinfo=UTC)
    assert (extended.extended_at, extended.extension_reason) == (clock(), "forty adapters")
    with pytest.raises(Conflict, match="only once"):
        desk.extend(request.id, "more")
    other = desk.submit(people[1])
    clock.forward(32 * 86400)
    with pytest.raises(Conflict, match="only before"):
        desk.extend(other.id, "late")


def test_what_was_refused_is_tried_again_under_another_policy(desk, adapter, people):
    request = desk.submit(people[0])
    desk.hold(work(desk, request.jobs[0].id), None, REFUSED)
    with pytest.raises(PolicyError):
        desk.retry(request.id, {"ladder": [{"method": "magic"}]})
    assert desk.request(request.id).state == "needs_review"
    again = desk.retry(request.id, {"ladder": [{"method": "retrain"}]})
    assert again.state == "pending"
    assert again.decision["kind"] == "retried"
    claim = work(desk, again.jobs[-1].id)
    assert [rung["method"] for rung in claim.policy["ladder"]] == ["retrain"]
    desk.release(claim, new_version(desk, claim), REPORT)
    assert desk.request(request.id).state == "completed"  # the refused job before counts no more
    with pytest.raises(Conflict, match="completed"):
        desk.retry(request.id)


def test_a_rejection_names_its_ground_and_its_reason(desk, adapter, people):
    request = desk.submit(people[0])
    with pytest.raises(BadInput, match="legal_claims"):
        desk.reject(request.id, "because", "no")
    with pytest.raises(BadInput, match="reason"):
        desk.reject(request.id, "legal_claims", "")
    assert desk.request(request.id) == request
    rejected = desk.reject(request.id, "legal_claims", "a suit is pending")
    assert rejected.state == "rejected"
    assert {k: rejected.decision[k] for k in ("kind", "reason", "ground", "by")} == {
        "kind": "rejected",
        "reason": "a suit is pending",
        "ground": "legal_claims",
        "by": "operator",
    }
    assert actions(desk)[-1] == "request_rejected"
    with desk.store.reading() as session:
        from unlearn.cases.store.ledger import all_entries

        assert "suit" not in str(list(all_entries(session)))


def test_a_person_releases_what_the_guards_held_back(desk, adapter, people):
    request = desk.submit(people[0])
    candidate = held_back(desk, work(desk, request.jobs[0].id))
    with pytest.raises(BadInput, match="reason"):
        desk.release_as_it_is(request.id, "")
    released = desk.release_as_it_is(request.id, "the drift is in one record that is going anyway")
    assert released.state == "completed"
    assert released.decision["kind"] == "released"
    current = desk.adapter("bot").current
    assert (current.number, current.path, current.job_id) == (2, str(candidate.path), request.jobs[0].id)
    [touched] = desk.preview(people[0])
    assert touched.erased_at is not None


def test_who_takes_a_request_back_that_waits_for_a_decision_needs_no_legal_ground(desk, adapter, people):
    request = desk.submit(people[0])
    held_back(desk, work(desk, request.jobs[0].id))
    cancelled = desk.cancel(request.id)
    assert (cancelled.state, cancelled.decision) == ("cancelled", None)
    assert actions(desk)[-1] == "request_cancelled"
    for act in (lambda: desk.release_as_it_is(request.id, "small"), lambda: desk.retry(request.id)):
        with pytest.raises(Conflict, match="is cancelled"):
            act()
    assert desk.adapter("bot").current.number == 1


def test_a_candidate_can_not_be_released_once_it_is_gone_or_another_version_serves(desk, adapter, people):
    first, second = desk.submit(people[0]), desk.submit(people[1])
    gone = held_back(desk, work(desk, first.jobs[0].id))
    shutil.rmtree(gone.path)
    with pytest.raises(Conflict, match="files are gone"):
        desk.release_as_it_is(first.id, "small")
    assert desk.request(first.id).state == "needs_review"
    desk.retry(first.id)
    desk.hold(work(desk, desk.request(first.id).jobs[-1].id), None, REFUSED)
    with pytest.raises(Conflict, match="left no candidate"):
        desk.release_as_it_is(first.id, "small")
    desk.retry(first.id)
    held_back(desk, work(desk, desk.request(first.id).jobs[-1].id))
    release(desk, work(desk, second.jobs[0].id))
    with pytest.raises(Conflict, match=r"version 2 serves since"):
        desk.release_as_it_is(first.id, "small")


COALESCING = {"schedule": {"coalescing_seconds": 60}}


@pytest.fixture
def gathering(desk, inputs):
    return desk.register_adapter("bot", **inputs, policy=COALESCING)


def test_requests_inside_the_window_share_a_job_that_begins_when_it_is_over(desk, gathering, people, clock):
    first = desk.submit(people[0], regulation="ccpa")
    assert desk.doorbells() == []
    clock.forward(30)
    second = desk.submit(people[1])
    [shared] = {job.id for r in (first, second) for job in r.jobs}
    assert desk.claim(shared, "w") is None
    desk.sweep()
    assert desk.doorbells() == []
    clock.forward(30)
    third = desk.submit(people[2])
    assert third.jobs[0].id != shared
    desk.sweep()
    assert [job for _, job in desk.doorbells()] == [shared]
    claim = work(desk, shared)
    assert claim.subject_hashes == {first.subject_hash, second.subject_hash}
    desk.release(claim, new_version(desk, claim), REPORT)
    assert {desk.request(r.id).state for r in (first, second)} == {"completed"}
    assert desk.request(third.id).state == "pending"


def alone(verdict, *outcomes):
    return Own(verdict, tuple({"gate": f"gate-{n}", "outcome": o} for n, o in enumerate(outcomes)))


@pytest.fixture
def refused_alone(desk, gathering, people, clock):
    """Two requests shared a job whose version serves; the gates refuse the first subject alone."""
    known, gone = desk.submit(people[0]), desk.submit(people[1])
    clock.forward(61)
    claim = work(desk, known.jobs[0].id)
    own = {
        known.subject_hash: alone("refused", "pass", "fail"),
        gone.subject_hash: alone("released", "inconclusive", "pass"),
    }
    assert desk.release(claim, new_version(desk, claim), REPORT, own) == {gone.subject_hash}
    return known.id, gone.id


def test_each_request_of_a_shared_job_has_its_own_verdict_and_evidence(desk, refused_alone):
    known, gone = map(desk.request, refused_alone)
    assert desk.adapter("bot").current.number == 2  # better than the old one for both
    assert (gone.state, known.state) == ("completed", "needs_review")
    assert (gone.jobs[0].verdict, known.jobs[0].verdict) == ("released", "refused")
    assert [f["outcome"] for f in known.jobs[0].findings] == ["pass", "fail"]
    assert desk.job(gone.jobs[0].id).verdict == "released"
    with desk.store.reading() as session:
        own = [e for e in entries_about(session, known.id) if e.action == "verdict_alone"]
    assert [(e.facts["request"], e.facts["verdict"]) for e in own] == [(known.id, "refused")]


def test_who_was_refused_alone_is_erased_again_from_the_version_that_serves(desk, refused_alone, people, clock):
    known, gone = map(desk.request, refused_alone)
    assert [t.erased_at is None for p in people[:2] for t in desk.preview(p)] == [True, False]
    again = desk.retry(known.id)
    clock.forward(61)
    claim = work(desk, again.jobs[-1].id)
    assert (claim.subject_hashes, claim.erased_hashes) == ({known.subject_hash}, {gone.subject_hash})
    desk.release(claim, new_version(desk, claim), REPORT)
    assert desk.request(known.id).state == "completed"


def test_who_was_left_behind_by_a_release_has_its_tries_counted(desk, gathering, people, clock):
    known, gone = desk.submit(people[0]), desk.submit(people[1])
    clock.forward(61)
    claim = work(desk, known.jobs[0].id)
    own = {known.subject_hash: alone("inconclusive"), gone.subject_hash: alone("released")}
    tries = [{"method": "calibrated", "verdict": verdict} for verdict in ("refused", "released")]
    desk.release(claim, new_version(desk, claim), REPORT | {"attempts": tries}, own)
    again = desk.retry(known.id)
    clock.forward(61)
    assert work(desk, again.jobs[-1].id).judged_before == 2


def test_a_person_may_accept_who_was_refused_alone_while_that_version_serves(desk, refused_alone, people):
    known, gone = map(desk.request, refused_alone)
    accepted = desk.release_as_it_is(known.id, "one wording of one record, read by two of us")
    assert (accepted.state, accepted.decision["kind"]) == ("completed", "released")
    assert accepted.jobs[0].verdict == "refused"  # what the gates said, whatever a person decides
    assert desk.adapter("bot").current.number == 2
    back = desk.roll_back("bot", 1, reopen=True)
    assert back.current.number == 1
    assert {desk.request(r.id).state for r in (known, gone)} == {"pending"}


def test_who_was_refused_alone_is_not_accepted_into_a_version_that_serves_no_more(desk, refused_alone):
    known, _ = refused_alone
    desk.roll_back("bot", 1, reopen=True)
    with pytest.raises(Conflict, match="serves no more"):
        desk.release_as_it_is(known, "small")


def test_a_rollback_to_a_version_knows_whom_it_refused_alone(desk, refused_alone, clock):
    known, gone = map(desk.request, refused_alone)
    again = desk.retry(known.id)
    clock.forward(61)
    release(desk, work(desk, again.jobs[-1].id))
    desk.roll_back("bot", 2, reopen=True)
    assert [desk.request(r.id).state for r in (known, gone)] == ["pending", "completed"]


def test_a_request_that_leaves_a_shared_job_leaves_the_others_to_begin_anew(desk, gathering, people, clock):
    first, second = desk.submit(people[0]), desk.submit(people[1])
    clock.forward(61)
    shared = first.jobs[0].id
    claim = work(desk, shared)
    desk.put_on_hold(first.id, "court")
    with pytest.raises(LeaseLost):
        desk.heartbeat(claim)
    again = work(desk, shared)
    assert again.subject_hashes == {second.subject_hash}
    assert again.attempt == 1  # it did not break
    desk.cancel(second.id)
    assert desk.job(shared).state == "cancelled"


def test_the_most_urgent_job_of_an_adapter_goes_first(desk, adapter, people, clock):
    slow = desk.submit(people[0], regulation="ccpa")
    urgent = desk.submit(people[1])
    assert desk.claim(slow.jobs[0].id, "w") is None
    release(desk, work(desk, urgent.jobs[0].id))
    assert work(desk, slow.jobs[0].id)


def test_a_shared_job_is_due_when_the_first_of_its_requests_is_whoever_is_extended(desk, gathering, people, clock):
    first, second = desk.submit(people[0]), desk.submit(people[1])
    clock.forward(61)
    later = desk.submit(people[2])
    clock.forward(61)
    desk.extend(first.id, "forty adapters")
    assert desk.claim(later.jobs[0].id, "w") is None  # the second one of the shared job is due before
    desk.extend(second.id, "forty adapters")
    claim = work(desk, later.jobs[0].id)
    desk.hold(claim, None, REFUSED)
    assert work(desk, first.jobs[0].id).subject_hashes == {first.subject_hash, second.subject_hash}


def test_a_rollback_over_an_erasure_opens_its_request_again(desk, adapter, people):
    request = desk.submit(people[0])
    release(desk, work(desk, request.jobs[0].id))
    with pytest.raises(Conflict, match="knows 1 subjects"):
        desk.roll_back("bot", 1)
    with pytest.raises(NotFound, match="no version 7"):
        desk.roll_back("bot", 7)
    back = desk.roll_back("bot", 1, reopen=True)
    assert (back.current.number, len(back.versions)) == (1, 2)
    reopened = desk.request(request.id)
    assert (reopened.state, reopened.completed_at) == ("pending", None)
    with pytest.raises(Conflict, match="newer"):
        desk.roll_back("bot", 2)
    again = work(desk, reopened.jobs[-1].id)
    assert again.next_number == 3
    assert again.erased_hashes == frozenset()
    desk.release(again, new_version(desk, again), REPORT)
    assert [v.number for v in desk.adapter("bot").versions] == [1, 2, 3]
    assert desk.request(request.id).state == "completed"
    assert desk.inspect_ledger().entries


def test_a_rollback_waits_for_a_running_job(desk, adapter, people):
    first, second = desk.submit(people[0]), desk.submit(people[1])
    release(desk, work(desk, first.jobs[0].id))
    work(desk, second.jobs[0].id)
    with pytest.raises(Conflict, match="a job runs"):
        desk.roll_back("bot", 1, reopen=True)


def test_a_retired_adapter_is_waited_for_by_nobody(desk, adapter, people):
    request = desk.submit(people[0])
    claim = work(desk, request.jobs[0].id)
    retired = desk.retire("bot")
    assert retired.retired_at is not None
    assert desk.retire("bot") == retired
    with pytest.raises(LeaseLost):
        desk.heartbeat(claim)
    assert desk.request(request.id).state == "completed"
    assert desk.submit(people[1]).state == "completed"
    with pytest.raises(Conflict, match="retired"):
        desk.roll_back("bot", 1)


def test_a_request_is_not_complete_while_an_adapter_that_was_rolled_back_knows_its_subject(
    desk, adapter, inputs, people
):
    """Two adapters: the first is erased, then rolled back while the second is at work, or waits for a person."""
    desk.register_adapter("bot-2", **inputs)
    running, refused = desk.submit(people[0]), desk.submit(people[1])
    first = {r.id: next(j.id for j in r.jobs if j.adapter == "bot") for r in (running, refused)}
    second = {r.id: next(j.id for j in r.jobs if j.adapter == "bot-2") for r in (running, refused)}
    release(desk, work(desk, first[running.id]))
    release(desk, work(desk, first[refused.id]))
    held_back(desk, work(desk, second[running.id]))
    desk.retry(running.id)
    release(desk, work(desk, desk.request(running.id).jobs[-1].id))  # completed: both adapters forgot
    assert desk.request(running.id).state == "completed"
    candidate = held_back(desk, work(desk, second[refused.id]))
    assert candidate
    desk.roll_back("bot", 1, reopen=True)
    assert desk.request(running.id).state == "pending"
    assert desk.request(refused.id).state == "needs_review"
    decided = desk.release_as_it_is(refused.id, "small")
    assert decided.state in ("pending", "in_progress")  # the first adapter knows the subject again
    for request in (running, refused):
        [again] = [j.id for j in desk.request(request.id).jobs if j.state == "queued"]
        release(desk, work(desk, again))
        assert desk.request(request.id).state == "completed"
        assert all(touched.erased_at for touched in desk.preview(people[(running, refused).index(request)]))


def test_a_rollback_opens_no_second_request_of_somebody_whose_newest_is_open(desk, adapter, inputs, people):
    done = desk.submit(people[0])
    release(desk, work(desk, done.jobs[0].id))
    desk.register_adapter("bot-2", **inputs, allow_erased=Admission("consent", "signed up again"))
    newer = desk.submit(people[0])
    assert [job.adapter for job in newer.jobs] == ["bot-2"]
    desk.roll_back("bot", 1, reopen=True)
    assert desk.request(done.id).state == "completed"
    assert {job.adapter for job in desk.request(newer.id).jobs} == {"bot", "bot-2"}


def test_an_adapter_registered_while_a_request_is_under_way_is_forgotten_too(desk, adapter, inputs, people):
    request = desk.submit(people[0])
    claim = work(desk, request.jobs[0].id)
    desk.register_adapter("bot-2", **inputs)
    desk.release(claim, new_version(desk, claim), REPORT)
    under_way = desk.request(request.id)
    assert under_way.state == "in_progress"
    release(desk, work(desk, next(job.id for job in under_way.jobs if job.adapter == "bot-2")))
    assert desk.request(request.id).state == "completed"


def test_who_has_nothing_left_is_completed_unless_the_worker_can_not_tell(desk, adapter, people):
    request = desk.submit(people[0])
    claim = work(desk, request.jobs[0].id)
    for strangers in (frozenset(), frozenset({"f" * 64})):
        with pytest.raises(BadInput, match="UNLEARN_IDENTITY_KEY"):
            desk.nothing_left(claim, strangers)
    desk.nothing_left(claim, frozenset({request.subject_hash}))
    ended = desk.request(request.id)
    assert (ended.state, ended.jobs[0].state, ended.jobs[0].verdict) == ("completed", "done", None)
    assert desk.adapter("bot").current.number == 1
    assert "nothing_left" in actions(desk)
    assert desk.submit(people[0]).state == "completed"


def test_a_person_all_of_whose_records_went_with_somebody_else_has_nothing_left(
    desk, settings, inputs, company, people
):
    """A rollback that brings the shared records back opens both requests."""
    name, lines = "household:h-1", []
    for line in (company.path / "train.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["subjects"] == [people[0]] and len(lines) < 10_000:
            record["subjects"].append(name)
        lines.append(json.dumps(record))
    train = settings.home / "inputs" / "shared.jsonl"
    train.parent.mkdir(parents=True, exist_ok=True)
    train.write_text("\n".join(lines) + "\n")
    desk.register_adapter("bot", **(inputs | {"train": str(train)}))
    first = desk.submit(people[0])
    release(desk, work(desk, first.jobs[0].id))
    second = desk.submit(name)
    fulfil(second.jobs[0].id, desk=desk, settings=settings, owner="w1")
    assert desk.request(second.id).state == "completed", desk.job(second.jobs[0].id).error
    assert desk.adapter("bot").current.number == 2
    [nothing] = [entry for entry in desk.entries() if entry.action == "nothing_left"]
    assert nothing.facts["erased_by"] == [first.jobs[0].id]
    desk.roll_back("bot", 1, reopen=True)
    assert {desk.request(r.id).state for r in (first, second)} == {"pending"}


def test_a_version_says_which_one_it_was_made_from_also_after_a_rollback(desk, adapter, people):
    for person in people[:2]:
        claim = work(desk, desk.submit(person).jobs[0].id)
        desk.release(claim, new_version(desk, claim), REPORT)
    desk.roll_back("bot", 1, reopen=True)
    queued = [job.id for request in desk.requests() for job in request.jobs if job.state == "queued"]
    claim = next(claim for id_ in queued if (claim := desk.claim(id_, "w1")) is not None)
    desk.release(claim, new_version(desk, claim), REPORT)
    made = [(version.number, version.made_from) for version in desk.adapter("bot").versions]
    assert made == [(1, None), (2, 1), (3, 2), (4, 1)]


def test_a_rollback_opens_the_last_completed_request_though_a_later_one_was_rejected(desk, adapter, inputs, people):
    done = desk.submit(people[0])
    release(desk, work(desk, done.jobs[0].id))
    admission = Admission("legal_claims", "kept for a suit")
    desk.register_adapter("two", **inputs, allow_erased=admission)
    again = desk.submit(people[0])
    desk.reject(again.id, "legal_claims", "a suit is pending")
    desk.roll_back("bot", 1, reopen=True)
    assert [desk.request(r.id).state for r in (done, again)] == ["pending", "rejected"]
    with desk.store.reading() as session:
        assert "version_rolled_back" in [e.action for e in entries_about(session, done.id)]


def test_a_decision_is_about_one_request_and_the_others_of_its_job_go_on_waiting(desk, gathering, people, clock):
    first, second = desk.submit(people[0]), desk.submit(people[1])
    clock.forward(61)
    claim = work(desk, first.jobs[0].id)
    desk.hold(claim, new_version(desk, claim), REFUSED, {second.subject_hash: alone("refused", "fail")})
    desk.release_as_it_is(first.id, "her figures are good")
    assert [desk.request(r.id).state for r in (first, second)] == ["completed", "needs_review"]
    assert desk.request(second.id).decision is None
    left = desk.corpus(desk.adapter("bot"), "train").subjects
    assert people[1] in left
    assert people[0] not in left
    desk.release_as_it_is(second.id, "his are good enough")
    assert desk.request(second.id).state == "completed"
    assert people[1] not in desk.corpus(desk.adapter("bot"), "train").subjects
    for request, reason in ((first, "her figures are good"), (second, "his are good enough")):
        data = desk.export(request.id)
        assert "story" in names(data, desk)
        told = {one["facts"]["request"]: one["reason"] for one in predicate_of(data)["decisions"]}
        assert told == {first.id: None, second.id: None} | {request.id: reason}


def test_who_shares_a_record_waits_with_whom_the_gates_refuse():
    def record(*subjects):
        return Record("-".join(subjects), subjects, text="x")

    case = SimpleNamespace(
        train=SimpleNamespace(records=[record("a", "b"), record("b", "c"), record("d"), record("e", "f")])
    )
    found = {name: (Finding("membership", "pass", 0.0, None, (None, None), ""),) for name in "abcd"}
    found["c"] = (Finding("membership", "fail", 9.0, None, (None, None), ""),)
    own = _own(SimpleNamespace(own=found, verdict="released"), case, lambda subject: f"#{subject}")
    assert {name: one.verdict for name, one in own.items()} == {
        "#a": "refused",
        "#b": "refused",
        "#c": "refused",
        "#d": "released",
    }
    assert [f["gate"] for f in own["#a"].findings] == ["membership", "shared_records"]
