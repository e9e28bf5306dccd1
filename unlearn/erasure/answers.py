"""Answers to prefer to a forget record's own: fixed refusals, and answers of a model that never saw the record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel

from unlearn.corpus.records import Message, Record
from unlearn.lm.base import Base
from unlearn.lm.batches import Example, encode
from unlearn.objectives.idk import REFUSALS

ALTERNATES = 3
"""Answers written for each record."""

OPENING_WORDS = 4
"""A plain text has no prompt; its first words stand for one."""


def refusals(base: Base, forget: Sequence[Record]) -> dict[str, list[Example]]:
    """Each record's prompt answered by every refusal, encoded, by record id.

    Raises:
        CorpusError: a prompt with a refusal is too long for the model.
    """
    return {
        record.id: encode(
            [_answered(record, text, f"{record.id}/refusal-{n}") for n, text in enumerate(REFUSALS)],
            base.tokenizer,
            base.files.context_tokens,
        )
        for record in forget
    }


def alternates(model: PeftModel, base: Base, forget: Sequence[Record], seed: int) -> dict[str, list[Example]]:
    """Each record's prompt answered by the base model, sampled at temperature 1, encoded, by record id.

    The base has never seen the record; the adapter itself would mostly say again what it memorised.

    Args:
        model: the adapter; it is disabled while the base writes.
        base: whose tokenizer reads and writes.
        forget: the forget set.
        seed: of the sampling.
    """
    found = {}
    with torch.random.fork_rng(), model.disable_adapter():
        torch.manual_seed(seed)
        for record in forget:
            texts = _written(model, base, record)
            found[record.id] = encode(
                [_answered(record, text, f"{record.id}/alternate-{n}") for n, text in enumerate(texts)],
                base.tokenizer,
                base.files.context_tokens,
            )
    return found


def _written(model: PeftModel, base: Base, record: Record) -> list[str]:
    """ALTERNATES answers of at most the record's own length."""
    (whole,) = encode([record], base.tokenizer, base.files.context_tokens)
    answer = _split(record)[1]
    (short,) = encode([_answered(record, answer, record.id)], base.tokenizer, base.files.context_tokens)
    start = max(1, short.scored.index(True))
    tokens: Any = torch.tensor([short.tokens[:start]] * ALTERNATES, device=base.device)
    written = model.generate(
        input_ids=tokens,
        attention_mask=torch.ones_like(tokens),
        do_sample=True,
        temperature=1.0,
        top_k=0,
        max_new_tokens=max(2, len(whole.tokens) - start),
        pad_token_id=base.tokenizer.pad_token_id,
    )
    texts = [base.tokenizer.decode(row[start:], skip_special_tokens=True) for row in written]
    return [text if text.strip() else " ..." for text in texts]


def _answered(record: Record, answer: str, name: str) -> Record:
    """`record` with `answer` in place of its own."""
    if record.messages is not None:
        turns = list(record.messages)
        last = max(n for n, turn in enumerate(turns) if turn.role == "assistant")
        return Record(name, (), messages=(*turns[:last], Message("assistant", answer.strip())))
    prompt, _ = _split(record)
    return Record(name, (), prompt=prompt, completion=answer if answer.startswith(" ") else f" {answer}")


def _split(record: Record) -> tuple[str, str]:
    """Prompt and answer; a text's opening words and the rest."""
    if record.messages is not None:
        last = max(n for n, turn in enumerate(record.messages) if turn.role == "assistant")
        return "", record.messages[last].content
    if record.prompt is not None:
        return record.prompt, record.completion or ""
    words = (record.text or "").split(" ")
    return " ".join(words[:OPENING_WORDS]), f" {' '.join(words[OPENING_WORDS:]) or '...'}"
