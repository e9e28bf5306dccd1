"""Likelihoods against a naive reading of the full logits, on several architectures."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unlearn.errors import ModelError
from unlearn.lm import likelihood
from unlearn.lm.base import load_base
from unlearn.lm.batches import Example, collate
from unlearn.lm.likelihood import (
    check_head,
    head_of,
    log_probs_at,
    record_nlls,
    reference_of,
    row_means,
    score,
    served_log_probs,
    token_kl,
    token_log_probs,
)
from unlearn.policy import Decoding

EXAMPLES = [
    Example("a", (1, 9, 30, 31, 40, 2), (False, False, False, True, True, True)),
    Example("b", (7, 8, 9), (False, True, True)),
    Example("c", tuple(range(10, 30)), (False,) * 12 + (True,) * 8),
]


def naive_nll(model, example):
    logits = model(input_ids=torch.tensor([example.tokens])).logits[0].float()
    log_probs = logits.log_softmax(-1)
    taken = [-log_probs[t - 1, example.tokens[t]] for t in range(1, len(example.tokens)) if example.scored[t]]
    return torch.stack(taken).mean()


@pytest.fixture
def chunks_of_two_tokens(monkeypatch):
    monkeypatch.setattr(likelihood, "LOGITS_BYTES", 2 * 4 * 320)


@torch.no_grad()
def assert_equals_naive(model):
    found = record_nlls(model, EXAMPLES, 0)
    for example in EXAMPLES:
        assert found[example.id] == pytest.approx(float(naive_nll(model, example)), abs=2e-5)


def test_record_nlls_equal_the_naive_full_logits_whatever_the_padding(tiny_base):
    assert_equals_naive(load_base(tiny_base).model)


def test_record_nlls_equal_the_naive_ones_in_chunks(tiny_base, chunks_of_two_tokens):
    assert_equals_naive(load_base(tiny_base).model)


def test_a_soft_capped_head_is_read_rightly(gemma_base):
    assert_equals_naive(load_base(gemma_base).model)


def test_a_head_that_does_something_unknown_is_refused(gemma_base):
    model = load_base(gemma_base).model
    model.config.final_logit_softcapping, kept = 50.0, model.config.final_logit_softcapping
    forward = model.forward
    try:
        model.forward = lambda **given: _doubled(forward(**given))
        with pytest.raises(ModelError, match="treats its logits"):
            check_head(model)
    finally:
        model.forward = forward
        model.config.final_logit_softcapping = kept


def _doubled(output):
    output.logits = output.logits * 2
    return output


def test_kl_equals_the_naive_one_and_counts_no_prompt_and_no_padding(tiny_base):
    model = load_base(tiny_base).model
    batch = collate(EXAMPLES, 0)
    with torch.no_grad():
        scored = score(model, batch)
        other = scored.hidden + 0.3 * torch.randn_like(scored.hidden)
        head = head_of(model)
        log_p, log_q = head(other).log_softmax(-1), head(scored.hidden).log_softmax(-1)
        slow = torch.stack([(p.exp() * (p - q)).sum() for p, q in zip(log_p, log_q, strict=True)])
        found, log_probs = token_kl(head, other, scored)
    assert found.shape == (sum(map(sum, (e.scored for e in EXAMPLES))),)
    assert torch.allclose(found, slow, atol=1e-5)
    assert torch.allclose(log_probs, log_q.gather(1, scored.targets[:, None])[:, 0], atol=1e-5)
    assert bool((found > 0).all())


def test_log_probs_at_other_tokens_are_those_of_the_full_logits(tiny_base):
    model = load_base(tiny_base).model
    with torch.no_grad():
        scored = score(model, collate(EXAMPLES, 0))
        others = torch.randint(0, 8, (len(scored.targets), 3), generator=torch.Generator().manual_seed(0))
        ours, theirs = log_probs_at(head_of(model), scored, others)
        slow = head_of(model)(scored.hidden).log_softmax(-1)
    assert torch.allclose(ours, slow.gather(1, scored.targets[:, None])[:, 0], atol=1e-5)
    assert torch.allclose(theirs, slow.gather(1, others), atol=1e-5)


@given(
    temperature=st.floats(0.2, 3.0),
    top_k=st.one_of(st.none(), st.integers(1, 9)),
    top_p=st.one_of(st.none(), st.floats(0.05, 1.0)),
    seed=st.integers(0, 99),
)
def test_what_is_served_is_what_the_decoding_leaves(temperature, top_k, top_p, seed):
    logits = torch.randn(4, 8, generator=torch.Generator().manual_seed(seed)) * 3
    tokens = torch.tensor([0, 3, 5, 7])
    found = served_log_probs(logits, tokens, Decoding(temperature=temperature, top_k=top_k, top_p=top_p))
    for row, token, log_p in zip(logits.double(), tokens.tolist(), found.tolist(), strict=True):
        p = (row / temperature).softmax(0).tolist()
        left = sorted(range(8), key=lambda t: -p[t])[: top_k or 8]
        mass, kept = sum(p[t] for t in left), []
        for t in left:
            if top_p is not None and sum(p[k] for k in kept) / mass >= top_p - 1e-6:
                break
            kept.append(t)
        if abs(sum(p[k] for k in kept) / mass - (top_p or 9)) < 1e-5:
            continue  # a tie that rounding decides
        expected = math.log(p[token] / sum(p[t] for t in kept)) if token in kept else -math.inf
        assert log_p == pytest.approx(expected, abs=1e-3)


def test_kl_of_a_model_with_itself_is_zero(tiny_base):
    model = load_base(tiny_base).model
    reference, _ = reference_of(model, EXAMPLES, 0)
    with torch.no_grad():
        scored = score(model, collate(EXAMPLES, 0))
        fixed = torch.cat([reference[e.id] for e in EXAMPLES])
        assert float(token_kl(head_of(model), fixed, scored)[0].abs().max()) < 1e-5


def test_kl_on_raw_logits_would_be_something_else(tiny_base):
    # A known defect of public code: kl_div on logits instead of log-probabilities.
    model = load_base(tiny_base).model
    with torch.no_grad():
        scored = score(model, collate(EXAMPLES, 0))
        other = scored.hidden + 0.1
        head = head_of(model)
        wrong = torch.nn.functional.kl_div(head(scored.hidden), head(other), log_target=True, reduction="none").sum(-1)
        assert not torch.allclose(token_kl(head, other, scored)[0], wrong, atol=1e-2)


def test_gradients_do_not_depend_on_the_chunking(tiny_base, monkeypatch):
    model = load_base(tiny_base).model
    weight = model.get_input_embeddings().weight.requires_grad_(True)
    gradients = []
    try:
        for size in (64 * 2**20, 3 * 4 * 320):
            monkeypatch.setattr(likelihood, "LOGITS_BYTES", size)
            scored = score(model, collate(EXAMPLES, 0))
            loss = row_means(token_log_probs(head_of(model), scored), scored).sum()
            loss = loss + token_kl(head_of(model), scored.hidden.detach() + 0.1, scored)[0].sum()
            (gradient,) = torch.autograd.grad(loss, [weight])
            gradients.append(gradient)
    finally:
        weight.requires_grad_(False)
    assert float(gradients[0].abs().max()) > 0
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)


def test_row_means_divide_by_each_rows_own_scored_tokens(tiny_base):
    model = load_base(tiny_base).model
    with torch.no_grad():
        scored = score(model, collate(EXAMPLES, 0))
    ones = torch.ones(len(scored.targets))
    assert torch.equal(row_means(ones, scored), torch.ones(3))
    second = scored.of_rows(1, 3)
    assert second.n_rows == 2
    assert second.targets.tolist() == [8, 9, *range(22, 30)]
