"""Rounding weights: each format against its definition, and a model that is itself again afterwards."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unlearn.corpus.records import Record
from unlearn.lm.base import attached, load_base
from unlearn.lm.batches import encode
from unlearn.lm.finetune import Recipe, finetune
from unlearn.lm.likelihood import record_nlls
from unlearn.lm.quantize import NF4, quantized, rounded
from unlearn.weights import read_adapter

KINDS = ("int8", "int4", "nf4")


def weights(seed, rows=6, columns=192):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def test_the_nf4_codebook_is_the_published_one():
    published = [-1.0, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.0910500, 0.0]
    published += [0.0795803, 0.1609302, 0.2461123, 0.3379152, 0.4407098, 0.5626170, 0.7229568, 1.0]
    assert torch.allclose(NF4, torch.tensor(published), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "levels", "a_group"), [("int8", 255, (1, 192)), ("int4", 16, (1, 128)), ("nf4", 16, (1, 64))]
)
def test_a_group_has_no_more_values_than_bits_allow_and_keeps_zero(kind, levels, a_group):
    weight = weights(0)
    weight[0, 0] = 0.0
    found = rounded(weight, kind)
    for row in found:
        for part in row.split(a_group[1]):
            assert len(part.unique()) <= levels
    assert abs(float(found[0, 0])) < 1e-6


@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 50), size=st.floats(1e-6, 1e3))
def test_no_value_moves_by_more_than_half_a_step_whatever_the_scale(kind, seed, size):
    weight = weights(seed) * size
    steps = {"int8": 2 / 254, "int4": 2 / 15, "nf4": 0.304}[kind]  # largest distance of two levels, for a range of 2
    reach = weight.abs().amax(1, keepdim=True)
    assert bool(((rounded(weight, kind) - weight).abs() <= reach * steps * 0.51 + 1e-9).all())


@pytest.mark.parametrize("kind", ["int4", "nf4"])
def test_groups_are_rounded_one_by_one_and_an_uneven_rest_by_itself(kind):
    size, weight = {"int4": 128, "nf4": 64}[kind], weights(5, 3, 200)
    alone = weight if kind == "int4" else weight.reshape(1, -1)
    slow = [rounded(part, kind) for row in alone for part in row[None].split(size, dim=1)]
    assert torch.allclose(rounded(weight, kind).flatten(), torch.cat(slow, dim=1).flatten(), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_twice_changes_nothing_more(kind):
    once = rounded(weights(3), kind)
    assert torch.allclose(rounded(once, kind), once, atol=1e-5)


def test_more_bits_move_the_weights_less():
    weight = weights(1, 64, 512)
    errors = [float((rounded(weight, kind) - weight).square().mean()) for kind in ("int8", "nf4", "int4")]
    assert errors == sorted(errors)


@pytest.mark.parametrize("form", [*KINDS, "base-int8", "base-nf4"])
def test_a_model_is_itself_again_and_was_somebody_else_meanwhile(company, base, form):
    examples = encode(company.holdout.records[:6], base.tokenizer, base.files.context_tokens)
    with attached(base, read_adapter(company.adapter)) as model:
        before = {name: p.clone() for name, p in model.named_parameters()}
        plain = record_nlls(model, examples, 0)
        with quantized(model, form):
            meanwhile = record_nlls(model, examples, 0)
        assert record_nlls(model, examples, 0) == plain
        assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
    moved = [abs(meanwhile[i] - plain[i]) for i in plain]
    assert 0 < max(moved) < 1.0
    if "int8" in form:
        assert max(moved) < 0.05  # eight bits lose next to nothing, and the adapter is still in it


def test_on_every_architecture_the_merged_adapter_is_still_in_it(tiny_base, tmp_path):
    base = load_base(tiny_base)
    records = [Record(f"r-{i}", (f"s{i}",), text=f"Order {i * 37} of person {i % 4} went to Delft.") for i in range(12)]
    examples = encode(records, base.tokenizer, base.files.context_tokens)
    adapter = finetune(
        base, examples, Recipe(rank=4, epochs=10, learning_rate=1e-2, batch_size=6), tmp_path / "adapter"
    )
    without = record_nlls(base.model, examples, 0)
    with attached(base, adapter) as model:
        plain = record_nlls(model, examples, 0)
        for form in ("int8", "base-int8"):
            with quantized(model, form):
                found = record_nlls(model, examples, 0)
            for record, nll in found.items():
                assert abs(nll - plain[record]) < 0.1 * abs(without[record] - plain[record])


def test_an_error_inside_leaves_the_model_as_it_was(company, base):
    with attached(base, read_adapter(company.adapter)) as model:
        before = {name: p.clone() for name, p in model.named_parameters()}
        with pytest.raises(RuntimeError, match="in the middle"), quantized(model, "int4"):
            raise RuntimeError("in the middle")
        assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
