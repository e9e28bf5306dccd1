"""How well each method forgets, against adapters retrained without the data; the noise floor is control to control.

    python bench/forgetting.py --data ../shared/data/tofu --work /tmp/unlearn-bench --out docs/benchmarks/forgetting.md

Two worlds (`bench/worlds.py`), two people to forget in each, three seeds of every method. `calibrated` and
`calibrated, no table` run as they ship, governors on. The public methods run as published: no governor but that of
non-finite losses, the same retain KL, steps and batch; the step size of each is the best of three on the first world's
first seed, chosen by its distance to the controls, which nobody who deploys it could know. Then ten requests one after another.
Every result is kept in --work as JSON, so that an interrupted run goes on; --only and --worlds do a part.

What each column says is told on the page that this makes.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

from measures import four_bit, min_k_plus_plus, relearned, truth_ratios
from page import Figures, middle, page
from rich.console import Console
from rich.progress import Progress
from scipy import stats
from worlds import World, people, tofu

from unlearn.attacks.statistics import compare
from unlearn.attempt import Case, Prepared, Unwatched, prepare, split_of
from unlearn.corpus.records import Corpus
from unlearn.corpus.splits import split
from unlearn.corpus.synthetic import synthetic_world
from unlearn.erasure.loop import erase
from unlearn.erasure.shadow_table import read_shadows
from unlearn.guards import GOVERNORS, Budget, NonFinite
from unlearn.ladder import climb
from unlearn.lm.base import attached, load_base, save_adapter
from unlearn.lm.batches import encode
from unlearn.lm.finetune import finetune, recorded_recipe
from unlearn.lm.likelihood import record_nlls
from unlearn.methods import METHODS, Calibrated, Walk
from unlearn.objectives import objective_of
from unlearn.policy import Policy
from unlearn.shadow_file import drop_rows
from unlearn.weights import AdapterFiles, read_adapter

SEEDS = (0, 1, 2)
PUBLIC = [name for name in METHODS if name not in ("calibrated", "retrain")]
RATES = (3e-4, 1e-3, 3e-3)
STEPS = 24


def case_of(world: World, subjects: Sequence[str], seed: int, *, table: bool = True, **more: Any) -> Case:
    """The case of forgetting `subjects`."""
    quick = {"audit": {"preset": "quick"}}  # this benchmark measures for itself
    policy = Policy.model_validate(
        {"seed": seed, "ladder": [{"method": "calibrated"}], **quick, **more.pop("policy", {})}
    )
    given = {"shadows": world.shadows if table else None} | more
    adapter = given.pop("adapter", None) or world.adapter()
    return Case(world.base, adapter, world.train, world.holdout, frozenset(subjects).__contains__, policy, **given)


def measure(world: World, adapter: AdapterFiles, subjects: Sequence[str]) -> Figures:
    """Everything that is compared, of one adapter on the records of `subjects`; always the same records."""
    base = load_base(world.base)
    pad_id, limit = int(base.tokenizer.pad_token_id), base.files.context_tokens
    parts = split_of(case_of(world, world.sequence, 0, table=False))  # nobody who ever asks is among the retained
    wanted = set(subjects)
    forget = [r for r in parts.forget if not wanted.isdisjoint(r.subjects)]
    person = {r.id: next(s for s in r.subjects if s in wanted) for r in forget}
    ours, check, unseen = (encode(rs, base.tokenizer, limit) for rs in (forget, parts.retain_check, parts.audit))
    answers = {i: encode(rs, base.tokenizer, limit) for i, rs in world.answers.items() if i in person}
    with attached(base, adapter) as model:
        found: Figures = {
            "forget": record_nlls(model, ours, pad_id),
            "retain": record_nlls(model, check, pad_id),
            "holdout": record_nlls(model, unseen, pad_id),
            "forget_min_k": min_k_plus_plus(model, ours, pad_id),
            "holdout_min_k": min_k_plus_plus(model, unseen, pad_id),
            "truth_ratios": truth_ratios(model, answers, pad_id) if answers else {},
            "relearned": relearned(model, ours, person.__getitem__, pad_id),
        }
        with four_bit(model):
            found["four_bit"] = fmean(record_nlls(model, ours, pad_id).values())
    return found


def auc(members: Mapping[str, float], others: Mapping[str, float]) -> float:
    """AUC of telling members from others by a score that is smaller for members."""
    return compare([-v for v in members.values()], [-v for v in others.values()]).auc


def summary(found: Figures, controls: Sequence[Figures]) -> Figures:
    """The table's columns, of one adapter against the controls; medians over them where they are compared."""
    ids = sorted(found["forget"])
    nlls = [found["forget"][i] for i in ids]

    def against(control: Figures) -> tuple[float, float, float, float]:
        theirs = [control["forget"][i] for i in ids]
        gap = fmean(abs(a - b) for a, b in zip(nlls, theirs, strict=True))
        correlation = float(stats.pearsonr(nlls, theirs).statistic) if len(set(nlls)) > 1 else math.nan
        quality = math.nan
        if found["truth_ratios"]:
            items = sorted(found["truth_ratios"])
            both = [[of["truth_ratios"][i] for i in items] for of in (found, control)]
            quality = float(stats.ks_2samp(*both).pvalue)
        return gap, correlation, float(stats.ks_2samp(nlls, theirs).pvalue), quality

    compared = [median(values) for values in zip(*map(against, controls), strict=True)]
    return {
        "forget": fmean(nlls),
        "retain": fmean(found["retain"].values()),
        "holdout": fmean(found["holdout"].values()),
        "auc": auc(found["forget"], found["holdout"]),
        "min_k": auc(found["forget_min_k"], found["holdout_min_k"]),
        "utility": fmean(math.exp(-nll) for nll in found["retain"].values()),
        "relearned": found["relearned"],
        "four_bit": found["four_bit"],
        **dict(zip(("gap", "correlation", "ks", "quality"), compared, strict=True)),
        "steps": found.get("steps"),
        "seconds": found.get("seconds"),
        "end": found.get("end"),
    }


