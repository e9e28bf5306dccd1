"""What the tests share: one small world, a base trained on it and an adapter that memorised its people.

Trained once a session; tests must not change these files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from unlearn.corpus.jsonl import read_corpus, write_corpus
from unlearn.corpus.records import Corpus
from unlearn.corpus.synthetic import World, synthetic_world
from unlearn.lm.base import Base, load_base
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
    def train(self) -> Corpus:
        return read_corpus(self.path / "train.jsonl")

    @property
    def holdout(self) -> Corpus:
        return read_corpus(self.path / "holdout.jsonl")


@pytest.fixture(scope="session")
def company(tmp_path_factory: pytest.TempPathFactory) -> Company:
    path = tmp_path_factory.mktemp("company")
    world = synthetic_world(people_train=12, people_holdout=12, people_base=30, seed=3)
    write_corpus(path / "train.jsonl", world.train)
    write_corpus(path / "holdout.jsonl", world.holdout)
    pretrain(world.base, path / "base", SMALL, Recipe(epochs=3, learning_rate=3e-3, seed=1))
    base = load_base(path / "base")
    examples = encode(world.train, base.tokenizer, base.files.context_tokens)
    finetune(base, examples, Recipe(rank=8, epochs=12, learning_rate=4e-3, seed=1), path / "adapter")
    counts: dict[str, int] = {}
    for record in world.train:
        for subject in record.subjects:
            counts[subject] = counts.get(subject, 0) + 1
    return Company(path, world, max(sorted(counts), key=lambda s: counts[s]))


@pytest.fixture
def base(company: Company) -> Base:
    return load_base(company.base)


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test reads or writes the person's own home, and none changes another's random state."""
    monkeypatch.setenv("UNLEARN_HOME", str(tmp_path / "home"))
    for name in ("UNLEARN_ROOTS", "UNLEARN_DATABASE_URL", "UNLEARN_BROKER_URL", "MLFLOW_TRACKING_URI", "UNLEARN_URL"):
        monkeypatch.delenv(name, raising=False)
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)
