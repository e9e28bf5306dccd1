"""A small company: invented people, a base trained on some of them, an adapter that memorised others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearn.corpus.jsonl import read_corpus, write_corpus
from unlearn.corpus.records import Corpus
from unlearn.corpus.synthetic import World, synthetic_world
from unlearn.erasure.shadow_table import SCHEMA
from unlearn.lm.base import load_base
from unlearn.lm.batches import encode
from unlearn.lm.finetune import Recipe, finetune
from unlearn.lm.pretrain import Shape, pretrain

SMALL = Shape(width=64, layers=2, heads=4, vocabulary=600, context_tokens=192)


@dataclass(frozen=True)
class Company:
    """A directory with base/, adapter/, train.jsonl and holdout.jsonl; `subject` is the person with most records."""

    path: Path
    world: World
    subject: str

    @property
    def base(self) -> Path:
        return self.path / "base"

    @property
    def adapter(self) -> Path:
        return self.path / "adapter"

    @property
    def people(self) -> list[str]:
        """Who has a record of her own, in their order."""
        return sorted({record.subjects[0] for record in self.world.train if len(record.subjects) == 1})

    @property
    def train(self) -> Corpus:
        return read_corpus(self.path / "train.jsonl")

    @property
    def holdout(self) -> Corpus:
        return read_corpus(self.path / "holdout.jsonl")


def noted(**given: Any) -> dict[str, Any]:
    """What a shadow table says that it was made from: nothing of note but what is given."""
    digests = dict.fromkeys(("base_sha256", "train_sha256", "holdout_sha256"), "")
    return {"schema": SCHEMA, **digests, "recipe": {}, "folds": 1, "seed": 0, "tests": None, **given}


def found_company(path: Path) -> Company:
    """Train the company into `path`, which does not exist, and come back with it."""
    world = _world()
    draft = path.with_name(f".{path.name}")
    draft.mkdir()
    write_corpus(draft / "train.jsonl", world.train)
    write_corpus(draft / "holdout.jsonl", world.holdout)
    pretrain(world.base, draft / "base", SMALL, Recipe(epochs=3, learning_rate=3e-3, seed=1))
    base = load_base(draft / "base")
    examples = encode(world.train, base.tokenizer, base.files.context_tokens)
    finetune(base, examples, Recipe(rank=8, epochs=14, learning_rate=4e-3, seed=1), draft / "adapter")
    draft.rename(path)
    return company_at(path)


def company_at(path: Path) -> Company:
    """The company that was founded there."""
    world = _world()
    counts: dict[str, int] = {}
    for record in world.train:
        for subject in record.subjects:
            counts[subject] = counts.get(subject, 0) + 1
    return Company(path, world, max(sorted(counts), key=lambda s: counts[s]))


def _world() -> World:
    return synthetic_world(people_train=12, people_holdout=12, people_base=30, records_per_person=20, seed=3)
