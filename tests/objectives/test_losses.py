"""The public losses: by hand, and against a naive reading of the full logits, value and gradient."""

import math

import pytest
import torch
from views import ROWS, TOKENS, answers_of, logits, view_of

from unlearn.objectives import OBJECTIVES
from unlearn.objectives.altpo import AltPo
from unlearn.objectives.ceu import Ceu, ceu_loss
from unlearn.objectives.dpo import dpo_loss
from unlearn.objectives.idk import REFUSALS, Idk
from unlearn.objectives.ihl import Ihl, ihl_loss
from unlearn.objectives.npo import Npo, npo_loss
from unlearn.objectives.rmu import Rmu, rmu_loss
from unlearn.objectives.satimp import SatImp, satimp_loss
from unlearn.objectives.simnpo import SimNpo, simnpo_loss
from unlearn.objectives.undial import Undial, undial_loss
from unlearn.objectives.wga import Wga, wga_loss

FIRST = [0, 2, 5]  # first scored token of each record
LENGTHS = [2, 3, 1]


def row_sums(values):
    return [sum(values[t] for t in range(len(ROWS)) if ROWS[t] == row) for row in range(3)]


def taken(z):
    return [z.log_softmax(1)[t, TOKENS[t]] for t in range(len(TOKENS))]


def mean(values):
    return sum(values) / len(values)


def naive_npo(z, reference):
    ratios = row_sums([a - b for a, b in zip(taken(z), taken(reference), strict=True)])
    return mean([-(2 / 0.5) * torch.log(torch.sigmoid(-0.5 * r)) for r in ratios])


def naive_simnpo(z, reference):
    nlls = [-s / n for s, n in zip(row_sums(taken(z)), LENGTHS, strict=True)]
    return mean([-(2 / 2.5) * torch.log(torch.sigmoid(2.5 * nll - 0.3)) for nll in nlls])


def naive_wga(z, reference):
    return mean([lp.detach().exp() ** 2.0 * lp for lp in taken(z)])


def naive_satimp(z, reference):
    return mean([lp.detach().exp() ** 5.0 * (1 - lp.detach().exp()) * lp for lp in taken(z)])


def naive_undial(z, reference):
    losses = []
    for t, token in enumerate(TOKENS):
        lowered = reference[t].clone()
        lowered[token] -= 3.0
        losses.append(-(lowered.softmax(0) * z[t].log_softmax(0)).sum())
    return mean(losses)


def naive_ceu(z, reference):
    losses = []
    for t, token in enumerate(TOKENS):
        if t in FIRST and LENGTHS[FIRST.index(t)] > 1:
            continue
        others = z[t].detach().clone()
        others[token] = -1e30
        losses.append(-(others.softmax(0) * z[t].log_softmax(0)).sum())
    return mean(losses)


def naive_ihl(z, reference):
    losses = []
    for t, token in enumerate(TOKENS):
        p = z[t].softmax(0)
        losses.append(1 + p[token] - max(p[v] for v in range(len(p)) if v != token))
    return mean(losses)


CASES = [
    (Npo(beta=0.5), naive_npo),
    (SimNpo(beta=2.5, margin=0.3), naive_simnpo),
    (Wga(beta=2.0), naive_wga),
    (SatImp(), naive_satimp),
    (Undial(beta=3.0), naive_undial),
    (Ceu(), naive_ceu),
    (Ihl(), naive_ihl),
]


@pytest.mark.parametrize(("objective", "naive"), CASES, ids=lambda case: type(case).__name__)
def test_value_and_gradient_are_those_of_the_full_logits(objective, naive):
    ours, theirs, reference = logits(0), logits(0), logits(1).detach()
    found = objective(view_of(ours, reference=reference if "reference" in objective.needs else None))
    found.backward()
    expected = naive(theirs, reference)
    expected.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert float(ours.grad.abs().max()) > 0
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-6)


