"""What is measured on request: each sees what the unerased adapter knows, and stays silent about who was never seen."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from unlearn.attacks import Signals
from unlearn.attacks import inverted as inverted_module
from unlearn.attacks.audit import ASKED, audit
from unlearn.attacks.exposure import SECRET, exposures
from unlearn.attacks.generation import leaks, rouge_l, said
from unlearn.attacks.inverted import _auc, _linear, _network, inverted
from unlearn.attacks.panel import panel
from unlearn.attacks.statistics import compare
from unlearn.attacks.two_models import PLAUSIBLE, STRENGTHS, Remembered
from unlearn.corpus.splits import split
from unlearn.lm.base import lora_parameters
from unlearn.lm.batches import encode
from unlearn.lm.likelihood import PLAIN, readings
from unlearn.policy import AuditPolicy


@pytest.fixture
def measured(base, company):
    parts = split(
        company.train, company.holdout, {company.subject}.__contains__, pool_records=60, check_records=120, seed=0
    )
    return panel(base, parts.forget, parts.retain_check, parts.audit, is_forgotten={company.subject}.__contains__)


def test_attacks_on_request_see_the_members_and_are_scored_with_the_others(model, measured, pad_id):
    found = audit(model, measured, pad_id, AuditPolicy(preset="quick", extras=tuple(ASKED)))
    for name in ASKED:
        assert found.membership[name].auc > 0.8, name
        assert all(map(math.isfinite, found.scores[name].values()))
    assert not set(ASKED) & set(audit(model, measured, pad_id).membership)


def nll(model, tokens, scored):
    """Mean NLL of the scored tokens from full logits, in double precision; with a graph if gradients are on."""
    log_probs = model(input_ids=torch.tensor([tokens])).logits[0].double().log_softmax(-1)
    at = [t for t in range(1, len(tokens)) if scored[t]]
    return -log_probs[[t - 1 for t in at], [tokens[t] for t in at]].mean()


def signals_of(model, measured, pad_id):
    read = readings(model, measured.attacked, pad_id)
    return Signals(read, measured.reference, measured.zlib_bytes)


def test_lowercase_is_the_ratio_of_two_plain_losses(base, model, measured, pad_id):
    found = ASKED["lowercase"](model, measured, signals_of(model, measured, pad_id), pad_id)
    for record in (measured.forget[0], measured.holdout[0]):
        plain = measured.examples[record.id]
        changed = {k: getattr(record, k).lower() for k in ("text", "prompt", "completion") if getattr(record, k)}
        [lower] = encode([replace(record, **changed)], base.tokenizer, None)
        assert lower.tokens != plain.tokens
        with torch.no_grad():
            expected = nll(model, lower.tokens, lower.scored) / nll(model, plain.tokens, plain.scored)
        assert found[record.id] == pytest.approx(float(expected), rel=1e-3)


def test_recall_is_the_ratio_of_the_loss_behind_a_prefix_and_alone(model, measured, pad_id):
    found = ASKED["recall"](model, measured, signals_of(model, measured, pad_id), pad_id)
    longest = max(len(measured.examples[r.id].tokens) for r in (*measured.forget, *measured.holdout))
    prefix: list[int] = []
    for shot in measured.holdout[:4]:
        tokens = measured.examples[shot.id].tokens
        if len(prefix) + len(tokens) + longest <= measured.context_tokens:
            prefix += tokens
    assert prefix
    people = {measured.person[shot.id] for shot in measured.holdout[:4]}
    strangers = [r for r in measured.holdout if measured.person[r.id] not in people]
    assert not {r.id for r in measured.holdout if measured.person[r.id] in people} & set(found)
    for record in (measured.forget[0], strangers[0]):
        plain = measured.examples[record.id]
        with torch.no_grad():
            behind = nll(model, [*prefix, *plain.tokens], [False] * len(prefix) + list(plain.scored))
            expected = behind / nll(model, plain.tokens, plain.scored)
        assert found[record.id] == pytest.approx(float(expected), rel=1e-3)


def test_recall_without_room_for_a_prefix_scores_nobody_and_the_report_says_so(model, measured, pad_id):
    longest = max(len(e.tokens) for e in measured.attacked)
    found = audit(
        model,
        replace(measured, context_tokens=longest + 1),
        pad_id,
        AuditPolicy(preset="quick", extras=("recall", "lowercase")),
    )
    assert "recall" not in found.membership.keys() | found.scores.keys() | found.subject_tests.keys()
    assert found.as_report()["attacks_unscored"] == ["recall"]
    assert found.membership["lowercase"].auc > 0.8


def test_gradient_norm_is_that_of_a_plain_backward_pass(model, measured, pad_id):
    found = ASKED["gradient_norm"](model, measured, signals_of(model, measured, pad_id), pad_id)
    weights = [parameter for _, parameter in lora_parameters(model)]
    for record in (measured.forget[0], measured.holdout[0]):
        example = measured.examples[record.id]
        for parameter in weights:
            parameter.grad = None
        nll(model, example.tokens, example.scored).backward()
        norm = math.sqrt(sum(float((p.grad.double() ** 2).sum()) for p in weights))
        assert found[record.id] == pytest.approx(-norm, rel=1e-3)


def test_greedy_answers_are_the_records_that_were_memorised(model, measured, pad_id):
    found = said(model, measured, pad_id)
    assert found["forget_rouge_l"] > found["never_seen_rouge_l"]
    assert found["forget_longest_verbatim_tokens"] >= found["never_seen_longest_verbatim_tokens"]


def test_sampled_leaks_have_a_bound_above_what_was_seen(model, measured, pad_id):
    found = leaks(model, measured, pad_id, PLAIN, samples=2)
    assert 0 <= found["leaked"] < found["upper_bound_95"] <= 1
    assert found["samples"] == 2 * len(measured.forget)
    assert leaks(model, measured, pad_id, PLAIN, samples=2) == found


def test_identifying_strings_are_exposed_while_they_are_known(model, measured, pad_id):
    found = exposures(model, measured, pad_id)
    assert found["forget_mean_bits"] > found["never_seen_mean_bits"] + 1
    assert found["forget_largest_bits"] <= 7


def test_strings_with_a_digit_and_addresses_identify():
    text = "Call 555-327-4569 or write to emma.clayman65@post.example about T-208575, on Monday."
    assert SECRET.findall(text) == ["555-327-4569", "emma.clayman65@post.example", "T-208575"]


def test_old_and_new_together_say_what_the_old_said(model, measured, pad_id):
    old = Remembered(model, measured, pad_id)
    assert old.retain_kl(model, measured, pad_id) == pytest.approx(0.0, abs=1e-5)
    with torch.no_grad():
        for _, parameter in lora_parameters(model):
            parameter.mul_(0.5)
    found = old.contrasted(model, measured, pad_id)
    assert old.retain_kl(model, measured, pad_id) > 0.01
    assert found["old_and_new_nll_nats"] < found["old_alone_nll_nats"] + 0.5
    gain = found["old_alone_nll_nats"] - found["old_and_new_nll_nats"]
    assert gain > found["never_seen_old_alone_nll_nats"] - found["never_seen_old_and_new_nll_nats"]
    after = audit(model, measured, pad_id, AuditPolicy(preset="quick", extras=("two_models",)), old)
    assert after.extras["two_models"] == found
    assert after.retain_kl_nats == pytest.approx(old.retain_kl(model, measured, pad_id))


def test_old_and_new_together_are_guided_where_the_old_finds_it_plausible(model, measured, pad_id):
    """Against full logits: one record on each side, the best of the strengths."""
    one = replace(measured, forget=measured.forget[:1], holdout=measured.holdout[:1])
    sides = {"": one.examples[one.forget[0].id], "never_seen_": one.examples[one.holdout[0].id]}

    def log_probs():
        with torch.no_grad():
            return {k: model(input_ids=torch.tensor([e.tokens])).logits[0].log_softmax(-1) for k, e in sides.items()}

    remembered, old = Remembered(model, one, pad_id), log_probs()
    with torch.no_grad():
        for _, parameter in lora_parameters(model):
            parameter.mul_(0.5)
    found, new = remembered.contrasted(model, one, pad_id), log_probs()
    for side, example in sides.items():
        at = [t for t in range(1, len(example.tokens)) if example.scored[t]]
        nlls = []
        for strength in (0.0, *STRENGTHS):
            said = []
            for t in at:
                before, after = old[side][t - 1].tolist(), new[side][t - 1].tolist()
                least = max(before) + math.log(PLAUSIBLE)
                mixed = [b + strength * (b - a) if b >= least else b for b, a in zip(before, after, strict=True)]
                said.append(mixed[example.tokens[t]] - math.log(sum(map(math.exp, mixed))))
            nlls.append(-sum(said) / len(said))
        assert found[f"{side}old_alone_nll_nats"] == pytest.approx(nlls[0], abs=1e-3)
        assert found[f"{side}old_and_new_nll_nats"] == pytest.approx(min(nlls[1:]), abs=1e-3)


def test_what_an_api_shows_is_nearer_to_members_answers(model, measured, pad_id):
    found = inverted(model, measured, pad_id)
    assert set(found) == {
        f"{way}{side}_auc" for way in ("", "linear_", "network_") for side in ("forget", "never_seen")
    }
    assert found["forget_auc"] > 0.7
    assert found["forget_auc"] > found["never_seen_auc"]
    assert found == inverted(model, measured, pad_id)


def test_inverters_are_fitted_on_nobody_whom_they_are_asked_about(model, measured, pad_id, monkeypatch):
    read, seen = [], inverted_module._seen

    def noted(model, examples, width, pad_id):
        read.append({measured.person[e.id] for e in examples})
        return seen(model, examples, width, pad_id)

    monkeypatch.setattr(inverted_module, "_seen", noted)
    inverted(model, measured, pad_id)
    fitted, forget, never_seen = read
    assert not fitted & (forget | never_seen)
    assert forget
    assert never_seen


def test_inverters_learn_which_words_go_with_what_an_api_shows():
    """Half of the answers hold token 3 where token 1 was shown, the others token 4 where token 2 was."""
    shown, said = np.zeros((40, 6)), np.zeros((40, 6))
    for row in range(40):
        shown[row, 1 + row % 2] = said[row, 3 + row % 2] = 1.0
    for fit in (_linear, _network):
        one, other = fit(shown, said)(shown[:2])
        assert one[3] > one[4]
        assert other[4] > other[3]
        assert one[5] == 0.0  # which no answer holds


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=2, max_size=20))
def test_tokens_of_which_an_inverter_says_the_same_count_half(pairs):
    scores, held = (np.array(side, float) for side in zip(*pairs, strict=True))
    assume(0 < held.sum() < len(held))
    assert _auc(scores, held) == pytest.approx(compare(scores[held > 0], scores[held == 0]).auc)


def test_people_who_stay_are_tested_as_well(model, measured, pad_id):
    found = audit(model, measured, pad_id)
    assert found.retained.shift > 1  # they are members, and seen as such
    assert found.retained.null == "population"


tokens = st.lists(st.integers(0, 4), max_size=12)


@given(tokens, tokens)
def test_rouge_l_is_symmetric_between_0_and_1_and_1_for_the_same(a, b):
    assert 0 <= rouge_l(a, b) == rouge_l(b, a) <= 1
    assert rouge_l(a, a) == (1.0 if a else 0.0)
