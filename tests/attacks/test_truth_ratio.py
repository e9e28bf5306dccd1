"""Truth ratios: wrong answers are others' answers to the same question, and their ratio is that of the definition."""

from __future__ import annotations

from math import exp

import pytest

from unlearn.attacks.panel import panel
from unlearn.attacks.truth_ratio import WRONG, truth_ratios, wrong_answers
from unlearn.corpus.records import Message, Record
from unlearn.corpus.splits import split
from unlearn.lm.base import attached
from unlearn.lm.likelihood import record_nlls
from unlearn.weights import read_adapter


def question(name, prompt, completion):
    return Record(name, (name,), prompt=prompt, completion=completion)


OTHERS = [
    question("a", "Where does Ann live?", "In Oslo."),
    question("b", "What does Ben earn?", "Much."),
    question("c", "Where does Cid live?", "In Rome."),
    question("d", "Where does Dan live?", "In Rome."),
]


def test_wrong_answers_are_those_to_the_questions_most_like_it_and_never_the_right_one():
    found = wrong_answers([question("x", "Where does Eve live?", "In Rome.")], OTHERS)
    assert [r.completion for r in found["x"]] == ["In Oslo.", "Much."]
    assert {r.prompt for r in found["x"]} == {"Where does Eve live?"}
    assert len({r.id for r in found["x"]} | {"x"}) == 3


def test_there_are_few_of_them():
    many = [question(f"q{n}", f"Where does number {n} live?", f"In {n}.") for n in range(20)]
    assert len(wrong_answers([question("x", "Where?", "Here.")], many)["x"]) == WRONG


def test_a_conversation_of_one_answer_has_wrong_ones_and_a_text_none():
    turns = (Message("user", "Where does Eve live?"), Message("assistant", "In Bern."))
    talk, text = Record("t", ("t",), messages=turns), Record("u", ("u",), text="Eve lives in Bern.")
    found = wrong_answers([talk, text], OTHERS)
    assert set(found) == {"t"}
    assert found["t"][0].messages[0] == turns[0]
    assert {r.messages[1].content for r in found["t"]} == {"In Oslo.", "Much.", "In Rome."}
    assert wrong_answers([talk], [text]) == {}


def test_the_ratio_is_the_wrong_answers_mean_probability_over_the_right_ones(base, company):
    chosen = {company.subject}.__contains__
    parts = split(company.train, company.holdout, chosen, pool_records=8, check_records=16, seed=0)
    records = panel(base, parts.forget, parts.retain_check, parts.audit, is_forgotten=chosen)
    pad_id = int(base.tokenizer.pad_token_id)
    asked = next(r for r in parts.forget if r.prompt is not None)
    wrong = wrong_answers([asked], parts.audit)[asked.id]
    with attached(base, read_adapter(company.adapter)) as model:
        found = truth_ratios(model, records, pad_id)
        nlls = record_nlls(model, [*records.encode(wrong), records.examples[asked.id]], pad_id)
    expected = sum(exp(-nlls[r.id]) for r in wrong) / len(wrong) / exp(-nlls[asked.id])
    assert found[asked.id] == pytest.approx(expected, rel=1e-4)
    learned = sorted(found.values())[len(found) // 2]
    assert learned < 1  # the adapter has learned the right answers
