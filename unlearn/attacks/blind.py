"""The blind baseline: can the learned be told from the never seen by their words alone, without any model?

If so, the holdout is no fair null: a membership attack then measures how people write, and an AUC of 0.5 says nothing.
People are kept apart, and so are those who share records with them: no name or address that a classifier has seen helps
it with the records it is asked about. Knows no model.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import fmean

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from unlearn.attacks.statistics import compare
from unlearn.corpus.circles import circles
from unlearn.corpus.records import Record
from unlearn.measurement import Membership

FOLDS = 5
"""Parts that people are split into; each is scored by a classifier that never saw them."""


RECORDS = 500
"""Records of a side that are read at most: what decides is how many people there are, and the cost must not grow."""


def blind_baseline(learned: Sequence[Record], unseen: Sequence[Record]) -> Membership | None:
    """AUC of a character n-gram classifier that tells `learned` from `unseen` circles of people it does not know.

    A circle is everybody who is linked by a record of several people; its score is the mean of its records'.

    Args:
        learned: records from the train corpus.
        unseen: records from the holdout.

    Returns:
        What it found, counted in circles; None with fewer than five on a side, of which nothing can be learned about
        others.
    """
    records, labels = [], []
    for side, label in ((learned, True), (unseen, False)):
        some = [record for record in side if record.subjects]
        some = random.Random(0).sample(some, min(len(some), RECORDS))  # noqa: S311
        records += some
        labels += [label] * len(some)
    circle = circles(records)
    sides = [{c for c, label in zip(circle, labels, strict=True) if label is wanted} for wanted in (True, False)]
    if min(map(len, sides)) < FOLDS:
        return None
    model = make_pipeline(
        TfidfVectorizer(
            analyzer="char_wb", ngram_range=(2, 4), max_features=20_000, sublinear_tf=True, lowercase=False
        ),
        LogisticRegression(max_iter=1000, class_weight="balanced"),
    )
    scores = cross_val_predict(
        model,
        [r.content for r in records],
        labels,
        groups=circle,
        cv=StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0),
        method="decision_function",
    )
    found: dict[int, list[float]] = {}
    for one, score in zip(circle, scores, strict=True):
        found.setdefault(one, []).append(float(score))
    members, others = ([fmean(found[c]) for c in sorted(side)] for side in sides)
    return compare(members, others)
