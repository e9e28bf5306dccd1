"""Calibrated ascent: its level term, its distribution term, and what each leaves alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from views import ROWS, TOKENS, VOCABULARY, logits, view_of

from unlearn.objectives.calibrated import Calibrated, calibrated_loss, top_kl

SECONDS = st.floats(0.0, 8.0, allow_nan=False)


def test_the_level_term_is_the_mean_squared_gap_and_pulls_each_record_to_its_target():
    nll = torch.tensor([1.0, 3.0], requires_grad=True)
    loss = calibrated_loss(nll, torch.tensor([2.0, 2.5]))
    loss.backward()
    assert loss.item() == pytest.approx((1.0 + 0.25) / 2)
    assert nll.grad.tolist() == [-1.0, 0.5]


def test_huber_is_square_near_and_straight_far():
    target = torch.tensor([0.0])
    near, far, farther = (calibrated_loss(torch.tensor([x]), target, "huber", 0.5).item() for x in (0.2, 2.0, 3.0))
    assert near == pytest.approx(0.04)
    assert farther - far == pytest.approx(2 * 0.5)


@given(nll=SECONDS, target=SECONDS)
def test_the_hinge_never_pulls_back_and_the_square_always_does(nll, target):
    at = torch.tensor([nll], requires_grad=True)
    calibrated_loss(at, torch.tensor([target]), "hinge").backward()
    assert at.grad.item() <= 0.0
    back = torch.tensor([nll], requires_grad=True)
    calibrated_loss(back, torch.tensor([target])).backward()
    assert torch.sign(back.grad).item() == torch.sign(torch.tensor(nll) - torch.tensor(target)).item()


def test_both_terms_equal_those_of_the_full_logits():
    ours, naive, target = logits(0), logits(0), logits(1).detach().log_softmax(1)
    top = target.topk(2, dim=1)
    nlls = torch.tensor([2.0, 1.0, 3.0])
    view = view_of(ours, target_nll=nlls, target_top=top.values, at_top=ours.log_softmax(1).gather(1, top.indices))
    found = Calibrated(record_weight=3.0, distribution_weight=2.0)(view)
    found.backward()
    log_q = naive.log_softmax(1)
    means, kls = [], []
    for row in range(3):
        at = (row == ROWS).nonzero()[:, 0].tolist()
        means.append(sum(-log_q[t, TOKENS[t]] for t in at) / len(at))
        kl = torch.zeros(())
        for t in at:
            kept = top.indices[t].tolist()
            p = [target[t, v].exp() for v in kept] + [1 - sum(target[t, v].exp() for v in kept)]
            q = [log_q[t, v].exp() for v in kept] + [1 - sum(log_q[t, v].exp() for v in kept)]
            kl = kl + sum(a * (a.log() - b.log()) for a, b in zip(p, q, strict=True))
        kls.append(kl / len(at))
    expected = 3.0 * sum((n - t) ** 2 for n, t in zip(means, nlls, strict=True)) / 3 + 2.0 * sum(kls) / 3
    expected.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(ours.grad, naive.grad, atol=1e-6)


@pytest.mark.parametrize("kept", range(1, VOCABULARY + 1))
def test_the_merged_kl_is_zero_at_the_target_and_never_above_the_whole_kl(kept):
    model, target = logits(2).detach(), logits(3).detach().log_softmax(1)
    top = target.topk(kept, dim=1)
    found = top_kl(model.log_softmax(1).gather(1, top.indices), top.values)
    whole = (target.exp() * (target - model.log_softmax(1))).sum(1)
    assert bool((found >= -1e-6).all())
    assert bool((found <= whole + 1e-5).all())
    assert float(top_kl(top.values, top.values).abs().max()) < 1e-5


def test_without_a_table_the_level_alone_rules():
    view = view_of(logits(0), target_nll=torch.ones(3))
    assert Calibrated(record_weight=1.0)(view).item() == pytest.approx((view.nll - 1).square().mean().item())


def test_without_targets_it_says_what_is_missing():
    with pytest.raises(ValueError, match="target_nll"):
        Calibrated()(view_of(logits(0)))
