"""Challenges: each leaves the model as it was, takes both sides, finds what was only hidden, and costs what it says."""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager
from statistics import fmean

import numpy as np
import pytest
import torch

from unlearn.attacks.audit import audit
from unlearn.attacks.challenges import CHALLENGES, relearned
from unlearn.attacks.challenges.pruned import Pruned
from unlearn.attacks.challenges.quantized import Quantized
from unlearn.attacks.challenges.relearned import taught
from unlearn.attacks.extraction import log10_queries
from unlearn.attacks.null import SERVED, expected_falls, shadowed
from unlearn.attacks.panel import panel
from unlearn.attacks.shadow_scores import score_names, shadow_reader
from unlearn.corpus.general import general_texts
from unlearn.corpus.splits import split
from unlearn.lm import likelihood, quantize
from unlearn.lm.altered import altered, linear_layers
from unlearn.lm.base import attached, lora_parameters, snapshot
from unlearn.lm.batches import encode
from unlearn.lm.likelihood import answer_gradient, record_nlls
from unlearn.lm.prune import input_norms, magnitude, wanda, wanda_2_4
from unlearn.policy import OTHERWISE, PRESETS, AuditPolicy, Policy
from unlearn.weights import read_adapter


@pytest.fixture
def measured(base, company):
    parts = split(
        company.train, company.holdout, {company.subject}.__contains__, pool_records=8, check_records=16, seed=0
    )
    return panel(
        base,
        parts.forget,
        parts.retain_check,
        parts.audit,
        is_forgotten={company.subject}.__contains__,
        general=general_texts(None),
    )


def policy(**given):
    return AuditPolicy.model_validate({"extras": ()} | given)


