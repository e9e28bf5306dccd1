"""A loop that is broken off goes on where its governors last accepted it, and ends at the same bytes."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from unlearn.corpus.splits import split
from unlearn.erasure.loop import erase
from unlearn.erasure.task import Targets, Task
from unlearn.guards import Budget, NonFinite, Overshoot, RetainKl
from unlearn.lm.base import attached, snapshot
from unlearn.lm.batches import encode
from unlearn.lm.checkpoint import Checkpoint
from unlearn.lm.likelihood import record_nlls
from unlearn.methods import Calibrated, Npo
from unlearn.objectives import objective_of
from unlearn.weights import read_adapter

SMALL = {"forget_records_per_step": 4, "retain_records_per_step": 6}
CALIBRATED = Calibrated(steps=10, curvature_records=8, **SMALL)
NPO = Npo(steps=10, weight_noise=0.05, shrink=0.95, **SMALL)
RECKLESS = Npo(steps=12, learning_rate=6e-3, retain_weight="auto", **SMALL)


class Stopped(Exception):
    pass


@pytest.fixture
def task(company, base):
    parts = split(
        company.train, company.holdout, {company.subject}.__contains__, pool_records=24, check_records=8, seed=0
    )
    forget, retain = (
        encode(records, base.tokenizer, base.files.context_tokens) for records in (parts.forget[:10], parts.retain_pool)
    )
    with attached(base, read_adapter(company.adapter)) as model:
        nlls = record_nlls(model, forget, 0)
    targets = Targets({i: nll + 1.0 for i, nll in nlls.items()}, "base")
    return Task(forget, retain, targets, probe=retain[:2])


def walk(company, base, task, method, checkpoint=None, stop_at=None, kl_nats=0.5):
    """The weights and the account of one walk; stopped after so many steps of this attempt."""
    taken = []

    def on_step(step):
        taken.append(step)
        if len(taken) == stop_at:
            raise Stopped

    guards = [NonFinite(), Overshoot(0.3), RetainKl(kl_nats), Budget(3600)]
    with attached(base, read_adapter(company.adapter)) as model:
        walked = erase(
            model,
            task,
            objective_of(method),
            method,
            guards,
            pad_id=0,
            seed=7,
            every_steps=3,
            on_step=on_step,
            checkpoint=checkpoint,
        )
        return snapshot(model), walked, taken


def timeless(walked):
    return dataclasses.replace(walked, pulse=dataclasses.replace(walked.pulse, seconds=0.0))


def assert_same(one, other):
    assert one[0].keys() == other[0].keys()
    assert all(torch.equal(tensor, other[0][name]) for name, tensor in one[0].items())
    assert timeless(one[1]) == timeless(other[1])


@pytest.mark.parametrize("method", [CALIBRATED, NPO], ids=["calibrated", "npo with noise"])
@pytest.mark.parametrize("stop_at", [2, 5, 8])
def test_a_walk_that_was_broken_off_ends_at_the_same_weights(company, base, task, tmp_path, method, stop_at):
    whole = walk(company, base, task, method)
    checkpoint = Checkpoint(tmp_path / "loop", "inputs", every_seconds=0.0)
    with pytest.raises(Stopped):
        walk(company, base, task, method, checkpoint, stop_at)
    resumed = walk(company, base, task, method, checkpoint)
    assert_same(resumed, whole)
    kept = (stop_at - 1) // 3 * 3  # steps before the last look
    assert len(resumed[2]) == len(whole[1].trace) - kept


def test_a_walk_with_rollbacks_ends_at_the_same_weights_wherever_it_is_broken_off(company, base, task, tmp_path):
    whole = walk(company, base, task, RECKLESS, kl_nats=0.02)
    assert any(why.action == "rollback" for _, why in whole[1].interventions)
    checkpoint = Checkpoint(tmp_path / "loop", "inputs", every_seconds=0.0)
    attempts = 0
    while True:
        attempts += 1
        assert attempts < 9, "every attempt must get on"
        try:
            resumed = walk(company, base, task, RECKLESS, checkpoint, stop_at=7, kl_nats=0.02)
        except Stopped:
            continue
        break
    assert attempts > 1
    assert_same(resumed, whole)


def test_a_damaged_checkpoint_begins_the_walk_anew(company, base, task, tmp_path):
    whole = walk(company, base, task, CALIBRATED)
    checkpoint = Checkpoint(tmp_path / "loop", "inputs", every_seconds=0.0)
    with pytest.raises(Stopped):
        walk(company, base, task, CALIBRATED, checkpoint, 5)
    checkpoint.file.write_bytes(checkpoint.file.read_bytes()[:-1])
    resumed = walk(company, base, task, CALIBRATED, checkpoint)
    assert len(resumed[2]) == len(whole[1].trace)
    assert_same(resumed, whole)


def test_states_are_kept_no_oftener_than_asked(company, base, task, tmp_path):
    checkpoint = Checkpoint(tmp_path / "loop", "inputs", every_seconds=3600.0)
    with pytest.raises(Stopped):
        walk(company, base, task, NPO, checkpoint, 8)
    assert not checkpoint.file.exists()


def test_seconds_of_earlier_attempts_count(company, base, task, tmp_path):
    checkpoint = Checkpoint(tmp_path / "loop", "inputs", every_seconds=0.0)
    with pytest.raises(Stopped):
        walk(company, base, task, NPO, checkpoint, 8)
    about, tensors = checkpoint.kept()
    assert about["seconds"] > 0
    checkpoint.keep(about | {"seconds": 3600.0}, tensors)
    _, walked, taken = walk(company, base, task, NPO, checkpoint)
    assert (walked.end, taken) == ("budget", [])


def test_no_text_is_in_a_checkpoint(company, base, task, tmp_path):
    checkpoint = Checkpoint(tmp_path / "loop", "inputs", every_seconds=0.0)
    with pytest.raises(Stopped):
        walk(company, base, task, CALIBRATED, checkpoint, 5)
    content = checkpoint.file.read_bytes()
    assert company.subject.encode() not in content
    assert not any(
        (r.text or r.completion or "-").encode() in content for r in company.world.train if r.text or r.completion
    )
