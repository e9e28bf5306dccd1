"""Ascent by hand."""

import torch

from unlearn.objectives import OBJECTIVES, Ascent
from unlearn.policy import Policy


def test_ascent_is_the_negated_mean_nll_and_its_gradient_is_minus_one_over_n():
    nll = torch.tensor([0.5, 1.5, 4.0], requires_grad=True)
    loss = Ascent()(nll)
    loss.backward()
    assert loss.item() == -2.0
    assert nll.grad is not None
    assert torch.allclose(nll.grad, torch.full((3,), -1 / 3))


def test_a_step_along_the_gradient_raises_every_nll():
    nll = torch.tensor([0.1, 2.0], requires_grad=True)
    Ascent()(nll).backward()
    assert bool((nll - 0.1 * nll.grad > nll).all())


def test_every_objective_on_the_menu_can_be_named_by_a_policy():
    for name in OBJECTIVES:
        assert Policy(method=name).method == name
