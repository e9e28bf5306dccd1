"""Ascent by hand."""

import pytest
import torch
from views import logits, view_of

from unlearn.objectives.ascent import Ascent, ascent_loss


def test_the_loss_is_the_negated_mean_nll_and_its_gradient_is_minus_one_over_n():
    nll = torch.tensor([0.5, 1.5, 4.0], requires_grad=True)
    loss = ascent_loss(nll)
    loss.backward()
    assert loss.item() == -2.0
    assert nll.grad is not None
    assert torch.allclose(nll.grad, torch.full((3,), -1 / 3))


def test_value_and_gradient_are_those_of_the_full_logits():
    ours, naive = logits(0), logits(0)
    found = Ascent()(view_of(ours))
    found.backward()
    taken = naive.log_softmax(1)
    rows = [taken[0, 1] + taken[1, 4], taken[2, 0] + taken[3, 2] + taken[4, 2], taken[5, 3]]
    expected = (rows[0] / 2 + rows[1] / 3 + rows[2]) / 3
    expected.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.allclose(ours.grad, naive.grad, atol=1e-7)
