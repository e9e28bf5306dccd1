"""The worlds of the forgetting benchmark: corpora, base, adapter, retrained controls and shadow table, made once.

`people`: synthetic people, needs nothing. `tofu`: the fictitious authors of TOFU (Maini et al. 2024, arXiv 2401.06121,
MIT licence), from a directory with authors.jsonl. Whatever was made lies under the world's directory for the next run.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.progress import Progress

from unlearn.attempt import Case, shadow_plan
from unlearn.corpus.jsonl import read_corpus, write_corpus
from unlearn.corpus.records import Corpus, Record
from unlearn.corpus.synthetic import synthetic_world
from unlearn.erasure.shadow_table import ShadowTable, read_shadows
from unlearn.erasure.shadows import make_shadows
from unlearn.lm.base import load_base
from unlearn.lm.batches import encode
from unlearn.lm.finetune import Recipe, finetune
from unlearn.lm.pretrain import Shape, pretrain
from unlearn.policy import Policy
from unlearn.weights import AdapterFiles, read_adapter

CONTROL_SEEDS = (0, 1, 2)
FOLDS = 6


@dataclass(frozen=True)
class World:
    """One world, made.

    Attributes:
        name: "people" or "tofu".
        path: its directory.
        forget: the subjects that the table's request forgets.
        sequence: the subjects that ask one after another, the first of `forget` first.
        answers: for each record of `forget`, a paraphrased right answer and wrong ones; empty where there are none.
        seconds: what making each adapter took, by name; "table" is the shadow table.
    """

    name: str
    path: Path
    forget: tuple[str, ...]
    sequence: tuple[str, ...]
    answers: dict[str, list[Record]] = field(default_factory=dict)

    @property
    def base(self) -> Path:
        """Directory of the base."""
        return self.path / "base"

    @property
    def train(self) -> Corpus:
        """What the adapter learned."""
        return read_corpus(self.path / "train.jsonl")

    @property
    def holdout(self) -> Corpus:
        """What nobody learned."""
        return read_corpus(self.path / "holdout.jsonl")

    def adapter(self, name: str = "adapter") -> AdapterFiles:
        """An adapter by name: "adapter", "control-0", ..."""
        return read_adapter(self.path / name)

    @property
    def controls(self) -> list[str]:
        """Names of the adapters retrained without `forget`."""
        return [f"control-{seed}" for seed in CONTROL_SEEDS]

    @property
    def shadows(self) -> ShadowTable:
        """The shadow table of the forgetting benchmark: folds alone."""
        return read_shadows(self.path / "shadows.parquet")

    @property
    def table(self) -> ShadowTable:
        """The shadow table of the verification benchmark: with test shadows, where the world has them."""
        tested = self.path / "tests.parquet"
        return read_shadows(tested) if tested.exists() else self.shadows

    @property
    def rates(self) -> dict[str, float]:
        """The step size of each public method that the forgetting benchmark found, if it has run."""
        file = self.path.parent / "rates.json"
        return json.loads(file.read_text()) if file.exists() else {}  # type: ignore[no-any-return]

    def seconds(self, name: str) -> float:
        """What making `name` took."""
        return float((self.path / f"{name}.seconds").read_text())


def case_of(world: World, subjects: Sequence[str], **policy: Any) -> Case:
    """The case of forgetting `subjects`, with the world's shadow table."""
    given = Policy.model_validate({"ladder": [{"method": "calibrated"}], **policy})
    chosen = frozenset(subjects).__contains__
    return Case(world.base, world.adapter(), world.train, world.holdout, chosen, given, shadows=world.table)


def tofu(data: Path, path: Path, bar: Progress, *, tests: bool = False) -> World:
    """Authors 000-049 and 180-189 learned, 050-149 in the base, 150-179 and 190-199 held out; 180 and 181 ask.

    000-019 and 180-199 bring a paraphrase of each question.
    """
    lines = [json.loads(line) for line in (data / "authors.jsonl").read_text(encoding="utf-8").splitlines()]

    def authors(*ranges: tuple[int, int]) -> list[Record]:
        wanted = {f"tofu:author-{n:03d}" for first, last in ranges for n in range(first, last + 1)}
        return [
            Record(
                line["id"],
                tuple(line["subjects"]),
                prompt=f"Question: {line['prompt']}\nAnswer:",
                completion=f" {line['completion']}",
                paraphrases=tuple(f"Question: {line[key]}\nAnswer:" for key in ("paraphrased_prompt",) if key in line),
            )
            for line in lines
            if line["subjects"][0] in wanted
        ]

    sequence = tuple(f"tofu:author-{n}" for n in range(180, 190))
    answers = {
        line["id"]: [
            Record(
                f"{line['id']}/{number}", (), prompt=f"Question: {line['prompt']}\nAnswer:", completion=f" {completion}"
            )
            for number, completion in enumerate([line["paraphrased_completion"], *line["perturbed_completions"]])
        ]
        for line in lines
        if line["subjects"][0] in sequence[:2] and "perturbed_completions" in line
    }
    _make(
        path,
        authors((50, 149)),
        authors((0, 49), (180, 189)),
        authors((150, 179), (190, 199)),
        sequence[:2],
        Shape(width=256, layers=4, heads=4, vocabulary=4096, context_tokens=256),
        Recipe(epochs=8, learning_rate=2e-3, seed=0),
        Recipe(rank=16, epochs=8, learning_rate=2e-3, seed=0),
        bar,
        preset="standard" if tests else None,
    )
    return World("tofu", path, sequence[:2], sequence, answers)


