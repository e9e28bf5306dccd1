"""The loop: what it minimises, what it repeats, and how it stops when it must not go on."""

from __future__ import annotations

import pytest
import torch

from unlearn.corpus.splits import split
from unlearn.erasure.loop import _turns, erase
from unlearn.errors import Diverged, Unchanged
from unlearn.lm.base import attached, lora_parameters, save_adapter, snapshot
from unlearn.lm.batches import encode
from unlearn.lm.likelihood import record_nlls
from unlearn.objectives import Ascent
from unlearn.policy import LoopPolicy
from unlearn.weights import read_adapter

LOOP = LoopPolicy(steps=6, learning_rate=2e-3, forget_records_per_step=8, retain_records_per_step=8)


@pytest.fixture
def parts(company, base):
    found = split(
        company.train, company.holdout, {company.subject}.__contains__, pool_records=32, check_records=32, seed=0
    )
    return [
        encode(records, base.tokenizer, base.files.context_tokens)
        for records in (found.forget, found.retain_pool, found.retain_check)
    ]


def walk(company, base, parts, loop=LOOP, objective=Ascent(), seed=0, then=lambda model, trace: trace):
    with attached(base, read_adapter(company.adapter)) as model:
        return then(model, erase(model, parts[0], parts[1], objective, loop, pad_id=0, seed=seed))


def test_ascent_raises_the_forget_nll_step_by_step_and_starts_at_zero_kl(company, base, parts):
    trace = walk(company, base, parts, LOOP.model_copy(update={"forget_records_per_step": 100}))
    levels = [step.forget_nll_nats for step in trace]
    assert levels == sorted(levels)
    assert levels[-1] > levels[0] + 0.1
    assert trace[0].retain_kl_nats == pytest.approx(0, abs=1e-6)
    assert trace[-1].retain_kl_nats > 0


def test_the_first_loss_and_gradient_are_those_of_two_naive_passes(company, base, parts):
    forget, retain = parts[0][:4], parts[1][:4]
    loop = LoopPolicy(steps=1, retain_weight=3.0, forget_records_per_step=4, retain_records_per_step=4)
    with attached(base, read_adapter(company.adapter)) as model:
        losses = []
        for example in forget:
            logits = model(input_ids=torch.tensor([example.tokens])).logits[0].log_softmax(-1)
            taken = [logits[t - 1, example.tokens[t]] for t in range(1, len(example.tokens)) if example.scored[t]]
            losses.append(torch.stack(taken).mean())
        loss = torch.stack(losses).mean()  # ascent: -nll, and the KL to itself has no gradient
        loss.backward()
        slow = torch.cat([p.grad.flatten() for _, p in lora_parameters(model)]).norm().item()
    with attached(base, read_adapter(company.adapter)) as model:
        (step,) = erase(model, forget, retain, Ascent(), loop, pad_id=0, seed=0)
    assert step.loss == pytest.approx(loss.item(), abs=1e-5)
    assert step.gradient_norm == pytest.approx(slow, rel=1e-3)


def test_the_retain_kl_holds_the_retained_people_back_from_drifting(company, base, parts):
    def drift(weight):
        def measure(model, trace):
            return record_nlls(model, parts[2], 0)

        loop = LOOP.model_copy(update={"steps": 12, "retain_weight": weight})
        after = walk(company, base, parts, loop, then=measure)
        return sum(after.values()) / len(after)

    assert drift(20.0) < drift(0.0) - 0.05


def test_the_same_seed_gives_the_same_bytes(company, base, parts, tmp_path):
    def save(name, seed):
        return walk(company, base, parts, seed=seed, then=lambda model, _: save_adapter(model, tmp_path / name)).sha256

    assert save("a", 1) == save("b", 1)
    assert save("c", 2) != save("a2", 1)


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched(company, base, parts):
    def broken(nll):
        return nll.sum() * float("nan")

    with attached(base, read_adapter(company.adapter)) as model:
        before = snapshot(model)
        with pytest.raises(Diverged, match=r"step 1 of 6.*smaller learning rate"):
            erase(model, parts[0], parts[1], broken, LOOP, pad_id=0, seed=0)
        assert all(torch.equal(p, before[name]) for name, p in lora_parameters(model))


def test_an_erasing_that_changes_nothing_is_an_error(company, base, parts):
    with pytest.raises(Unchanged, match="6 steps"):
        walk(company, base, parts, LOOP.model_copy(update={"learning_rate": 1e-30}))


def test_a_subject_with_one_record_can_be_erased(company, base, parts):
    trace = walk(company, base, [parts[0][:1], parts[1]])
    assert trace[-1].forget_nll_nats > trace[0].forget_nll_nats


def test_turns_give_every_example_once_before_any_comes_again(parts):
    import random

    examples = parts[1][:10]
    turns = _turns(examples, 4, random.Random(0))
    seen = [e.id for _ in range(5) for e in next(turns)]
    assert sorted(seen[:10]) == sorted(seen[10:]) == sorted(e.id for e in examples)