@pytest.mark.parametrize("name", sorted(CHALLENGES.keys() - {"suffix-50"}))
def test_a_challenge_takes_both_sides_and_leaves_the_model_as_it_was(name, model, measured, pad_id):
    weights = {n: p.detach().clone() for n, p in model.named_parameters()}
    found = CHALLENGES[name](model, measured, pad_id)
    assert set(found) & {r.id for r in measured.forget}
    assert set(found) & {r.id for r in measured.holdout}
    assert all(np.isfinite(nll) for nll in found.values())
    assert all(torch.equal(p, weights[n]) for n, p in model.named_parameters())
    assert not any(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", ["int4", "wanda-50", "relearned-5", "relearned-unrelated", "affirmative", "suffix"])
def test_a_challenge_costs_about_what_it_says(name, model, measured, pad_id, monkeypatch):
    passed = [0]
    score = likelihood.score

    def counted(model, batch, layer=None):
        passed[0] += len(batch.ids) * (3 if torch.is_grad_enabled() else 1)
        return score(model, batch, layer)

    monkeypatch.setattr(likelihood, "score", counted)
    CHALLENGES[name](model, measured, pad_id)
    said = CHALLENGES[name].forwards(measured)
    assert 0.85 * said <= passed[0] <= 1.15 * said


def test_what_only_the_first_token_hides_is_found_when_the_beginning_is_given(model, measured, pad_id):
    before = record_nlls(model, measured.attacked, pad_id)
    led = CHALLENGES["led"](model, measured, pad_id)
    forget = [r.id for r in measured.forget]
    assert fmean(led[r] for r in forget) < fmean(before[r] for r in forget)


def test_records_are_asked_for_in_the_wordings_they_bring_if_both_sides_bring_some(model, measured, pad_id, base):
    def asked(record):
        return record_nlls(model, encode([record], base.tokenizer, None), pad_id)[record.id]

    def brings(records, *wordings):
        return [dataclasses.replace(records[0], paraphrases=wordings), *records[1:]]

    paraphrase = CHALLENGES["paraphrase"]
    mine, other = (next(r for r in side if r.prompt is not None) for side in (measured.forget, measured.holdout))
    forget = brings([mine, *(r for r in measured.forget if r.id != mine.id)], mine.prompt, other.prompt)
    alone = dataclasses.replace(measured, forget=forget)
    assert paraphrase(model, alone, pad_id) == paraphrase(model, measured, pad_id)
    assert paraphrase.forwards(alone) == len(measured.attacked)
    both = dataclasses.replace(alone, holdout=brings([other], "Who was it?"))
    found = paraphrase(model, both, pad_id)
    other_words = asked(dataclasses.replace(mine, prompt=other.prompt))
    assert abs(other_words - asked(mine)) > 1e-3
    assert found[mine.id] == pytest.approx((asked(mine) + other_words) / 2, abs=1e-4)
    assert found[other.id] == pytest.approx(asked(dataclasses.replace(other, prompt="Who was it?")), abs=1e-4)
    assert (found.keys(), paraphrase.forwards(both)) == ({mine.id, other.id}, 3)


def test_training_on_half_of_a_persons_records_is_undone_and_does_help(model, measured, pad_id):
    lessons = [measured.examples[r.id] for r in measured.holdout[:4]]
    before, weights = record_nlls(model, lessons, pad_id), snapshot(model)
    with taught(model, lessons, 5, pad_id):
        after = record_nlls(model, lessons, pad_id)
    assert fmean(after.values()) < fmean(before.values()) - 0.1
    assert all(torch.equal(weights[n], p) for n, p in snapshot(model).items())
    assert record_nlls(model, lessons, pad_id) == before


def test_each_record_of_a_person_is_read_by_a_model_that_was_not_taught_it(model, measured, pad_id, monkeypatch):
    taught_last: list[set[str]] = []
    read: dict[str, int] = {}

    @contextmanager
    def noted(model, lessons, steps, pad_id):
        taught_last.append({e.id for e in lessons})
        yield

    def nlls(model, examples, pad_id):
        assert not taught_last[-1] & {e.id for e in examples}
        for e in examples:
            read[e.id] = read.get(e.id, 0) + 1
        return {e.id: 0.0 for e in examples}

    monkeypatch.setattr(relearned, "taught", noted)
    monkeypatch.setattr(relearned, "record_nlls", nlls)
    found = CHALLENGES["relearned-5"](model, measured, pad_id)
    assert {r.id for r in measured.forget} <= set(found)
    assert set(read.values()) == {1}


def test_a_suffix_that_was_searched_for_lowers_the_nll_more_than_padding(model, measured, pad_id):
    searched = CHALLENGES["suffix"](model, measured, pad_id)
    nothing = dataclasses.replace(CHALLENGES["suffix"], steps=0)(model, measured, pad_id)
    assert fmean(searched.values()) < fmean(nothing[r] for r in searched)


def test_the_gradient_of_a_token_is_what_a_small_change_of_it_does(model, measured):
    example = next(e for e in measured.attacked if e.scored.index(True) > 2)
    gradient = answer_gradient(model, example)
    table = model.get_input_embeddings().weight.detach()
    assert gradient.shape == (len(example.tokens), len(table))
    embedded = table[list(example.tokens)][None].clone()
    lm = model.get_base_model()

    def nll(inputs):
        with torch.no_grad():
            log_p = lm(inputs_embeds=inputs).logits[0].log_softmax(-1)
        at = [t for t in range(1, len(example.tokens)) if example.scored[t]]
        return -fmean(float(log_p[t - 1, example.tokens[t]]) for t in at)

    step = 1e-2
    moved = [embedded.clone(), embedded.clone()]
    for sign, inputs in zip((1, -1), moved, strict=True):
        inputs[0, 1] += sign * step * (table[7] - table[example.tokens[1]])
    slope = (nll(moved[0]) - nll(moved[1])) / (2 * step)
    assert slope == pytest.approx(float(gradient[1, 7] - gradient[1, example.tokens[1]]), rel=0.05, abs=1e-3)


def test_a_short_budget_takes_challenges_in_their_order_and_the_deployed_format_always(model, measured, pad_id):
    one = len(measured.attacked)
    found = audit(model, measured, pad_id, policy(challenges=["int8", "suffix", "nf4"], forwards=2 * one))
    assert set(found.challenges) == {"int8", "nf4"}
    assert "forward passes left" in found.skipped["suffix"]
    nothing = audit(model, measured, pad_id, policy(challenges=["int8"], deployed="int4", forwards=0))
    assert set(nothing.challenges) == {"int4"}


def test_the_deployed_format_is_tested_for_membership_as_well(model, measured, pad_id, base):
    found = audit(model, measured, pad_id, policy(preset="quick", deployed="int4"))
    assert found.subject_tests["loss in int4"].null == "population"
    for record, score in found.scores["loss"].items():
        assert score == pytest.approx(-found.challenges["int4"][record], abs=1.0)
    assert "loss in int4" in found.membership
    whole = audit(model, measured, pad_id, policy(preset="quick"))
    rounded = CHALLENGES["int4"].read(model, measured, pad_id)
    for record, tries in whole.queries.items():
        easier = min(tries, log10_queries(float(rounded[record].served.sum(dtype=np.float64))))
        assert found.queries[record] == pytest.approx(easier, abs=1e-6)
    assert "loss in int4" not in audit(model, measured, pad_id, policy(challenges=["int4"])).membership


@pytest.mark.parametrize("deployed", [None, "int4"])
def test_what_is_known_by_heart_is_said_word_for_word_in_full_or_as_deployed(
    deployed, model, measured, pad_id, monkeypatch
):
    """Deployed, the format alone knows it, as if rounding had brought it back."""
    heart = next(r for r in measured.forget if r.prompt)

    def by_heart():
        return taught(model, [measured.examples[heart.id]], 150, pad_id)

    def read(_form, model, panel, pad_id):
        with by_heart():
            return likelihood.readings(model, panel.attacked, pad_id)

    whole = likelihood.readings(model, measured.attacked, pad_id)
    learned = read(deployed, model, measured, pad_id)
    if deployed is None:
        with by_heart():
            found, ways = audit(model, measured, pad_id), [learned]
    else:
        monkeypatch.setattr(Quantized, "read", read)
        found, ways = audit(model, measured, pad_id, policy(preset="quick", deployed=deployed)), [whole, learned]
    assert learned[heart.id].correct.all()
    assert not whole[heart.id].correct.all()
    assert set(found.verbatim) == {r.id for r in measured.forget if any(way[r.id].correct.all() for way in ways)}


@pytest.fixture
def shadow(base, company):
    """What a table keeps of an adapter, as if two people were left out of it; their records; and the plain NLLs."""
    audited = {"deployed": "int4", "challenges": ["relearned-5", "relearned-neighbours", "in_context", "suffix"]}
    given = Policy.model_validate({"audit": audited})
    read = shadow_reader(base, company.train, company.holdout, given)
    people = sorted(company.train.subjects)[:2]
    examples = encode([*company.train.records, *company.holdout.records], base.tokenizer, base.files.context_tokens)
    with attached(base, read_adapter(company.adapter)) as model:
        return read(model, people), people, record_nlls(model, examples, 0), given


def test_a_table_keeps_scores_of_whoever_is_left_out_and_of_the_holdout(shadow, company):
    (found, tokens), people, plain, given = shadow
    theirs = {r.id for r in company.train.records if not set(people).isdisjoint(r.subjects)}
    assert set(found) == theirs | {r.id for r in company.holdout.records}
    for record, scores in found.items():
        assert list(scores) == score_names(given.audit)
        assert scores["loss"] == pytest.approx(-plain[record], abs=1e-5)
        assert tokens[record].mean() == pytest.approx(scores["loss"], abs=1e-5)
        assert scores["loss in int4"] != scores["loss"]
    assert "fall under in_context" in score_names(given.audit)
    assert "fall under suffix" not in score_names(given.audit)  # thousands of passes a record


def test_a_table_keeps_what_challenges_do_beyond_the_never_seen(shadow, company, base, pad_id):
    (found, _), people, plain, _ = shadow
    person = people[0]
    mine = sorted((r for r in company.train.records if person in r.subjects), key=lambda r: r.id)
    parts = split(company.train, company.holdout, set(people).__contains__, pool_records=1, check_records=256, seed=0)
    alone = panel(base, mine, parts.retain_check, parts.audit, is_forgotten=person.__eq__)
    with attached(base, read_adapter(company.adapter)) as model:
        for name in ("int4", "in_context", "relearned-neighbours", "relearned-5"):
            nlls = CHALLENGES[name](model, alone, pad_id)
            level = fmean(plain[r.id] - nlls[r.id] for r in parts.audit if r.id in nlls)
            taken = [r.id for r in mine if r.id in nlls]
            assert taken
            for record in taken:
                expected = plain[record] - nlls[record] - level
                assert found[record][f"fall under {name}"] == pytest.approx(expected, abs=1e-4)
    assert all(np.isnan(found[r.id]["fall under in_context"]) for r in company.holdout.records)


def test_a_table_reads_the_deployed_format_once(base, company, monkeypatch):
    rounds = []
    monkeypatch.setattr(quantize, "altered", lambda *given, **how: rounds.append(how) or altered(*given, **how))
    given = Policy.model_validate({"audit": {"deployed": "int4", "challenges": ["int8"]}})
    read = shadow_reader(base, company.train, company.holdout, given)
    with attached(base, read_adapter(company.adapter)) as model:
        found, _ = read(model, [company.subject])
    assert len(rounds) == 2  # one each
    falls = [scores["fall under int4"] for scores in found.values() if "fall under int4" in scores]
    assert np.isfinite(falls).any()


def test_an_audit_says_what_challenges_do_in_shadows_that_never_saw_the_person(base, company, model, pad_id):
    forget = [r for r in company.train.records if company.subject in r.subjects]
    places = {r.id: r.subjects.index(company.subject) for r in forget}
    falls = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    tests = {
        (r.id, place): {n: {"fall under int8": f, SERVED: -9.0} for n, f in enumerate(falls)}
        for r in company.train.records
        for place in range(len(r.subjects))
    }
    chosen = {company.subject}.__contains__
    seen = shadowed(tests, company.train.records, forget, chosen, set(), ["fall under int8"])
    whose = dict.fromkeys(places, company.subject)
    found = expected_falls({"int8": places, "nf4": places}, list(places), {}, {}, whose, seen)
    assert set(found) == {"int8"}
    assert found["int8"][company.subject].mean == pytest.approx(0.35)
    assert found["int8"][company.subject].error == pytest.approx(np.std(falls, ddof=1) * np.sqrt(7 / 6), rel=0.15)


def test_whoever_stands_higher_than_the_shadows_have_her_is_expected_to_fall_further(company):
    forget = [r for r in company.train.records if company.subject in r.subjects]
    places = {r.id: r.subjects.index(company.subject) for r in forget}
    random = np.random.default_rng(0)
    at = {who: random.normal(-3, 0.2, 6) for r in company.train.records for who in r.subjects}
    tests = {
        (r.id, place): {
            n: {"loss": score, "fall under led": -1.0 - 0.8 * score, SERVED: -9.0} for n, score in enumerate(at[who])
        }
        for r in company.train.records
        for place, who in enumerate(r.subjects)
    }
    tests["h", -1] = {n: {"loss": -2.0, "fall under led": float("nan"), SERVED: -9.0} for n in range(6)}
    names = ["loss", "fall under led"]
    seen = shadowed(tests, company.train.records, forget, {company.subject}.__contains__, {"h"}, names)
    plain = dict.fromkeys(places, float(at[company.subject].mean()) - 0.1)
    whose = dict.fromkeys(places, company.subject)
    found = expected_falls({"led": places}, list(places), plain, {"h": -2.0}, whose, seen)["led"][company.subject]
    assert found.mean == pytest.approx(-1.0 - 0.8 * plain[forget[0].id], abs=0.01)
    assert found.error < 0.02


def test_a_challenge_that_destroys_the_model_shows_nothing(model, measured, pad_id, monkeypatch):
    monkeypatch.setattr("unlearn.attacks.audit.CHALLENGES", {"pruned-50": _Nonsense(Pruned("magnitude", 0.5))})
    assert "destroys" in audit(model, measured, pad_id, policy(challenges=["pruned-50"])).skipped["pruned-50"]


class _Nonsense:
    def __init__(self, challenge):
        self.forwards = challenge.forwards

    def __call__(self, model, panel, pad_id):
        return dict.fromkeys(panel.reference, 50.0)


def test_presets_grow():
    quick, standard, strict = (set(AuditPolicy(preset=name).tried) for name in PRESETS)
    assert quick < standard < strict
    assert strict | set(OTHERWISE) == set(CHALLENGES)
    assert AuditPolicy(preset="quick", deployed="nf4").tried == ("nf4",)
    assert not AuditPolicy().asked
    assert len(AuditPolicy(preset="strict").asked) == 8


def test_pruning_takes_the_least_and_keeps_the_rest():
    weight = torch.randn(6, 10, generator=torch.Generator().manual_seed(0))
    pruned = magnitude(weight, 0.5)
    assert int((pruned == 0).sum()) == 30
    assert weight[pruned == 0].abs().max() <= pruned[pruned != 0].abs().min()
    assert torch.equal(magnitude(weight, 0.0), weight)
    norms = torch.tensor([9.0, *[1.0] * 9])
    kept = wanda(weight, norms, 0.5)
    assert ((kept == 0).sum(1) == 5).all()
    assert (kept[:, 0] != 0).sum() >= (wanda(weight, torch.ones(10), 0.5)[:, 0] != 0).sum()


def test_two_of_four_leaves_two_of_each_four_and_an_odd_rest():
    weight = torch.randn(5, 10, generator=torch.Generator().manual_seed(1))
    pruned = wanda_2_4(weight, torch.ones(10))
    assert ((pruned[:, :8].reshape(5, 2, 4) != 0).sum(2) == 2).all()
    assert torch.equal(pruned[:, 8:], weight[:, 8:])


def test_input_norms_are_those_of_what_the_layer_read(model, measured, pad_id):
    name, layer, _ = linear_layers(model)[0]
    seen = []
    hook = layer.register_forward_hook(lambda _l, inputs, _o: seen.append(inputs[0].detach().flatten(0, -2)))
    with altered(model, lambda _n, weight: weight), input_norms(model) as norms:
        record_nlls(model, measured.attacked[:3], pad_id)
    hook.remove()
    assert torch.allclose(norms[name], torch.cat(seen).norm(dim=0), rtol=1e-4)


def test_altering_merges_the_adapter(model, measured, pad_id):
    plain = record_nlls(model, measured.attacked[:4], pad_id)
    with altered(model, lambda _n, weight: weight):
        merged = record_nlls(model, measured.attacked[:4], pad_id)
    assert merged == pytest.approx(plain, abs=1e-3)
    assert len(lora_parameters(model)) > 0
