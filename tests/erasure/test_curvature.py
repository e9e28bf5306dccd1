"""The curvature: what it is read from, what its steps spare, and what it leaves alone."""

import pytest
import torch

from unlearn.erasure.curvature import curvature_of
from unlearn.lm.base import attached, lora_parameters, snapshot
from unlearn.lm.batches import encode
from unlearn.lm.likelihood import head_of, reference_of, score_examples, token_kl
from unlearn.weights import read_adapter


@pytest.fixture
def model(company, base):
    with attached(base, read_adapter(company.adapter)) as model:
        yield model


@pytest.fixture
def retained(company, base):
    return encode(company.train.records[:40], base.tokenizer, base.files.context_tokens)


def read(model, examples, base, damping=0.01, seed=0):
    return curvature_of(model, examples, int(base.tokenizer.pad_token_id), damping=damping, seed=seed)


def random_steps(model, seed):
    draws = torch.Generator().manual_seed(seed)
    return [torch.randn(p.shape, generator=draws) for _, p in lora_parameters(model)]


def test_it_changes_nothing_and_is_the_same_for_the_same_seed(model, retained, base):
    before = snapshot(model)
    one, two = read(model, retained, base), read(model, retained, base)
    steps = random_steps(model, 0)
    for a, b in zip(one.back(steps), two.back(steps), strict=True):
        assert torch.equal(a, b)
    for name, parameter in lora_parameters(model):
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None


def test_the_bases_are_orthogonal_and_the_mean_step_keeps_its_size(model, retained, base):
    found = read(model, retained, base)
    for side in (*found.inputs, *found.outputs):
        assert torch.allclose(side.vectors.T @ side.vectors, torch.eye(len(side.scale)), atol=1e-4)
        assert float(side.scale.square().mean()) == pytest.approx(1.0, rel=1e-4)
        assert bool((side.values >= 0).all())


def test_heavy_damping_leaves_the_directions_as_they_were(model, retained, base):
    found, steps = read(model, retained, base, damping=1e6), random_steps(model, 1)
    for there, step in zip(found.back(found.turned(steps)), steps, strict=True):
        assert torch.allclose(there, step, atol=1e-3)


def test_turned_is_the_gradient_of_the_turned_coordinates(model, retained, base):
    found, steps = read(model, retained, base), random_steps(model, 2)
    gradients = random_steps(model, 3)
    one = sum(float((g * change).sum()) for g, change in zip(gradients, found.back(steps), strict=True))
    other = sum(float((t * step).sum()) for t, step in zip(found.turned(gradients), steps, strict=True))
    assert one == pytest.approx(other, rel=1e-3)


@torch.no_grad()
def test_a_random_step_of_the_same_size_moves_the_retained_records_less(model, retained, base):
    pad_id = int(base.tokenizer.pad_token_id)
    fixed = torch.cat([reference_of(model, retained, pad_id)[0][e.id] for e in retained])
    before, found = snapshot(model), read_with_grad(model, retained, base)

    def moved(changes):
        size = sum(float(c.square().sum()) for c in changes) ** 0.5
        for (_, parameter), change in zip(lora_parameters(model), changes, strict=True):
            parameter.add_(change * (0.5 / size))
        kl, _ = token_kl(head_of(model), fixed, score_examples(model, retained, pad_id))
        for name, parameter in lora_parameters(model):
            parameter.copy_(before[name])
        return float(kl.mean())

    for seed in range(3):
        steps = random_steps(model, seed)
        assert moved(found.back(steps)) < 0.5 * moved(steps)


def test_the_pull_is_the_gradient_of_the_fisher_weighted_square(model, retained, base):
    found, gone = read(model, retained, base), random_steps(model, 4)
    for pull, d, into, out in zip(found.pull(gone), gone, found.inputs, found.outputs, strict=True):
        a = into.vectors @ into.values.diag() @ into.vectors.T
        g = out.vectors @ out.values.diag() @ out.vectors.T
        moved = d.clone().requires_grad_()
        (0.5 * torch.trace(g @ moved @ a @ moved.T)).backward()
        assert torch.allclose(pull, moved.grad, rtol=1e-3, atol=1e-6)


@torch.enable_grad()
def read_with_grad(model, examples, base):
    return read(model, examples, base)