@pytest.mark.parametrize("objective", [Idk(beta=0.5), AltPo(beta=0.5)], ids=["idk", "altpo"])
def test_preferences_equal_a_naive_dpo_over_whole_answers(objective):
    own, own_naive, reference = logits(0), logits(0), logits(1).detach()
    other, other_naive, other_reference = logits(4), logits(4), logits(5).detach()
    found = objective(view_of(own, reference=reference, preferred=answers_of(other, other_reference)))
    found.backward()
    lost = row_sums([a - b for a, b in zip(taken(own_naive), taken(reference), strict=True)])
    won = row_sums([a - b for a, b in zip(taken(other_naive), taken(other_reference), strict=True)])
    expected = mean([-(2 / 0.5) * torch.log(torch.sigmoid(0.5 * (w - v))) for w, v in zip(won, lost, strict=True)])
    expected.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(own.grad, own_naive.grad, atol=1e-6)
    assert torch.allclose(other.grad, other_naive.grad, atol=1e-6)


def test_the_values_by_hand():
    third = torch.tensor([math.log(3.0)])
    assert npo_loss(third, 1.0).item() == pytest.approx(-2 * math.log(1 / 4))  # sigmoid(-ln 3) = 1/4
    assert simnpo_loss(third, 1.0, 0.0).item() == pytest.approx(-2 * math.log(3 / 4))
    assert dpo_loss(third, torch.zeros(1), 1.0).item() == pytest.approx(-2 * math.log(3 / 4))
    half = torch.tensor([0.5]).log()
    assert wga_loss(half, 1.0).item() == pytest.approx(0.5 * math.log(0.5))
    assert satimp_loss(half, 2.0, 1.0).item() == pytest.approx(0.125 * math.log(0.5))
    even, token = torch.zeros(1, 4), torch.tensor([2])
    assert ihl_loss(even, token).item() == pytest.approx(1.0)
    assert ceu_loss(even, token).item() == pytest.approx(math.log(4))
    assert undial_loss(even, token, even, 100.0).item() == pytest.approx(math.log(4))
    assert rmu_loss(torch.zeros(2, 8), 2.0, 0).item() == pytest.approx(4.0 / 8)


def test_npo_tends_to_ascent_as_beta_tends_to_zero():
    own, reference = logits(0), logits(1).detach()
    view = view_of(own, reference=reference)
    (gradient,) = torch.autograd.grad(Npo(beta=1e-4)(view), own, retain_graph=True)
    (ascent,) = torch.autograd.grad(view.sums(view.log_probs).mean(), own)
    assert torch.allclose(gradient, ascent, atol=1e-4)


def test_npo_pushes_less_on_a_record_that_is_already_unlikely():
    ratio = torch.tensor([0.0, -50.0], requires_grad=True)
    npo_loss(ratio, 0.1).backward()
    assert ratio.grad[0] > 10 * ratio.grad[1] > 0


def test_the_inverted_hinge_is_bounded_where_ascent_is_not():
    worst = torch.tensor([[-200.0, 200.0]])
    assert ihl_loss(worst, torch.tensor([0])).item() == pytest.approx(0.0)
    assert ihl_loss(worst, torch.tensor([1])).item() == pytest.approx(2.0)


def test_rmu_steers_the_states_it_is_given_towards_its_direction():
    hidden = torch.randn(6, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    objective = Rmu(coefficient=3.0, layer=0, direction_seed=1)
    before = objective(view_of(logits(0), hidden=hidden))
    before.backward()
    moved = (hidden - 40.0 * hidden.grad).detach()
    assert objective(view_of(logits(0), hidden=moved)) < before
    u = torch.rand(16, generator=torch.Generator().manual_seed(1))
    goal = (3.0 * u / u.norm()).expand(6, 16)
    assert rmu_loss(goal, 3.0, 1).item() == pytest.approx(0.0, abs=1e-9)
    assert rmu_loss(goal, 3.0, 2).item() > 0


def test_refusals_are_answers_and_say_nothing_twice():
    assert len(set(REFUSALS)) == len(REFUSALS)
    assert all(refusal.startswith(" ") and refusal.endswith(".") for refusal in REFUSALS)


@pytest.mark.parametrize("name", [n for n, kind in OBJECTIVES.items() if kind.needs])
def test_an_objective_names_what_its_view_lacks(name):
    view = view_of(logits(0))
    with pytest.raises(ValueError, match=r"lacks '\w+'"):
        OBJECTIVES[name]()(view if name != "undial" else type(view)(view.log_probs, view.rows, view.n_rows))
