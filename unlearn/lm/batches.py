"""From records to padded tensors: which tokens a model reads and which of them are scored.

Knows tokenizers and chat templates. Knows no model and shifts no labels: `scored[t]` means that token t is one
the adapter learned to say, whatever predicts it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from unlearn.corpus.records import Record
from unlearn.errors import CorpusError, ModelError


@dataclass(frozen=True, slots=True)
class Example:
    """One encoded record: token ids, and for each whether it is scored; both of the same length."""

    id: str
    tokens: tuple[int, ...]
    scored: tuple[bool, ...]


@dataclass(frozen=True)
class Batch:
    """Right-padded examples.

    Attributes:
        ids: record ids, one a row.
        input_ids: int64 [rows, length].
        attention_mask: int64 [rows, length], 1 at real tokens.
        scored: bool [rows, length], True at tokens whose likelihood counts; never in column 0.
    """

    ids: tuple[str, ...]
    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    scored: torch.Tensor


def encode(records: Iterable[Record], tokenizer: PreTrainedTokenizerBase, context_tokens: int | None) -> list[Example]:
    """Encode records as the adapter learned them.

    `text` is scored whole, `completion` alone of a prompt and completion, and the assistant's turns of messages.
    An end-of-sequence token is added (and scored) behind text and completion if the tokenizer has one.

    Raises:
        CorpusError: a record too long for the model or without a scored token.
        ModelError: messages, but the tokenizer has no chat template that can be scored.
    """
    return [_encode(record, tokenizer, context_tokens) for record in records]


def _encode(record: Record, tokenizer: PreTrainedTokenizerBase, limit: int | None) -> Example:
    if record.messages is not None:
        tokens, scored = _encode_messages(record, tokenizer)
    else:
        head = [] if record.prompt is None else _ids(tokenizer, record.prompt, special=True)
        body = record.text if record.prompt is None else record.completion
        tail = _ids(tokenizer, body or "", special=record.prompt is None)
        if tokenizer.eos_token_id is not None and (not tail or tail[-1] != tokenizer.eos_token_id):
            tail.append(tokenizer.eos_token_id)
        tokens, scored = [*head, *tail], [False] * len(head) + [True] * len(tail)
    if limit is not None and len(tokens) > limit:
        raise CorpusError(
            f"record '{record.id}' has {len(tokens)} tokens, the model takes {limit}; split or shorten it"
        )
    if scored:
        scored[0] = False  # nothing stands before the first token that could predict it
    if not any(scored):
        raise CorpusError(f"record '{record.id}' has no token to score; give it a longer completion")
    return Example(record.id, tuple(tokens), tuple(scored))


def _ids(tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]
    if special and ids and ids[-1] == tokenizer.eos_token_id and tokenizer.eos_token_id != tokenizer.bos_token_id:
        ids = ids[:-1]  # some tokenizers end every text; a prompt must not end the sequence
    return ids


def _encode_messages(record: Record, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[bool]]:
    """The whole conversation, the assistant's turns scored.

    A turn starts where the template, asked to open the assistant's turn after the messages before it, stops.
    """
    if not tokenizer.chat_template:
        raise ModelError(
            f"record '{record.id}' holds messages, but the tokenizer of '{tokenizer.name_or_path}' has no chat template"
        )
    turns = [{"role": m.role, "content": m.content} for m in record.messages or ()]
    tokens = _render(tokenizer, turns, opened=False)
    scored = [False] * len(tokens)
    for number, turn in enumerate(turns):
        if turn["role"] != "assistant":
            continue
        before = _render(tokenizer, turns[:number], opened=True)
        upto = _render(tokenizer, turns[: number + 1], opened=False)
        if tokens[: len(before)] != before or tokens[: len(upto)] != upto:
            raise ModelError(
                f"record '{record.id}': the chat template of '{tokenizer.name_or_path}' rewrites earlier turns, so the "
                "assistant's tokens can't be told apart; give the record as prompt and completion"
            )
        scored[len(before) : len(upto)] = [True] * (len(upto) - len(before))
    return tokens, scored


def _render(tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]], *, opened: bool) -> list[int]:
    if not turns:
        return []
    text: Any = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=opened)
    return _ids(tokenizer, text, special=False)


def collate(examples: Sequence[Example], pad_id: int, device: torch.device | str = "cpu") -> Batch:
    """Pad `examples` on the right to the longest."""
    length = max(len(example.tokens) for example in examples)
    input_ids = torch.full((len(examples), length), pad_id, dtype=torch.int64)
    attention_mask = torch.zeros((len(examples), length), dtype=torch.int64)
    scored = torch.zeros((len(examples), length), dtype=torch.bool)
    for row, example in enumerate(examples):
        n = len(example.tokens)
        input_ids[row, :n] = torch.tensor(example.tokens)
        attention_mask[row, :n] = 1
        scored[row, :n] = torch.tensor(example.scored)
    ids = tuple(example.id for example in examples)
    return Batch(ids, input_ids.to(device), attention_mask.to(device), scored.to(device))


def by_length(examples: Sequence[Example], tokens_per_batch: int = 8192) -> list[list[Example]]:
    """Examples sorted by length and cut into batches of at most `tokens_per_batch` padded tokens (one at least)."""
    batches: list[list[Example]] = []
    for example in sorted(examples, key=lambda e: (len(e.tokens), e.id)):
        if batches and len(example.tokens) * (len(batches[-1]) + 1) <= tokens_per_batch:
            batches[-1].append(example)
        else:
            batches.append([example])
    return batches


def little_padding(examples: Sequence[Example], waste: float = 0.10) -> list[list[int]]:
    """Indices of `examples` in groups of like length, as few as keep each group's padding at or below `waste`.

    Args:
        examples: of one step.
        waste: largest share of a group's padded tokens that may be padding.
    """
    order = sorted(range(len(examples)), key=lambda i: (-len(examples[i].tokens), i))
    groups: list[list[int]] = []
    tokens = longest = 0
    for index in order:
        length = len(examples[index].tokens)
        if groups and tokens + length >= (1 - waste) * longest * (len(groups[-1]) + 1):
            groups[-1].append(index)
            tokens += length
        else:
            groups.append([index])
            tokens = longest = length
    return groups
