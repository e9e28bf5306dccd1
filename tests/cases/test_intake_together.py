"""Submissions that share a transaction: each is answered as if it had come alone, and none that was confirmed is lost."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from datetime import timedelta

import pytest
from sqlalchemy import event

from unlearn.cases.desk import Desk, Wish
from unlearn.errors import BadInput, Conflict

CHILD = """
import os, sys, threading
from unlearn.cases.desk import Desk
from unlearn.settings import Settings

desk = Desk(Settings(home=sys.argv[1], database_url=sys.argv[2] or None))

def submit(own):
    for number in range(100_000):
        os.write(1, f"{desk.submit(f'customer:{own}-{number}').id}\\n".encode())

for own in range(4):
    threading.Thread(target=submit, args=(own,)).start()
"""


@pytest.fixture
def commits(desk):
    """Everything that was committed since."""
    found = []
    event.listen(desk.store.engine, "commit", found.append)
    return found


def submitted(desk, *asked, **common):
    """What came of submissions at one moment: lists of wishes, or (wishes, more)."""

    async def all_of_them():
        calls = [one if isinstance(one, tuple) else (one, {}) for one in asked]
        return await asyncio.gather(
            *(desk.submit_soon(wishes, **common, **more) for wishes, more in calls), return_exceptions=True
        )

    return asyncio.run(all_of_them())


def accepted(desk):
    return [e.facts["request"] for e in desk.entries(limit=1_000_000) if e.action == "request_accepted"]


def test_what_is_submitted_at_once_is_one_transaction_in_its_order(desk, adapter, people, commits):
    found = submitted(desk, [Wish(people[0])], [Wish("customer:nobody")], [Wish(people[1]), Wish("customer:noone")])
    assert [[view.state for view in views] for views in found] == [["pending"], ["completed"], ["pending", "completed"]]
    assert len(commits) == 1
    made = [view for views in found for view in views]
    assert accepted(desk) == [view.id for view in made]
    assert [desk.request(view.id) for view in made] == made
    assert len(desk.doorbells()) == 2
    desk.inspect_ledger()


def test_a_transaction_takes_no_more_statements_however_many_share_it(desk, adapter, people):
    said = []
    submitted(desk, *([Wish(f"customer:first-{n}")] for n in range(3)))
    event.listen(desk.store.engine, "before_cursor_execute", lambda *_: said.append(1))
    counts = []
    for size in (2, 20):
        submitted(desk, *([Wish(f"customer:of-{size}-{n}")] for n in range(size)))
        counts.append(len(said))
        said.clear()
    assert counts[1] == counts[0]


def test_a_bad_one_among_good_ones_is_refused_alone(desk, adapter, people, clock, commits):
    late = Wish(people[1], received_at=clock() + timedelta(days=1))
    found = submitted(desk, [Wish(people[0])], [Wish(people[2]), late], [Wish(people[3])])
    assert isinstance(found[1], BadInput)
    assert [view.id for view in desk.requests()] == sorted([found[0][0].id, found[2][0].id], reverse=True)
    assert len(commits) == 1
    desk.inspect_ledger()


def test_one_that_breaks_the_transaction_does_not_break_the_others(desk, adapter, people):
    unwritable = Wish(people[1], external_id="\ud800")  # the API lets none in
    found = submitted(desk, [Wish(people[0])], [unwritable], [Wish(people[2])])
    assert isinstance(found[1], UnicodeEncodeError)
    assert {view.id for view in desk.requests()} == {found[0][0].id, found[2][0].id}
    assert accepted(desk) == [found[0][0].id, found[2][0].id]
    desk.inspect_ledger()


def test_the_same_key_twice_at_once_is_one_request(desk, adapter, people, commits):
    key = {"idempotency_key": "k"}
    first, again, other = submitted(desk, ([Wish(people[0])], key), ([Wish(people[0])], key), ([Wish(people[1])], key))
    assert first == again
    assert isinstance(other, Conflict)
    assert desk.requests() == first
    assert desk.submit_many([Wish(people[0])], idempotency_key="k") == first
    assert len(commits) == 2


def test_the_same_subject_twice_at_once_is_refused_the_second_time_while_the_first_is_open(desk, adapter, people):
    first, second, unknown, again = submitted(
        desk, [Wish(people[0])], [Wish(f" {people[0]}")], [Wish("customer:nobody")], [Wish("customer:nobody")]
    )
    assert isinstance(second, Conflict)
    assert first[0].id in str(second)
    assert [unknown[0].state, again[0].state] == ["completed", "completed"]
    assert unknown[0].id != again[0].id
    desk.inspect_ledger()


def test_the_same_external_id_twice_at_once_is_refused_the_second_time(desk, adapter, people):
    first, second = submitted(desk, [Wish(people[0], external_id="t")], [Wish(people[1], external_id="t")])
    assert isinstance(second, Conflict)
    assert first[0].id in str(second)
    with pytest.raises(Conflict, match="same external id"):
        desk.submit_many([Wish(people[2], external_id="u"), Wish(people[3], external_id="u")])
    assert desk.requests() == first


def test_companies_share_a_transaction_and_nothing_else(desk, adapter, people, commits):
    _, token = desk.create_key("theirs", ["requests:write", "requests:read"], controller="other")
    them, more = desk.authenticate(token), {"idempotency_key": "k"}
    commits.clear()
    wish = [Wish(people[0], external_id="t")]
    ours, theirs = submitted(desk, (wish, more), (wish, {"by": them, **more}))
    assert [ours[0].state, theirs[0].state] == ["pending", "completed"]
    assert (desk.requests(), desk.requests(by=them)) == (ours, theirs)
    assert len(commits) == 1


def test_requests_of_one_moment_share_the_job_that_gathers(desk, inputs, people):
    desk.register_adapter("slow", **inputs, policy={"schedule": {"coalescing_seconds": 60.0}})
    first, second = submitted(desk, [Wish(people[0])], [Wish(people[1], regulation="ccpa")])
    assert first[0].jobs[0].id == second[0].jobs[0].id
    third = desk.submit(people[2])
    assert third.jobs[0].id == first[0].jobs[0].id
    said = [e.action for e in desk.entries(limit=100) if e.action.startswith("job_")]
    assert said == ["job_planned", "job_joined", "job_joined"]
    assert desk.doorbells() == []
    desk.inspect_ledger()


def test_the_ledger_holds_whatever_the_sizes_of_what_comes_at_once(desk, adapter):
    number = 0
    for size in (1, 2, 3, 5, 8, 13, 1, 7, 64, 65):
        found = submitted(desk, *([Wish(f"customer:n-{number + n}")] for n in range(size)))
        assert all(isinstance(one, list) for one in found)
        number += size
        assert desk.inspect_ledger(published=[("now", desk.checkpoint())]).entries == desk.ledger_size()
    assert len(accepted(desk)) == number


def test_none_that_was_confirmed_is_lost_when_the_process_is_killed(desk, settings):
    words = [sys.executable, "-c", CHILD, str(settings.home), settings.database_url or ""]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        confirmed = [child.stdout.readline() for _ in range(40)]
        child.send_signal(signal.SIGKILL)
        confirmed += child.stdout.readlines()
    other = Desk(settings)
    try:
        kept = set(accepted(other))
        whole = [line.strip() for line in confirmed if line.endswith("\n")]
        assert len(whole) >= 40
        assert set(whole) <= kept
        assert [other.request(id_).id for id_ in whole] == whole
        other.inspect_ledger()
    finally:
        other.close()
