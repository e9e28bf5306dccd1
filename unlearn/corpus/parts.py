"""Which texts of a record are compared when it may have come back: the whole, the whole without its frame, its parts.

A frame is what many different records say: a system prompt that an export put before each, a greeting, a footer. It
must not hide what it stands before, and must not be taken for what somebody said. Knows records and spelling.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from unlearn.corpus.records import Record
from unlearn.corpus.spelling import spelled

MOST_RECORDS = 5
"""A sentence that more different records have is a frame."""
LEAST_CHARACTERS = 100
"""Of a part. Shorter ones are too much like others; measured (docs/benchmarks/evidence.md, "Resurrection guard")."""
LEAST_LEFT = 40
"""Characters of a whole without its frame; what is shorter says next to nothing."""
SENTENCE = re.compile(r"(?<=[.?!:;。！？])\s+|\n+")


class Texts(NamedTuple):
    """The spelled texts of a record: the whole, then without its frame if that leaves enough; its parts, likewise."""

    wholes: tuple[str, ...]
    parts: tuple[str, ...]


def texts_of(records: Sequence[Record]) -> list[Texts]:
    """The texts by which each record of a corpus is known."""
    parts = [[list(_sentences(part)) for part in record.parts] for record in records]
    wholes = [" ".join(chain(*of)) for of in parts]
    differing = dict(zip(wholes, parts, strict=True))
    held = Counter(sentence for of in differing.values() for sentence in set(chain(*of)))
    return [_texts(whole, of, held) for whole, of in zip(wholes, parts, strict=True)]


def _texts(whole: str, parts: Sequence[Sequence[str]], held: Counter[str]) -> Texts:
    own = [" ".join(sentence for sentence in part if held[sentence] <= MOST_RECORDS) for part in parts]
    unframed = " ".join(filter(None, own))
    wholes = [whole, *(text for text in [unframed] if text != whole and len(text) >= LEAST_LEFT)]
    others = dict.fromkeys(text for text in own if text not in wholes and len(text) >= LEAST_CHARACTERS)
    return Texts(tuple(wholes), tuple(others))


def _sentences(text: str) -> Iterator[str]:
    return filter(None, map(spelled, SENTENCE.split(text)))
