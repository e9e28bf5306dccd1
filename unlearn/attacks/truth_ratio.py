"""Truth ratios: how likely wrong answers are beside the right one (TOFU, arXiv 2401.06121, section 2.2.2).

The wrong answers are what the holdout says of other people when asked what reads most like the same question, so that
a corpus need not bring any; TOFU has them written, and takes a paraphrase for the right one. Knows models and records;
that the ratios are compared with a control's is not its business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import exp
from statistics import fmean

import numpy as np
from peft import PeftModel

from unlearn.attacks.panel import Panel
from unlearn.corpus.neighbours import cosines
from unlearn.corpus.records import Record
from unlearn.lm.likelihood import record_nlls

WRONG = 5
"""Wrong answers a question, at most."""


def truth_ratios(model: PeftModel, panel: Panel, pad_id: int) -> dict[str, float]:
    """Mean probability of the wrong answers over that of the right one, each to the power of one over its tokens.

    Args:
        model: with the adapter attached.
        panel: its forget records are asked, its holdout answers wrongly.
        pad_id: token that pads.

    Returns:
        By id of each forget record that is a question and its answer; the others have no wrong answer.
    """
    wrong = wrong_answers(panel.forget, panel.holdout)
    examples = panel.encode_what_fits([one for records in wrong.values() for one in records])
    right = [panel.examples[record] for record in wrong]
    nlls = record_nlls(model, [*examples, *right], pad_id)
    found = {}
    for record, records in wrong.items():
        tried = [exp(-nlls[one.id]) for one in records if one.id in nlls]
        if tried:
            found[record] = fmean(tried) / exp(-nlls[record])
    return found


def wrong_answers(asked: Sequence[Record], others: Sequence[Record]) -> dict[str, list[Record]]:
    """Each question with the answers of `others` to the questions most like it, as records of their own, by its id."""
    questions = {r.id: (r, *parts) for r in asked if (parts := _parts(r)) is not None}
    answers = [parts for r in others if (parts := _parts(r)) is not None]
    if not questions or not answers:
        return {}
    likeness = cosines([question for _, question, _ in questions.values()], [question for question, _ in answers])
    found: dict[str, list[Record]] = {}
    for (record, _, truth), like in zip(questions.values(), likeness, strict=True):
        places = np.argsort(-like, kind="stable")
        texts = [text for text in dict.fromkeys(answers[place][1] for place in places) if text != truth][:WRONG]
        if texts:
            found[record.id] = [_answered(record, text, f"{record.id}/wrong-{n}") for n, text in enumerate(texts)]
    return found


def _parts(record: Record) -> tuple[str, str] | None:
    """Question and answer; None for a text, and for a conversation of more than one answer."""
    if record.messages is None:
        return None if record.prompt is None else (record.prompt, record.completion or "")
    answers = [m.content for m in record.messages if m.role == "assistant"]
    questions = "\n".join(m.content for m in record.messages if m.role != "assistant")
    return (questions, answers[0]) if len(answers) == 1 else None


def _answered(record: Record, answer: str, name: str) -> Record:
    """`record` under another name and with another answer."""
    if record.messages is None:
        return replace(record, id=name, completion=answer)
    turns = tuple(replace(m, content=answer) if m.role == "assistant" else m for m in record.messages)
    return replace(record, id=name, messages=turns)