class Missing(Exception):
    """A figure is not kept, and is not to be made."""


class Results:
    """Figures by name, each computed once and kept as JSON; with `kept_only` none is computed."""

    def __init__(self, path: Path, console: Console, *, kept_only: bool) -> None:
        self.path, self.console, self.kept_only = path, console, kept_only
        path.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, key: Any, make: Any) -> Any:
        """What `make()` gave for this name and key, now or in an earlier run."""
        digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:12]
        file = self.path / f"{name}-{digest}.json"
        if not file.exists() and self.kept_only:
            raise Missing(file)
        if not file.exists():
            started = time.monotonic()
            file.with_suffix(".draft").write_text(json.dumps(make()))
            file.with_suffix(".draft").replace(file)
            self.console.print(f"{self.path.name}: {name} ({time.monotonic() - started:.0f} s)", highlight=False)
        return json.loads(file.read_text())


def run(prepared: Prepared, rung: Walk, seed: int, *, governed: bool, to: Path) -> Figures:
    """One erasing as the service does it; seconds are those of the erasing alone, its caches included."""
    policy = prepared.case.policy.governors
    guards = [make(policy) for make in GOVERNORS.values()] if governed else [NonFinite(), Budget(policy.seconds)]
    shutil.rmtree(to, ignore_errors=True)
    with attached(prepared.base, prepared.case.adapter) as model:
        started = time.monotonic()
        walked = erase(
            model,
            prepared.task if governed else replace(prepared.task, probe=()),
            objective_of(rung),
            rung,
            guards,
            pad_id=prepared.pad_id,
            seed=seed,
            every_steps=policy.every_steps,
            kl_budget_nats=policy.retain_kl_nats,
        )
        seconds = time.monotonic() - started
        save_adapter(model, to)
    return {"steps": len(walked.trace), "seconds": seconds, "end": walked.end}


def rung_of(method: str, **more: Any) -> Walk:
    """The method with its defaults; the public ones with one number of steps and one batch for all."""
    given: dict[str, Any] = {} if method == "calibrated" else {"steps": STEPS, "forget_records_per_step": 40}
    if method != "calibrated":
        given |= {"retain_records_per_step": 24, "retain_weight": 5.0}
    return METHODS[method].model_validate(given | more)  # type: ignore[return-value]


