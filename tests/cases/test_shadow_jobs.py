"""The job that makes a shadow table: asked for by the policy, before every erasing, in nobody's way when it fails."""

from __future__ import annotations

import json

import pytest
from by_hand import REPORT, actions, new_version, submit, work

from unlearn.errors import BadInput, LeaseLost
from unlearn.weights import RECIPE

POLICY = {"targets": {"shadows_at_registration": True, "shadow_folds": 3}}


@pytest.fixture
def shadowed(desk, inputs):
    return desk.register_adapter("shadowed", **inputs, policy=POLICY)


def the_job(desk):
    (_, job_id), *_ = desk.doorbells()
    return job_id


def test_a_policy_that_asks_for_a_table_queues_its_making(desk, shadowed):
    job = desk.job(the_job(desk))
    assert (job.kind, job.state, job.request_ids) == ("shadows", "queued", ())
    assert desk.adapter("shadowed").shadows == "queued"
    assert actions(desk) == ["adapter_registered", "job_planned"]


def test_a_policy_that_does_not_ask_queues_nothing(desk, adapter):
    assert desk.doorbells() == []
    assert adapter.shadows is None


def test_registering_again_queues_nothing_more(desk, inputs, shadowed):
    assert desk.register_adapter("shadowed", **inputs, policy=POLICY) == shadowed
    assert len(desk.doorbells()) == 1


def test_an_erasing_waits_for_the_table_and_is_rung_for_when_it_is_made(desk, company, shadowed, clock):
    making = the_job(desk)
    clock.forward(1)
    _, erasing = submit(desk, company)
    assert desk.claim(erasing, "w2") is None
    claim = work(desk, making)
    assert (claim.kind, claim.subject_hashes) == ("shadows", frozenset())
    assert desk.claim(erasing, "w2") is None
    desk.rung([number for number, _ in desk.doorbells()])
    desk.finish_shadows(claim, "0" * 64)
    assert [job for _, job in desk.doorbells()] == [erasing]
    assert desk.job(making).state == "done"
    assert desk.adapter("shadowed").shadows == "done"
    claim = work(desk, erasing)
    assert claim.kind == "erasure"
    desk.release(claim, new_version(desk, claim), REPORT)
    assert "shadows_made" in actions(desk)
    assert desk.inspect_ledger().entries > 0


def test_a_table_that_can_not_be_made_leaves_the_erasing_to_go_on_without(desk, company, shadowed, clock):
    making = the_job(desk)
    clock.forward(1)
    _, erasing = submit(desk, company)
    desk.fail(work(desk, making), "the disk is full", final=True)
    assert desk.adapter("shadowed").shadows == "failed"
    assert work(desk, erasing).kind == "erasure"


def test_a_worker_that_lost_its_lease_can_not_end_the_making(desk, shadowed, clock):
    making = the_job(desk)
    old = work(desk, making)
    clock.forward(desk.settings.lease_seconds + 1)
    desk.sweep()
    new = work(desk, making, "w2")
    with pytest.raises(LeaseLost):
        desk.finish_shadows(old, "0" * 64)
    desk.finish_shadows(new, "0" * 64)


def test_an_adapter_without_a_recipe_or_with_too_few_people_is_refused(desk, inputs, company, tmp_path):
    import shutil

    bare = tmp_path / "bare"
    shutil.copytree(company.adapter, bare)
    (bare / RECIPE).unlink()
    desk.settings.roots.append(tmp_path)
    with pytest.raises(BadInput, match="no fold can be trained like"):
        desk.register_adapter("bare", **inputs | {"adapter": str(bare)}, policy=POLICY)
    many = json.loads(json.dumps(POLICY))
    many["targets"]["shadow_folds"] = 99
    with pytest.raises(BadInput, match="99 folds need 99 people"):
        desk.register_adapter("many", **inputs, policy=many)
    assert desk.adapters() == []
