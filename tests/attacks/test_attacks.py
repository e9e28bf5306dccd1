"""Every attack against slow arithmetic on full logits, its orientation, and records that say too little."""

from __future__ import annotations

import dataclasses
import math
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unlearn.attacks import ATTACKS, FEWEST_TOKENS, Signals
from unlearn.attacks.audit import audit
from unlearn.attacks.memorisation import suffix
from unlearn.attacks.min_k import lowest
from unlearn.attacks.panel import panel
from unlearn.attacks.reference import error_zone
from unlearn.attacks.statistics import has_power
from unlearn.corpus.records import Record
from unlearn.corpus.splits import split
from unlearn.errors import ModelError
from unlearn.lm import likelihood
from unlearn.lm.base import attached
from unlearn.lm.likelihood import Reading, readings
from unlearn.weights import read_adapter


@pytest.fixture
def records(company):
    return split(
        company.train, company.holdout, {company.subject}.__contains__, pool_records=8, check_records=16, seed=0
    )


@pytest.fixture
def measured(base, records):
    return panel(base, records.forget, records.retain_check, records.audit)


def full_log_probs(model, example):
    """log p over the vocabulary where each scored token stands, [tokens, vocabulary], and the tokens; no padding."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([example.tokens])).logits[0].double().log_softmax(-1).numpy()
    at = [t for t in range(1, len(example.tokens)) if example.scored[t]]
    return logits[[t - 1 for t in at]], [example.tokens[t] for t in at]


def naive(record, adapter, base, tokens):
    """Each attack's score of one record from its full log-probabilities."""
    ours, theirs = ([row[token] for row, token in zip(full, tokens, strict=True)] for full in (adapter, base))
    count = max(1, int(0.2 * len(tokens)))
    standard = []
    for row, log_p in zip(adapter, ours, strict=True):
        mean = sum(math.exp(x) * x for x in row)
        standard.append((log_p - mean) / math.sqrt(max(1e-6, sum(math.exp(x) * (x - mean) ** 2 for x in row))))
    right = [int(row.argmax()) == token for row, token in zip(adapter, tokens, strict=True)]
    changes = [a - b for a, b, known in zip(ours, theirs, right, strict=True) if not known]
    rise, fall = sum(max(0, c) for c in changes), sum(max(0, -c) for c in changes)
    end = 0
    while end < len(right) and right[-1 - end]:
        end += 1
    text = record.text if record.prompt is None else record.completion
    return {
        "loss": np.mean(ours),
        "zlib": np.mean(ours) / len(zlib.compress(text.encode())),
        "min_k": np.mean(sorted(ours)[:count]),
        "min_k_plus_plus": np.mean(sorted(standard)[:count]),
        "reference": np.mean(ours) - np.mean(theirs),
        "error_zone": 1.0 if all(right) else (rise - fall) / (rise + fall),
        "exact_memorisation": sum(right) / len(right),
        "extraction_strength": end / len(right),
    }


def test_every_score_is_that_of_the_full_logits(company, base, records, measured):
    chosen = records.forget[:3] + records.audit[:3]
    with attached(base, read_adapter(company.adapter)) as model:
        read = readings(model, list(measured.examples.values()), 0)
        signals = Signals({r.id: read[r.id] for r in chosen}, measured.reference, measured.zlib_bytes)
        found = {name: attack(signals) for name, attack in ATTACKS.items()}
        for record in chosen:
            example = measured.examples[record.id]
            ours, tokens = full_log_probs(model, example)
            with model.disable_adapter():
                theirs, _ = full_log_probs(model, example)
            for name, score in naive(record, ours, theirs, tokens).items():
                assert found[name][record.id] == pytest.approx(score, abs=2e-4), name


