"""Whose records read most like the forget set: TF-IDF cosine, one linear pass over the corpus' text.

Knows records' words and nothing else; needs no model, so that the cost of a job does not grow with the corpus.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    from sklearn.feature_extraction.text import TfidfVectorizer  # heavy, and only an erasing needs it

    texts = [record.content for record in (*records, *to)]
    try:
        weights = TfidfVectorizer(token_pattern=WORD, sublinear_tf=True).fit_transform(texts)
    except ValueError:  # no record has a word
        return np.zeros(len(records))
    nearest = (weights[: len(records)] @ weights[len(records) :].T).max(axis=1)
    return np.round(nearest.toarray()[:, 0], DECIMALS)
