"""Registering an adapter: every check first, then one step that either leaves it registered or leaves nothing.

Reads files; speaks no SQL and knows no torch.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from unlearn.cases.corpora import registered
from unlearn.cases.views import AdapterView, CorpusKind
from unlearn.corpus.jsonl import read_corpus
from unlearn.corpus.records import Corpus
from unlearn.corpus.splits import check_disjoint, never_seen
from unlearn.errors import BadInput, Conflict, CorpusError
from unlearn.methods import Retrain
from unlearn.policy import Policy, parse_policy
from unlearn.recipes import RecipeError, parse_recipe
from unlearn.roots import allowed_place
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
    controller: str,
    name: str,
    base: str,
    adapter: str,
    train: str,
    holdout: str,
    policy: Mapping[str, Any] | None,
    recipe: Mapping[str, Any] | None = None,
) -> Registration:
    """Check everything about an adapter that is to be registered; changes nothing.

    What is in an object store is lent by `loan`: the weights are there as long as that is. A `recipe` counts in the
    place of the one beside the weights. `controller` is the id of the company that asks.

    Raises:
        PathNotAllowed: a path or URL outside the allowed roots.
        RecipeError: a recipe that can't be used, or none where the policy needs one.
        BadInput: anything else that can't be used, by name.
    """
    if not NAME.fullmatch(name):
        raise BadInput(
            "the adapter's name can't be used; use 1 to 64 of a-z, 0-9, '_', '.', '-', "
            "beginning with a letter or a digit"
        )
    rules = parse_policy({} if policy is None else dict(policy), "policy")
    places = {
        key: allowed_place(settings, value, key, controller)
        for key, value in {"base": base, "adapter": adapter, "train": train, "holdout": holdout}.items()
    }
    base_files = read_base(loan.base(places["base"]))
    weights = _with_recipe(read_adapter(loan.adapter(places["adapter"])), recipe)
    _check_recipe(rules, weights)
    check_pair(base_files, weights)
    learned, unseen = read_corpus(loan.corpus(places["train"])), read_corpus(loan.corpus(places["holdout"]))
    check_disjoint(learned, unseen)
    _check_people(learned, unseen)
    for corpus in (learned, unseen):
        check_lengths(base_files, corpus)
    if rules.targets.shadows_at_registration:
        _check_folds(learned, rules.targets.shadow_folds)
    row = {
        "name": name,
        "base": places["base"],
        "base_sha256": base_files.sha256,
        "policy": rules.model_dump(mode="json"),
        "recipe": None if weights.recipe is None else parse_recipe(weights.recipe, "recipe").as_json(),
        **_file("train", places["train"], learned),
        **_file("holdout", places["holdout"], unseen),
    }
    subjects = dict.fromkeys(_count(unseen, hashed), 0) | _count(learned, hashed)
    return Registration(row, weights, subjects, {"train": learned, "holdout": unseen})


def the_same(taken: AdapterView, found: Registration) -> AdapterView:
    """The adapter that has the name, if it is the one to be registered; Conflict if it is another."""
    before = asdict(taken)
    first, row = taken.versions[0], dict(found.row)
    if first.config_sha256 is None:  # from before recipes were noted, too
        del row["recipe"]
    own = first.is_made_of(found.weights.sha256, found.weights.config_sha256)
    if own and all(before[key] == v for key, v in row.items()):
        return taken
    raise Conflict(
        f"the name '{taken.name}' belongs to adapter {taken.id}, registered from other inputs; choose another"
    )


def _file(key: str, place: str, corpus: Corpus) -> dict[str, Any]:
    return {key: place, f"{key}_sha256": corpus.sha256, f"{key}_records": len(corpus.records)}


def _check_people(train: Corpus, holdout: Corpus) -> None:
    people = {subject for record in never_seen(train, holdout) for subject in record.subjects}
    if len(people) < 2:
        raise CorpusError(
            f"{holdout.path}: the holdout names {len(people)} person whom no train record names; it needs at least two"
        )


def _with_recipe(weights: AdapterFiles, given: Mapping[str, Any] | None) -> AdapterFiles:
    """The adapter with the recipe that was given, or that lies beside it; each is checked."""
    if weights.recipe is not None and given is None:
        parse_recipe(weights.recipe, f"'{weights.path / RECIPE}'")
    return weights if given is None else replace(weights, recipe=parse_recipe(given, "recipe").as_json())


def _check_recipe(rules: Policy, weights: AdapterFiles) -> None:
    """Refuse a policy that trains adapters like this one, if nobody says how it was trained."""
    needs = {
        "targets.shadows_at_registration: no fold": rules.targets.shadows_at_registration,
        "ladder: no 'retrain'": any(isinstance(rung, Retrain) for rung in rules.ladder),
    }
    for what in [what for what, is_so in needs.items() if is_so and weights.recipe is None]:
        raise RecipeError(
            f"{what} can be trained like '{weights.path}', since nothing says how that was trained: give `recipe` with "
            f"rank, epochs, learning_rate, batch_size and seed, or put them into {RECIPE} beside the weights; or give "
            "a policy that trains nothing anew, whose ladder does without 'retrain' (the default ladder ends in it)"
        )


def _check_folds(train: Corpus, folds: int) -> None:
    if len(train.subjects) < folds:
        raise BadInput(
            f"targets.shadow_folds: {folds} folds need {folds} people at least, and {train.path} names "
            f"{len(train.subjects)}; ask for fewer"
        )


def _count(corpus: Corpus, hashed: Callable[[str], str]) -> dict[str, int]:
    """Records of each subject, by its hash; two spellings of one identity are one subject."""
    hashes = {subject: hashed(subject) for subject in corpus.subjects}
    return Counter(h for record in corpus.records for h in {hashes[subject] for subject in record.subjects})