def test_every_attack_sees_the_members_of_the_unerased_adapter(company, base, measured):
    with attached(base, read_adapter(company.adapter)) as model:
        found = audit(model, measured, 0).membership
    assert set(found) == set(ATTACKS)
    assert all(one.auc > 0.5 for one in found.values())  # larger means member, for all of them
    blind = {name for name, one in found.items() if not has_power(one)}
    assert blind <= {"zlib", "extraction_strength"}  # few, short records: the one counts bytes, the other endings


def test_records_too_short_are_counted_and_scored_by_nobody(company, base, records):
    brief = Record("brief", (company.subject,), text="Yes.")
    short = panel(base, [brief], records.retain_check, records.audit)
    assert sum(short.examples["brief"].scored) < FEWEST_TOKENS
    more = panel(base, [brief, *records.forget], records.retain_check, records.audit)
    with attached(base, read_adapter(company.adapter)) as model:
        alone, beside = audit(model, short, 0), audit(model, more, 0)
    assert (alone.unscorable, alone.membership) == (1, {})
    assert "brief" in alone.forget.nlls
    assert beside.unscorable == 1
    assert {one.members for one in beside.membership.values()} == {len(records.forget)}


def test_an_adapter_that_changes_nothing_is_named(company, base, measured):
    adapter = read_adapter(company.adapter)
    with attached(base, adapter) as model, model.disable_adapter(), pytest.raises(ModelError, match="never trained"):
        audit(model, measured, 0)


def test_a_model_that_drops_out_is_refused(company, base, measured):
    with attached(base, read_adapter(company.adapter)) as model:
        model.train()
        with pytest.raises(ModelError, match="training mode"):
            audit(model, measured, 0)
        model.eval()


def test_damaged_weights_are_named_and_give_no_figure(company, base, measured):
    with attached(base, read_adapter(company.adapter)) as model:
        with torch.no_grad():
            next(p for name, p in model.named_parameters() if "lora_B" in name).fill_(math.nan)
        with pytest.raises(ModelError, match="not finite"):
            audit(model, measured, 0)


def test_a_model_that_reads_what_stands_beside_a_record_is_refused(company, base, measured, monkeypatch):
    collate = likelihood.collate

    def careless(examples, *rest):
        batch = collate(examples, *rest)
        tokens = batch.input_ids.clone()
        tokens[1:, 0] = tokens[0, -1]  # every row but the first begins with another row's end
        return dataclasses.replace(batch, input_ids=tokens)

    monkeypatch.setattr(likelihood, "collate", careless)
    with attached(base, read_adapter(company.adapter)) as model, pytest.raises(ModelError, match="in a batch"):
        audit(model, measured, 0)


def reading(log_probs, correct):
    zeros, log_probs = np.zeros(len(log_probs), np.float32), np.asarray(log_probs, np.float32)
    return Reading(log_probs, zeros, zeros + 1, np.asarray(correct), log_probs)


def test_a_record_known_by_heart_is_the_most_member_like_of_all():
    heart, base = reading([-0.1] * 9, [True] * 9), np.full(9, -3.0)
    partly = reading([-0.1] * 8 + [-4.0], [True] * 8 + [False])
    assert error_zone(heart, base) == 1.0
    assert error_zone(partly, base) == -1.0
    assert error_zone(reading([-2.0] * 9, [False] * 9), base) == 1.0
    assert error_zone(reading(base, [False] * 9), base) == 0.0


@given(arrays(bool, st.integers(1, 30)))
def test_the_run_at_the_end_is_as_long_as_it_looks(correct):
    length = suffix(correct)
    assert correct[len(correct) - length :].all()
    assert length == len(correct) or not correct[-1 - length]


@given(arrays(np.float32, st.integers(1, 40), elements=st.floats(-20, 0, width=32)), st.floats(0.01, 1))
def test_the_lowest_share_takes_one_at_least(values, share):
    count = max(1, int(share * len(values)))
    assert lowest(values, share) == pytest.approx(float(np.sort(values)[:count].mean()), abs=1e-4)
