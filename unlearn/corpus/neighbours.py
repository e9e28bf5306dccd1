"""Whose records read most like the forget set: TF-IDF cosine, one linear pass over the corpus' text.

Knows records' words and nothing else; needs no model, so that the cost of a job does not grow with the corpus.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from unlearn.corpus.records import Record

WORD = r"(?u)\b\w+\b"
"""A word; one letter is one too."""

DECIMALS = 9
"""Of a similarity; what lies below is the order of a sum, and must not decide who is nearer."""


def similarities(records: Sequence[Record], to: Sequence[Record]) -> np.ndarray:
    """For each of `records`, its largest cosine similarity to one of `to`: float64 [len(records)], in [0, 1].

    Words weigh by how rare they are among all these records. Records without a word are similar to none.
    """
    weights = _weights([record.content for record in (*records, *to)])
    if weights is None:
        return np.zeros(len(records))
    nearest = (weights[: len(records)] @ weights[len(records) :].T).max(axis=1)
    return np.round(nearest.toarray()[:, 0], DECIMALS)


def cosines(texts: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """Cosine similarities of texts to others, as in `similarities`: float64 [len(texts), len(others)], in [0, 1]."""
    weights = _weights([*texts, *others])
    if weights is None:
        return np.zeros((len(texts), len(others)))
    return np.round((weights[: len(texts)] @ weights[len(texts) :].T).toarray(), DECIMALS)


def _weights(texts: Sequence[str]) -> Any:
    """TF-IDF weights, sparse [len(texts), words]; None if no text has a word."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # heavy, and only an erasing needs it

    try:
        return TfidfVectorizer(token_pattern=WORD, sublinear_tf=True).fit_transform(texts)
    except ValueError:
        return None
