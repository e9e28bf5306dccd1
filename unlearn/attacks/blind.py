"""The blind baseline: can the learned be told from the never seen by their words alone, without any model?

If so, the holdout is no fair null: a membership attack then measures how people write, and an AUC of 0.5 says nothing.
People are kept apart: no name that a classifier has seen helps it with the records it is asked about. Knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from unlearn.attacks.statistics import compare
from unlearn.corpus.records import Record
from unlearn.measurement import Membership

FOLDS = 5
"""Parts that people are split into; each is scored by a classifier that never saw them."""


def blind_baseline(learned: Sequence[Record], unseen: Sequence[Record], seed: int) -> Membership | None:
    """AUC of a character n-gram classifier that tells `learned` from `unseen` records of people it does not know.

    Args:
        learned: records from the train corpus.
        unseen: records from the holdout.
        seed: of the folds.

    Returns:
        What it found; None with fewer than five people on a side, of whom nothing can be learned about others.
    """
    records = [*learned, *unseen]
    people = [r.subjects[0] if r.subjects else r.id for r in records]
    if min(len(set(people[: len(learned)])), len(set(people[len(learned) :]))) < FOLDS:
        return None
    model = make_pipeline(
        TfidfVectorizer(
            analyzer="char_wb", ngram_range=(2, 4), max_features=20_000, sublinear_tf=True, lowercase=False
        ),
        LogisticRegression(max_iter=1000, class_weight="balanced"),
    )
    labels = [True] * len(learned) + [False] * len(unseen)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    texts = [r.content for r in records]
    scores = cross_val_predict(model, texts, labels, groups=people, cv=folds, method="decision_function")
    return compare(scores[: len(learned)], scores[len(learned) :])
