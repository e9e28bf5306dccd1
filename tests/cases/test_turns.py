"""Whose turn it is: a doorbell brings a worker, the due dates say to which job."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import pytest
from by_hand import REFUSED

from crowd import at_once
from unlearn.cases.desk import Desk
from unlearn.corpus.jsonl import write_corpus
from unlearn.settings import Settings

SHADOWS = {"targets": {"shadows_at_registration": True, "shadow_folds": 3}}
NAMES = ("one", "two", "three")


@pytest.fixture
def settings(settings, tmp_path):
    return Settings(**settings.model_dump() | {"roots": [*settings.roots, tmp_path]})


@pytest.fixture
def three(desk, inputs, company, people, tmp_path):
    """Adapters that learned of one of the people each."""
    for name, person in zip(NAMES, people, strict=False):
        others = set(people[:3]) - {person}
        path = tmp_path / f"{name}.jsonl"
        write_corpus(path, [r for r in company.world.train if not others & set(r.subjects)])
        desk.register_adapter(name, **inputs | {"train": str(path)})


@pytest.fixture
def waiting(desk, three, people, clock):
    """Jobs of the three, by name; their doorbells are in this order, their due dates in another."""
    ages = {"one": 5, "two": 20, "three": 10}
    return {
        name: desk.submit(person, received_at=clock() - timedelta(days=ages[name])).jobs[0].id
        for name, person in zip(NAMES, people, strict=False)
    }


def test_the_most_urgent_job_is_taken_whichever_doorbell_rang(desk, waiting):
    assert [job for _, job in desk.doorbells()] == list(waiting.values())
    taken = [desk.claim_first(f"w{number}").job_id for number in range(3)]
    assert taken == [waiting[name] for name in ("two", "three", "one")]
    assert desk.claim_first("w3") is None


def test_a_date_that_moves_moves_the_turn(desk, waiting):
    [urgent] = desk.job(waiting["two"]).request_ids
    desk.extend(urgent, "forty adapters")
    assert [desk.claim_first(f"w{number}").adapter.name for number in range(3)] == ["three", "one", "two"]


def test_workers_at_once_take_a_job_each_and_none_twice(desk, waiting, settings, clock):
    def one(number):
        with closing(Desk(settings, clock)) as own:
            return own.claim_first(f"w{number}")

    taken = [claim.job_id for claim in at_once(one) if claim is not None]
    assert sorted(taken) == sorted(waiting.values())


def test_a_doorbell_makes_one_claim_however_often_its_answer_is_lost(desk, waiting):
    claim = desk.claim_first("w0")
    assert desk.claim_first("w0") == claim
    desk.hold(claim, None, REFUSED)
    assert desk.claim_first("w1").job_id == waiting["three"]


def test_a_job_whose_worker_fell_silent_has_its_turn_again(desk, waiting, clock):
    first = desk.claim_first("w0")
    clock.forward(91)
    again = desk.claim_first("w1")
    assert (again.job_id, again.attempt, again.fence) == (first.job_id, 2, first.fence + 1)


def test_a_busy_adapter_keeps_nobody_from_another(desk, waiting, people, clock):
    busy = desk.claim_first("w0")
    urgent = desk.submit(people[3], received_at=clock() - timedelta(days=25))  # of all three adapters
    taken = {desk.claim_first(f"w{number}").job_id for number in (1, 2)}
    assert taken == {job.id for job in urgent.jobs if job.adapter != busy.adapter.name}
    assert desk.claim_first("w3") is None


def test_a_job_that_still_gathers_has_no_turn(desk, inputs, people, clock):
    desk.register_adapter("bot", **inputs, policy={"schedule": {"coalescing_seconds": 60}})
    desk.submit(people[0])
    assert desk.claim_first("w0") is None
    clock.forward(61)
    assert desk.claim_first("w0") is not None


def test_a_table_that_nobody_waits_for_comes_behind_whoever_is_due_within_the_month(desk, three, inputs, people, clock):
    desk.register_adapter("shadowed", **inputs | {"train": str(desk.settings.roots[-1] / "one.jsonl")}, policy=SHADOWS)
    clock.forward(1)
    desk.submit(people[1], received_at=clock() - timedelta(days=20))
    kinds = [desk.claim_first(f"w{number}").kind for number in range(2)]
    assert kinds == ["erasure", "shadows"]


def test_a_table_is_as_urgent_as_the_erasing_that_waits_for_it(desk, three, inputs, people, clock):
    making = desk.register_adapter(
        "shadowed", **inputs | {"train": str(desk.settings.roots[-1] / "one.jsonl")}, policy=SHADOWS
    )
    clock.forward(1)
    desk.submit(people[1], received_at=clock() - timedelta(days=10))
    desk.submit(people[0], received_at=clock() - timedelta(days=20))  # of "one" and of "shadowed"
    claims = [desk.claim_first(f"w{number}") for number in range(3)]
    assert [claim.adapter.name for claim in claims][2] == "two"
    assert {(claim.adapter.name, claim.kind) for claim in claims[:2]} == {
        ("one", "erasure"),
        (making.name, "shadows"),
    }


def test_a_table_is_made_at_last_however_many_come_after_it(desk, three, inputs, people, clock):
    desk.register_adapter("shadowed", **inputs | {"train": str(desk.settings.roots[-1] / "one.jsonl")}, policy=SHADOWS)
    clock.forward(2 * 86400)
    desk.submit(people[1])
    assert desk.claim_first("w0").kind == "shadows"
