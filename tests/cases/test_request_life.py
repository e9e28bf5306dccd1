"""Any order of events: requests, what people do to them, claims, crashes, verdicts, lost leases, sweeps.

What must hold holds after each.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from by_hand import REFUSED, REPORT
from hypothesis import HealthCheck
from hypothesis import settings as effort
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from company import Company
from unlearn.cases.desk import RING_AGAIN, Desk
from unlearn.cases.identity import subject_hash
from unlearn.cases.views import Claim
from unlearn.errors import Conflict, LeaseLost, NotFound
from unlearn.settings import Settings
from unlearn.weights import read_adapter

PEOPLE = 4
OPEN, ENDED = {"pending", "in_progress"}, {"completed", "needs_review", "cancelled", "rejected"}


class Life(RuleBasedStateMachine):
    """Two adapters that learned from the same people, and workers that may die at any time."""

    def __init__(self, template: Path, company: Company, clock) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(dir=template.parent))
        shutil.copytree(template, self.home, dirs_exist_ok=True)
        self.clock = clock
        self.desk = Desk(Settings(home=self.home, max_attempts=2), clock)
        self.weights = read_adapter(company.adapter)
        people = company.people
        self.people = people[:PEOPLE]
        self.claims: list[Claim] = []
        self.holder: dict[str, Claim] = {}

    def teardown(self) -> None:
        self._drain()
        self.desk.close()
        shutil.rmtree(self.home)

    def _jobs(self):
        return {job.id: job for request in self.desk.requests() for job in request.jobs}

    def _tell(self, claim: Claim, act) -> None:
        """Act with a claim: it counts if no later claim or sweep took the job, and is refused otherwise."""
        if self.holder.get(claim.job_id) is claim:
            act()
        else:
            with pytest.raises(LeaseLost):
                act()

    @rule(which=st.integers(0, PEOPLE - 1))
    def submit(self, which: int) -> None:
        try:
            request = self.desk.submit(self.people[which])
        except Conflict as refused:
            hashed = subject_hash(self.desk.settings.identity_hash_key, self.people[which])
            mine = [r for r in self.desk.requests() if r.subject_hash == hashed]
            still_open = [r.id for r in mine if r.state in OPEN]
            assert still_open
            assert still_open[0] in str(refused)
        else:
            assert request.state == ("pending" if request.jobs or request.held_by else "completed")
        self.clock.forward(1)

    @precondition(lambda self: self._jobs())
    @rule(data=st.data())
    def claim(self, data) -> None:
        job_id = data.draw(st.sampled_from(sorted(self._jobs())))
        before = self.desk.job(job_id)
        claim = self.desk.claim(job_id, "w")
        if claim is None:
            return
        assert before.state in ("queued", "running")
        earlier = [c.fence for c in self.claims if c.job_id == job_id]
        assert claim.fence > max(earlier, default=0)
        self.claims.append(claim)
        self.holder[job_id] = claim

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), how=st.sampled_from(["release", "hold", "retry", "final", "beat", "progress"]))
    def tell(self, data, how: str) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        number = claim.next_number
        version = dataclasses.replace(self.weights, path=self.home / f"{claim.job_id}.v{number}")
        acts = {
            "release": lambda: self.desk.release(claim, version, REPORT),
            "hold": lambda: self.desk.hold(claim, None, REFUSED),
            "retry": lambda: self.desk.fail(claim, "broken", final=False),
            "final": lambda: self.desk.fail(claim, "broken", final=True),
            "beat": lambda: self.desk.heartbeat(claim),
            "progress": lambda: self.desk.progress(claim, "erasing", 1, 2),
        }
        self._tell(claim, acts[how])
        if how not in ("beat", "progress") and self.holder.get(claim.job_id) is claim:
            del self.holder[claim.job_id]

    @precondition(lambda self: self.desk.requests())
    @rule(data=st.data(), what=st.sampled_from(["cancel", "hold", "lift", "extend", "retry", "reject", "release"]))
    def decide(self, data, what: str) -> None:
        """A person acts on a request: allowed from some states alone, and refused without a trace from the others."""
        before = data.draw(st.sampled_from(self.desk.requests()))
        acts = {
            "cancel": (lambda: self.desk.cancel(before.id), before.state in OPEN | {"needs_review"}),
            "hold": (
                lambda: self.desk.put_on_hold(before.id, "court"),
                before.state in OPEN | {"needs_review"} and not before.held_at,
            ),
            "lift": (lambda: self.desk.lift_hold(before.id), before.held_at is not None),
            "extend": (
                lambda: self.desk.extend(before.id, "many"),
                before.state in OPEN | {"needs_review"} and not before.extended_at,
            ),
            "retry": (lambda: self.desk.retry(before.id), before.state == "needs_review"),
            "reject": (
                lambda: self.desk.reject(before.id, "legal_claims", "a suit"),
                before.state in OPEN | {"needs_review"},
            ),
            "release": (lambda: self.desk.release_as_it_is(before.id, "small"), False),  # no candidate was kept
        }
        act, allowed = acts[what]
        if allowed:
            act()
        else:
            with pytest.raises(Conflict):
                act()
            assert self.desk.request(before.id) == before
        self._forget_the_lost()

    @rule(name=st.sampled_from(["bot", "bot-2"]), number=st.integers(1, 4))
    def roll_back(self, name: str, number: int) -> None:
        before = self.desk.adapter(name)
        try:
            after = self.desk.roll_back(name, number, reopen=True)
        except (Conflict, NotFound):
            assert self.desk.adapter(name) == before
        else:
            assert after.current.number == number <= before.current.number

    @rule()
    def silence(self) -> None:
        self.clock.forward(91)

    @rule()
    def sweep(self) -> None:
        self.desk.sweep()
        self._forget_the_lost()

    def _forget_the_lost(self) -> None:
        running = {id_ for id_, job in self._jobs().items() if job.state == "running"}
        self.holder = {id_: claim for id_, claim in self.holder.items() if id_ in running}

    @rule()
    def ring(self) -> None:
        self.desk.rung([outbox_id for outbox_id, _ in self.desk.doorbells()])

    @invariant()
    def a_request_is_what_its_jobs_are(self) -> None:
        held = {request.subject_hash for request in self.desk.requests() if request.held_at is not None}
        for request in self.desk.requests():
            last = {job.adapter: job for job in request.jobs}
            waits = any(job.state in ("queued", "running") for job in request.jobs)
            assert waits == (request.state in OPEN and request.subject_hash not in held)
            assert (request.held_by is not None) == (request.state == "pending" and request.subject_hash in held)
            released = all(job.verdict == "released" for job in last.values())
            if request.state in ("completed", "needs_review"):
                assert request.state == ("completed" if released else "needs_review")
            assert (request.completed_at is not None) == (request.state == "completed")
            assert (request.decision or {}).get("kind") == "rejected" or request.state != "rejected"

    @invariant()
    def an_adapter_is_worked_on_by_one_and_changed_by_releases_alone(self) -> None:
        jobs = self._jobs().values()
        running = Counter(job.adapter for job in jobs if job.state == "running")
        assert all(count == 1 for count in running.values())
        for adapter in self.desk.adapters():
            released = [job.id for job in jobs if job.adapter == adapter.name and job.verdict == "released"]
            assert adapter.current.number <= 1 + len(released) == len(adapter.versions)
            assert sorted(version.job_id for version in adapter.versions[1:]) == sorted(released)

    @invariant()
    def who_is_told_to_be_forgotten_is_known_to_no_adapter_that_serves(self) -> None:
        newest = {r.subject_hash: r for r in reversed(self.desk.requests())}
        for person in self.people:
            request = newest.get(subject_hash(self.desk.settings.identity_hash_key, person))
            if request is not None and request.state == "completed":
                assert all(touched.erased_at for touched in self.desk.preview(person))

    @invariant()
    def the_ledger_holds(self) -> None:
        self.desk.inspect_ledger()

    def _drain(self) -> None:
        """Workers that come when the doorbell rings, and nothing else, bring every request to its end."""
        for request in self.desk.requests():
            if request.held_at is not None:
                self.desk.lift_hold(request.id)
        for _ in range(200):
            self.clock.forward(RING_AGAIN.total_seconds() + 91)
            self.desk.sweep()
            bells = self.desk.doorbells()
            self.desk.rung([outbox_id for outbox_id, _ in bells])
            for bell, _ in bells:
                claim = self.desk.claim_first(f"last {bell}")
                if claim is not None:
                    self.desk.hold(claim, None, REFUSED)
            if all(request.state in ENDED for request in self.desk.requests()):
                return
        raise AssertionError("a request was left without an end")


def test_in_any_order_of_events_fences_hold_and_every_request_comes_to_an_end(
    tmp_path, company, inputs, clock, database_url
):
    if database_url is not None:
        pytest.skip("begins from a copy of an SQLite file")
    template = tmp_path / "template"
    first = Desk(Settings(home=template, roots=[company.path]), clock)
    first.migrate()
    first.register_adapter("bot", **inputs)
    first.register_adapter("bot-2", **inputs)
    with first.store.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    first.close()
    run_state_machine_as_test(
        lambda: Life(template, company, clock),
        settings=effort(
            max_examples=12,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            derandomize=True,
        ),
    )
