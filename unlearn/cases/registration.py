"""Registering an adapter: every check first, then one step that either leaves it registered or leaves nothing.

Reads files; speaks no SQL and knows no torch.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from unlearn.cases.corpora import registered
from unlearn.cases.views import AdapterView, CorpusKind
from unlearn.corpus.jsonl import read_corpus
from unlearn.corpus.records import Corpus
from unlearn.corpus.splits import check_disjoint
from unlearn.errors import BadInput, Conflict, CorpusError
from unlearn.policy import parse_policy
from unlearn.settings import Settings
from unlearn.storage import Loan
from unlearn.weights import RECIPE, AdapterFiles, check_lengths, check_pair, read_adapter, read_base

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Registration:
    """What passed every check: the row to be, the weights to copy, train records by subject hash, the corpora.

    Whoever is named in the holdout alone has none.
    """

    row: Mapping[str, Any]
    weights: AdapterFiles
    subjects: Mapping[str, int]
    corpora: Mapping[CorpusKind, Corpus]

    def contents(self) -> Mapping[CorpusKind, bytes]:
        """The files of the corpora.

        Raises:
            CorpusError: one changed since it was checked.
        """
        return {kind: registered(corpus.path, corpus.sha256) for kind, corpus in self.corpora.items()}


def examine(
    settings: Settings,
    loan: Loan,
    hashed: Callable[[str], str],
    *,
    name: str,
    base: str,
    adapter: str,
    train: str,
    holdout: str,
    policy: Mapping[str, Any] | None,
) -> Registration:
    """Check everything about an adapter that is to be registered; changes nothing.

    What is in an object store is lent by `loan`: the weights are there as long as that is.

    Raises:
        PathNotAllowed: a path or URL outside the allowed roots.
        BadInput: anything else that can't be used, by name.
    """
    if not NAME.fullmatch(name):
        raise BadInput(
            f"the adapter's name {name[:80]!r} can't be used; use 1 to 64 of a-z, 0-9, '_', '.', '-', "
            "beginning with a letter or a digit"
        )
    rules = parse_policy({} if policy is None else dict(policy), "policy")
    places = {
        key: settings.allowed_place(value, key)
        for key, value in {"base": base, "adapter": adapter, "train": train, "holdout": holdout}.items()
    }
    base_files, weights = read_base(loan.base(places["base"])), read_adapter(loan.adapter(places["adapter"]))
    check_pair(base_files, weights)
    learned, unseen = read_corpus(loan.corpus(places["train"])), read_corpus(loan.corpus(places["holdout"]))
    check_disjoint(learned, unseen)
    _check_people(unseen)
    for corpus in (learned, unseen):
        check_lengths(base_files, corpus)
    if rules.targets.shadows_at_registration:
        _check_folds(weights, learned, rules.targets.shadow_folds)
    row = {
        "name": name,
        "base": places["base"],
        "base_sha256": base_files.sha256,
        "policy": rules.model_dump(mode="json"),
        **_file("train", places["train"], learned),
        **_file("holdout", places["holdout"], unseen),
    }
    subjects = dict.fromkeys(_count(unseen, hashed), 0) | _count(learned, hashed)
    return Registration(row, weights, subjects, {"train": learned, "holdout": unseen})


def the_same(taken: AdapterView, found: Registration) -> AdapterView:
    """The adapter that has the name, if it is the one to be registered; Conflict if it is another."""
    before = asdict(taken)
    own = taken.versions[0].is_made_of(found.weights.sha256, found.weights.config_sha256)
    if own and all(before[key] == v for key, v in found.row.items()):
        return taken
    raise Conflict(
        f"the name '{taken.name}' belongs to adapter {taken.id}, registered from other inputs; choose another"
    )


def _file(key: str, place: str, corpus: Corpus) -> dict[str, Any]:
    return {key: place, f"{key}_sha256": corpus.sha256, f"{key}_records": len(corpus.records)}


def _check_people(holdout: Corpus) -> None:
    if len(holdout.subjects) < 2:
        raise CorpusError(f"{holdout.path}: the holdout names {len(holdout.subjects)} person; it needs at least two")


def _check_folds(weights: AdapterFiles, train: Corpus, folds: int) -> None:
    if weights.recipe is None:
        raise BadInput(
            f"targets.shadows_at_registration: '{weights.path}' has no {RECIPE} that says how it was trained, so "
            "no fold can be trained like it; add the file, or turn the option off"
        )
    if len(train.subjects) < folds:
        raise BadInput(
            f"targets.shadow_folds: {folds} folds need {folds} people at least, and {train.path} names "
            f"{len(train.subjects)}; ask for fewer"
        )


def _count(corpus: Corpus, hashed: Callable[[str], str]) -> dict[str, int]:
    """Records of each subject, by its hash; two spellings of one identity are one subject."""
    hashes = {subject: hashed(subject) for subject in corpus.subjects}
    return Counter(h for record in corpus.records for h in {hashes[subject] for subject in record.subjects})