def one_request(
    world: World, results: Results, only: Sequence[str], rates: dict[str, float]
) -> dict[str, list[Figures]]:
    """Figures of every row, three of each: controls, the adapter before, every method.

    `rates` holds the public methods' step sizes; those that are not in it yet are chosen here, and put there.
    """
    key = {"train": world.train.sha256, "adapter": world.adapter().sha256, "measures": 2}

    def figures(name: str, adapter: AdapterFiles) -> Figures:
        return results.get(name, key | {"sha": adapter.sha256}, lambda: measure(world, adapter, world.forget))

    controls = [figures(name, world.adapter(name)) for name in world.controls]
    rows: dict[str, list[Figures]] = {}
    pairs = itertools.permutations(controls, 2)
    rows["control against control"] = [summary(one, [other]) for one, other in pairs]
    rows["before"] = [summary(figures("before", world.adapter()), controls)]
    cases: dict[tuple[int, bool], Prepared] = {}

    def tried(method: str, rung: Walk, seed: int, *, table: bool, governed: bool) -> Figures:
        def make() -> Figures:
            if (seed, table) not in cases:
                everything = {"ladder": [{"method": m} for m in ("calibrated", "idk", "altpo")]}
                cases[seed, table] = prepare(
                    case_of(world, world.forget, seed, table=table, policy=everything), Unwatched()
                )
            to = world.path / "erased"
            about = run(cases[seed, table], rung, seed, governed=governed, to=to)
            return measure(world, read_adapter(to), world.forget) | about

        name = f"{method}{'' if table else '-no-table'}-{seed}"
        about = {"rung": rung.model_dump(), "seed": seed, "table": table, "governed": governed}
        return summary(results.get(name, key | about, make), controls)

    for name, table in (("calibrated", True), ("calibrated, no table", False)):
        if only and name not in only:
            continue
        with suppress(Missing):
            rows[name] = [tried("calibrated", rung_of("calibrated"), s, table=table, governed=True) for s in SEEDS]
    for method in PUBLIC:
        if only and method not in only:
            continue

        def at(rate: float, seed: int, method: str = method) -> Figures:
            return tried(method, rung_of(method, learning_rate=rate), seed, table=True, governed=False)

        with suppress(Missing):
            if method not in rates:
                rates[method] = min(RATES, key=lambda rate: at(rate, 0)["gap"])
            rows[f"{method} ({rates[method]:g})"] = [at(rates[method], seed) for seed in SEEDS]
    return rows


def ten_requests(world: World, results: Results) -> dict[str, Any]:
    """Ten people one after another, each from the adapter that the last erasing left."""
    control_key = {"train": world.train.sha256, "adapter": world.adapter().sha256, "measures": 2}
    first = world.sequence[:1]

    def figures(name: str, adapter: AdapterFiles) -> Figures:
        key = control_key | {"sha": adapter.sha256, "who": first}
        return results.get(f"first-{name}", key, lambda: measure(world, adapter, first))

    controls = [figures(name, world.adapter(name)) for name in world.controls]
    rung = Calibrated().model_dump()

    def make() -> Any:
        adapter, rows, table = world.adapter(), [], world.path / "sequence.parquet"
        shutil.copyfile(world.shadows.path, table)
        for number, subject in enumerate(world.sequence):
            gone = frozenset(world.sequence[:number])
            policy = {"ladder": [rung], "sequence": {"retain_drift": 9.0}}
            given = {"adapter": adapter, "already_erased": gone.__contains__, "policy": policy}
            case = case_of(world, [subject], number, shadows=read_shadows(table), **given)
            to = world.path / f"sequence-{number}"
            shutil.rmtree(to, ignore_errors=True)
            outcome = climb(case, to)
            drop_rows(table, outcome.before.forget.nlls)
            adapter = read_adapter(to)
            rows.append({"figures": measure(world, adapter, first), "verdict": outcome.verdict})
            results.console.print(f"{world.name}: request {number + 1} of 10", highlight=False)
        return rows

    rows = results.get("sequence", control_key | {"rung": rung, "rows": "dropped"}, make)
    before = fmean(figures("before", world.adapter())["retain"].values())
    return {
        "control": [summary(one, [two]) for one, two in itertools.permutations(controls, 2)],
        "rows": [summary(row["figures"], controls) for row in rows],
        "retain_before": before,
    }