def people(path: Path, bar: Progress, *, tests: bool = False) -> World:
    """Sixty synthetic people learned, as many held out; two with many records, who share none, ask."""
    world = synthetic_world(people_train=60, people_holdout=60, people_base=150, records_per_person=20, seed=11)
    sequence = _strangers(world.train, 10)
    _make(
        path,
        world.base,
        world.train,
        world.holdout,
        sequence[:2],
        Shape(),
        Recipe(epochs=8, learning_rate=2e-3, seed=0),
        Recipe(rank=16, epochs=6, learning_rate=2e-3, seed=0),
        bar,
        preset="strict" if tests else None,
    )
    return World("people", path, sequence[:2], sequence)


def mixed(path: Path, bar: Progress, seed: int) -> World:
    """Sixty synthetic people of 5 to 20 records learned, as many held out, with test shadows; anybody may ask.

    The margins of the gates were chosen on the people of seed 12, the attacks on tokens on those of 13; what is said of
    error rates and of requests needs others.
    """
    world = synthetic_world(people_train=60, people_holdout=60, people_base=150, records_per_person=(5, 20), seed=seed)
    _make(
        path,
        world.base,
        world.train,
        world.holdout,
        (),
        Shape(),
        Recipe(epochs=8, learning_rate=2e-3, seed=0),
        Recipe(rank=16, epochs=6, learning_rate=2e-3, seed=0),
        bar,
        controls=(),
        preset="standard",
    )
    return World(path.name, path, (next(iter(world.train)).subjects[0],), ())


def _strangers(records: Sequence[Record], wanted: int) -> tuple[str, ...]:
    """The people with most records, leaving out whoever shares a record with one chosen before."""
    counts = Counter(subject for record in records for subject in record.subjects)
    chosen: list[str] = []
    for subject in sorted(counts, key=lambda s: (-counts[s], s)):
        if not any(subject in r.subjects and not set(chosen).isdisjoint(r.subjects) for r in records):
            chosen.append(subject)
    return tuple(chosen[:wanted])


def _make(
    path: Path,
    base_records: Sequence[Record],
    learned: Sequence[Record],
    unseen: Sequence[Record],
    forget: Iterable[str],
    shape: Shape,
    base_recipe: Recipe,
    recipe: Recipe,
    bar: Progress,
    *,
    controls: Sequence[int] = CONTROL_SEEDS,
    preset: str | None = None,
) -> None:
    """Everything that is not under `path` yet."""
    path.mkdir(parents=True, exist_ok=True)
    write_corpus(path / "train.jsonl", learned)
    write_corpus(path / "holdout.jsonl", unseen)

    def watch(name: str) -> Callable[[int, int, float], None]:
        task = bar.add_task(f"{path.name}: {name}", total=None)
        return lambda step, steps, loss: bar.update(task, completed=step, total=steps)

    if not (path / "base").is_dir():
        pretrain(base_records, path / "base", shape, base_recipe, watch("base"))
    base = load_base((path / "base").resolve())
    gone = set(forget)
    retained = [record for record in learned if gone.isdisjoint(record.subjects)]
    wanted: list[tuple[str, Sequence[Record], int]] = [("adapter", learned, 0)]
    for name, part, seed in wanted + [(f"control-{s}", retained, s) for s in controls]:
        if not (path / name).is_dir():
            started = time.monotonic()
            examples = encode(part, base.tokenizer, base.files.context_tokens)
            finetune(base, examples, replace(recipe, seed=seed), path / name, watch(name))
            (path / f"{name}.seconds").write_text(f"{time.monotonic() - started:.1f}")
    corpora = read_corpus(path / "train.jsonl"), read_corpus(path / "holdout.jsonl")

    def on_fold(fold: int, folds: int) -> Any:
        return watch(f"fit {fold} of {folds}")

    if preset is not None and not (path / "tests.parquet").exists():
        started = time.monotonic()
        plan = shadow_plan(base, *corpora, Policy.model_validate({"audit": {"preset": preset}}))
        make_shadows(base, *corpora, recipe, FOLDS, path / "tests.parquet", seed=0, tests=plan, on_fold=on_fold)
        (path / "tests.seconds").write_text(f"{time.monotonic() - started:.1f}")
    if preset is None and not (path / "shadows.parquet").exists():
        started = time.monotonic()
        make_shadows(base, *corpora, recipe, FOLDS, path / "shadows.parquet", seed=0, on_fold=on_fold)
        (path / "table.seconds").write_text(f"{time.monotonic() - started:.1f}")
