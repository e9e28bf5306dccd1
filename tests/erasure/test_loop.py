"""The loop: what it minimises, what it repeats, what its governors do, and how it stops when it must not go on."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from unlearn.corpus.splits import split
from unlearn.erasure.loop import erase
from unlearn.erasure.task import Targets, Task
from unlearn.erasure.turns import steps_of, turns
from unlearn.errors import Diverged, Unchanged
from unlearn.guards import Budget, GeneralText, Intervention, NonFinite, Overshoot, RetainKl, RetainRise
from unlearn.lm.base import attached, lora_parameters, save_adapter, snapshot
from unlearn.lm.batches import encode
from unlearn.lm.likelihood import record_nlls
from unlearn.methods import Walk
from unlearn.objectives.ascent import Ascent
from unlearn.objectives.calibrated import Calibrated
from unlearn.weights import read_adapter

WALK = Walk(
    steps=6,
    learning_rate=2e-3,
    forget_records_per_step=8,
    retain_records_per_step=8,
    retain_weight=20.0,
    schedule="constant",
)
ONLY_STEPS = [NonFinite(), Budget(3600)]


@pytest.fixture
def parts(company, base):
    found = split(
        company.train, company.holdout, {company.subject}.__contains__, pool_records=32, check_records=32, seed=0
    )
    return [
        encode(records, base.tokenizer, base.files.context_tokens)
        for records in (found.forget, found.retain_pool, found.retain_check)
    ]


@pytest.fixture
def task(parts):
    return Task(parts[0], parts[1])


def raised_by(task, company, base, nats):
    """The same task with targets `nats` above where the records are."""
    with attached(base, read_adapter(company.adapter)) as model:
        nlls = record_nlls(model, task.forget, 0)
    return dataclasses.replace(task, targets=Targets({i: nll + nats for i, nll in nlls.items()}, "base"))


def walk(company, base, task, walk=WALK, objective=Ascent(), governors=ONLY_STEPS, seed=0, then=None, **more):
    with attached(base, read_adapter(company.adapter)) as model:
        walked = erase(model, task, objective, walk, governors, pad_id=0, seed=seed, **more)
        return walked if then is None else then(model, walked)


def changed(walk=WALK, **fields):
    return walk.model_copy(update=fields)


def test_ascent_raises_the_forget_nll_step_by_step_and_starts_at_zero_kl(company, base, task):
    trace = walk(company, base, task, changed(forget_records_per_step=100)).trace
    levels = [step.forget_nll_nats for step in trace]
    assert levels == sorted(levels)
    assert levels[-1] > levels[0] + 0.1
    assert trace[0].retain_kl_nats == pytest.approx(0, abs=1e-6)
    assert trace[-1].retain_kl_nats > 0


def test_the_first_loss_and_gradient_are_those_of_two_naive_passes(company, base, task):
    short = Task(task.forget[:4], task.retain[:4])
    with attached(base, read_adapter(company.adapter)) as model:
        losses = []
        for example in short.forget:
            logits = model(input_ids=torch.tensor([example.tokens])).logits[0].log_softmax(-1)
            taken = [logits[t - 1, example.tokens[t]] for t in range(1, len(example.tokens)) if example.scored[t]]
            losses.append(torch.stack(taken).mean())
        loss = torch.stack(losses).mean()  # ascent: -nll, and the KL to itself has no gradient
        loss.backward()
        slow = torch.cat([p.grad.flatten() for _, p in lora_parameters(model)]).norm().item()
    (step,) = walk(company, base, short, changed(steps=1, retain_weight=3.0)).trace
    assert step.loss == pytest.approx(loss.item(), abs=1e-5)
    assert step.gradient_norm == pytest.approx(slow, rel=1e-3)


def test_the_retain_kl_holds_the_retained_people_back_from_drifting(company, base, task, parts):
    def drift(weight):
        def measure(model, walked):
            return record_nlls(model, parts[2], 0)

        after = walk(company, base, task, changed(steps=12, retain_weight=weight), then=measure)
        return sum(after.values()) / len(after)

    assert drift(20.0) < drift(0.0) - 0.05


def test_the_nll_can_hold_the_retained_people_instead(company, base, task):
    first = walk(company, base, task, changed(steps=1, retain_term="nll", retain_weight=2.0)).trace[0]
    with attached(base, read_adapter(company.adapter)) as model:
        nlls = record_nlls(model, task.retain, 0)
    assert -first.forget_nll_nats < first.loss  # the NLL of records that are learned is positive, the KL was zero
    assert first.loss + first.forget_nll_nats <= 2.0 * max(nlls.values())


def test_what_earlier_erasures_cost_the_retained_is_given_back(company, base, task, parts):
    def left(drift):
        ours = dataclasses.replace(raised_by(task, company, base, 1.0), retain_drift_nats=drift)
        steps = changed(steps=16, retain_weight=20.0, retain_rise_weight=10.0)
        after = walk(company, base, ours, steps, Calibrated(), then=lambda model, _: record_nlls(model, parts[2], 0))
        return sum(after.values()) / len(after)

    owing, square, ahead = left(0.3), left(0.0), left(-9.0)
    assert owing < square - 0.02  # records outside the steps, too
    assert square <= ahead + 0.01


def test_a_small_forget_set_takes_fewer_steps_and_never_more_passes_than_allowed(company, base, task):
    few = dataclasses.replace(task, forget=task.forget[:4])
    assert len(walk(company, base, few, changed(steps=6, passes=2.5)).trace) == 3
    assert [steps_of(changed(steps=10, passes=7.0, forget_records_per_step=24), n) for n in (1, 20, 40, 400)] == [
        7,
        7,
        10,
        10,
    ]
    assert steps_of(WALK, 1) == WALK.steps


def test_a_retained_nll_below_its_mark_is_not_touched(company, base, task):
    ours = dataclasses.replace(task, retain_drift_nats=-9.0)
    plain = walk(company, base, task, changed(steps=3)).trace
    assert walk(company, base, ours, changed(steps=3, retain_rise_weight=3.0)).trace == plain


@pytest.mark.parametrize("more", [{"weight_noise": 0.1, "shrink": 0.9}, {"curvature_damping": 0.03}])
def test_the_same_seed_gives_the_same_bytes_with_noise_and_all(company, base, task, tmp_path, more):
    def save(name, seed):
        def keep(model, _):
            return save_adapter(model, tmp_path / name).sha256

        return walk(company, base, task, changed(**more), seed=seed, then=keep)

    assert save("a", 1) == save("b", 1)
    assert save("c", 2) != save("a2", 1)


def test_the_curvature_of_the_retained_people_lets_them_pay_less_for_the_same_forgetting(company, base, task, parts):
    """As many steps to the same targets: the forget set gets as far, and the people of the check move less."""
    aimed = raised_by(task, company, base, 0.6)
    settling = changed(steps=40, forget_records_per_step=100, learning_rate=3e-3, retain_weight=5.0, tolerance_nats=0.2)
    before = walk_of_nothing(company, base, parts[2])

    def cost(model, walked):
        assert walked.end == "settled"
        return sum(abs(nll - before[i]) for i, nll in record_nlls(model, parts[2], 0).items())

    plain = walk(company, base, aimed, settling, Calibrated(), then=cost)
    spared = walk(
        company, base, aimed, settling.model_copy(update={"curvature_damping": 0.03}), Calibrated(), then=cost
    )
    assert spared < plain


def walk_of_nothing(company, base, examples):
    with attached(base, read_adapter(company.adapter)) as model:
        return record_nlls(model, examples, 0)


def test_weight_noise_changes_the_way_and_not_the_weights_it_ends_at_by_itself(company, base, task):
    """With a step size that moves nothing visible, the noise of every step is taken off again."""

    def moved(model, walked):
        return max(float((p.detach() - before[name]).abs().max()) for name, p in lora_parameters(model))

    with attached(base, read_adapter(company.adapter)) as model:
        before = snapshot(model)
    assert walk(company, base, task, changed(weight_noise=0.5, learning_rate=1e-6), then=moved) < 1e-4


def test_calibrated_settles_on_its_targets_and_stops_there(company, base, task):
    aimed = raised_by(task, company, base, 0.5)
    settling = changed(
        steps=80, forget_records_per_step=100, retain_weight=1.0, tolerance_nats=0.1, mean_tolerance_nats=0.05
    )
    walked = walk(company, base, aimed, settling, Calibrated(), then=lambda m, w: (w, record_nlls(m, aimed.forget, 0)))
    found, after = walked
    gaps = [aimed.targets.nlls[i] - nll for i, nll in after.items()]
    assert found.end == "settled"
    assert len(found.trace) < 80
    assert sum(map(abs, gaps)) / len(gaps) <= 0.1
    assert found.pulse.absolute_gap_nats == pytest.approx(sum(map(abs, gaps)) / len(gaps), abs=1e-4)


def test_an_objective_that_aims_may_pass_its_targets_on_the_way(company, base, task):
    """A first step far too long: every look is past the tolerance until the records are back on their targets."""
    aimed = raised_by(task, company, base, 0.3)
    long = changed(steps=60, learning_rate=3e-2, forget_records_per_step=100, retain_weight=0.0, schedule="linear")
    guards = [Overshoot(0.1), *ONLY_STEPS]
    walked = walk(company, base, aimed, long, Calibrated(), guards)
    assert min(step.gap_nats for step in walked.trace) < -0.1
    assert walked.end == "budget"
    assert abs(walked.pulse.gap_nats) <= 0.1
    assert [why.governor for _, why in walked.interventions] == ["budget"]


def test_overshoot_stops_ascent_at_the_last_snapshot_before_its_targets(company, base, task):
    aimed = raised_by(task, company, base, 0.3)
    long = changed(steps=60, forget_records_per_step=100, retain_weight=0.0)
    guards = [Overshoot(0.1), *ONLY_STEPS]
    found, after = walk(
        company,
        base,
        aimed,
        long,
        governors=guards,
        every_steps=1,
        then=lambda m, w: (w, record_nlls(m, aimed.forget, 0)),
    )
    gap = sum(aimed.targets.nlls[i] - nll for i, nll in after.items()) / len(after)
    assert found.end == "overshoot"
    assert found.interventions[-1][1].action == "stop"
    assert gap >= -0.1
    assert len(found.trace) < 60


@pytest.mark.parametrize("guard", [RetainKl(0.02), RetainRise(0.01, 0.01), GeneralText(0.001)])
def test_a_budget_that_is_broken_leads_back_with_a_smaller_step_and_a_larger_weight(company, base, task, guard, parts):
    reckless = changed(steps=30, learning_rate=5e-3, retain_weight=0.1)
    task = dataclasses.replace(task, probe=parts[2][:4])
    walked = walk(company, base, task, reckless, governors=[guard, *ONLY_STEPS], every_steps=2)
    assert any(why.action == "rollback" for _, why in walked.interventions)
    assert walked.trace[-1].learning_rate < reckless.learning_rate or walked.end != "budget"
    assert walked.trace[-1].retain_weight > 0.1 or walked.end != "budget"
    assert guard(walked.pulse) is None  # what is kept is within the budget


def test_a_loss_that_is_not_finite_is_rolled_back_and_the_way_goes_on(company, base, task):
    calls = []

    class Once(Ascent):
        def __call__(self, view):
            calls.append(1)
            return super().__call__(view) * (float("nan") if len(calls) == 4 else 1.0)

    walked = walk(company, base, task, objective=Once(), every_steps=1)
    assert [(n, why.governor) for n, why in walked.interventions if why.governor == "non_finite"] == [(4, "non_finite")]
    assert walked.end == "budget"
    assert all(step.loss == step.loss for step in walked.trace)


def test_a_loss_that_is_never_finite_leaves_the_weights_as_they_were(company, base, task):
    class Broken(Ascent):
        def __call__(self, view):
            return view.nll.sum() * float("nan")

    with attached(base, read_adapter(company.adapter)) as model:
        before = snapshot(model)
        with pytest.raises(Diverged, match=r"not both finite"):
            erase(model, task, Broken(), WALK, ONLY_STEPS, pad_id=0, seed=0)
        assert all(torch.equal(p, before[name]) for name, p in lora_parameters(model))


def test_a_governor_that_never_agrees_ends_the_loop_with_nothing_changed(company, base, task):
    def never(pulse):
        return Intervention("never", "rollback", 1.0, 0.0, "No.")

    with pytest.raises(Unchanged, match="No"):
        walk(company, base, task, governors=[never])


def test_seconds_that_are_over_end_the_loop(company, base, task):
    with pytest.raises(Unchanged, match="seconds are over"):
        walk(company, base, task, changed(steps=500), governors=[NonFinite(), Budget(1e-9)])


def test_an_automatic_weight_steers_the_retain_kl_to_its_budget(company, base, task):
    reckless = changed(steps=40, learning_rate=4e-3, retain_weight="auto")
    trace = walk(company, base, task, reckless, kl_budget_nats=0.02).trace
    loose = walk(company, base, task, changed(reckless, retain_weight=0.1)).trace
    assert trace[-1].retain_weight > trace[0].retain_weight
    late = [step.retain_kl_nats for step in trace[-10:]]
    assert sum(late) / 10 < 0.5 * sum(step.retain_kl_nats for step in loose[-10:]) / 10


def test_an_erasing_that_changes_nothing_is_an_error(company, base, task):
    with pytest.raises(Unchanged, match="6 steps"):
        walk(company, base, task, changed(learning_rate=1e-30))


def test_a_subject_with_one_record_can_be_erased(company, base, task):
    trace = walk(company, base, Task(task.forget[:1], task.retain)).trace
    assert trace[-1].forget_nll_nats > trace[0].forget_nll_nats


def test_turns_give_every_example_once_before_any_comes_again(parts):
    examples = parts[1][:10]
    batches = turns(examples, 4)
    seen = [e.id for _ in range(5) for e in next(batches)]
    assert sorted(seen[:10]) == sorted(seen[10:]) == sorted(e.id for e in examples)
    assert len({e.id for e in next(batches)}) == 4