def cost(world: World, results: Results) -> dict[str, float]:
    """Seconds of one retraining without `world.forget` and of one erasing, in turns: a machine's pace changes by the hour."""
    rung = Calibrated()

    def make() -> dict[str, float]:
        prepared = prepare(case_of(world, world.forget, 0), Unwatched())
        recipe, gone = recorded_recipe(world.adapter()), set(world.forget)
        assert recipe is not None
        retained = [record for record in world.train.records if gone.isdisjoint(record.subjects)]
        examples = encode(retained, prepared.base.tokenizer, prepared.base.files.context_tokens)
        to, erasings = world.path / "cost", []
        for turn in range(6):
            if turn == 3:
                shutil.rmtree(to, ignore_errors=True)
                started = time.monotonic()
                finetune(prepared.base, examples, recipe, to)
                retraining = time.monotonic() - started
            erasings.append(run(prepared, rung, 0, governed=True, to=to)["seconds"])
        return {"retraining": retraining, "erasing": median(erasings)}

    return results.get("cost", {"adapter": world.adapter().sha256, "rung": rung.model_dump()}, make)  # type: ignore[no-any-return]


def growth(console: Console) -> list[tuple[int, float, int]]:
    """What the split of a request costs at 1,200 and at 12,000 train records: records, seconds, retain pool."""
    found = []
    for size in (60, 600):
        world = synthetic_world(people_train=size, people_holdout=20, people_base=1, records_per_person=20, seed=1)
        corpora = [Corpus(Path("corpus"), "", tuple(records)) for records in (world.train, world.holdout)]
        subject = world.train[0].subjects[0]
        retain = Policy().retain
        split(*corpora, {subject}.__contains__, pool_records=8, check_records=8, neighbours=0.5, seed=0)  # warm
        started = time.monotonic()
        parts = split(
            *corpora,
            {subject}.__contains__,
            pool_records=retain.pool_records,
            check_records=retain.check_records,
            neighbours=retain.neighbours,
            seed=0,
        )
        found.append((len(world.train), time.monotonic() - started, len(parts.retain_pool)))
        console.print(f"split of {found[-1][0]} records: {found[-1][1]:.2f} s")
    return found


def main() -> None:
    """Run the benchmark and write its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/tofu"), help="directory of authors.jsonl")
    parser.add_argument("--work", type=Path, default=Path("/tmp/unlearn-bench"), help="kept results")  # noqa: S108
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/forgetting.md"))
    parser.add_argument("--worlds", nargs="+", default=["people", "tofu"], choices=["people", "tofu"])
    parser.add_argument("--only", nargs="*", default=[], help="rows to make; all without")
    parser.add_argument("--kept", action="store_true", help="make the page of what is kept; leave other rows out")
    parser.add_argument("--no-sequence", action="store_true", help="leave the ten requests out")
    given = parser.parse_args()
    console, work = Console(), given.work.resolve()
    found, kept = {}, work / "rates.json"
    rates = json.loads(kept.read_text()) if kept.exists() else {}
    for name in given.worlds:
        with Progress(console=console, transient=True) as bar:
            world = tofu(given.data, work / name, bar) if name == "tofu" else people(work / name, bar)
        results = Results(work / f"{name}-results", console, kept_only=given.kept)
        rows = one_request(world, results, given.only, rates)
        kept.write_text(json.dumps(rates))
        sequence = None
        with suppress(Missing):
            sequence = None if given.no_sequence else ten_requests(world, results)
        spent = None
        with suppress(Missing):
            spent = cost(world, results)
        found[name] = (world, rows, sequence, spent)
        for row, figures in rows.items():
            console.print(row, {k: v for k, v in middle(figures).items() if k != "end"}, highlight=False)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(page(found, growth(console)), encoding="utf-8")
    console.print(str(given.out))


if __name__ == "__main__":
    main()
