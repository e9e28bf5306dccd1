"""What the verdicts are worth: who is released and who refused, attack by attack and request by request.

    python bench/verification.py --data ../shared/data/tofu --work /tmp/unlearn-bench --out docs/benchmarks/verification.md

Six parts. (1) The table: the original adapter, a control, every method, and erasings that are none (`impostors.py`), under
every attack and challenge of a preset, on synthetic people (`strict`) and on TOFU (`standard`). (2) Twenty requests of one person with 5 to
20 records each: original, control, `calibrated` and `ascent` past its target under `standard`, the impostors under `strict`.
(3) The gates' error rates on real fits, on people who were never looked at before and on TOFU: each test shadow judged
by the others, as it is and moved to the margin. (4) The impostors and a control under `strict` where the table is of
another preset. (5) What twelve times the budget of the suffix search finds. (6) What is measured on request, beside the gates.
Every result is kept in --work as JSON, so that an interrupted run goes on; --only does a part.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

from error_rates import (
    challenge_rates,
    challenges_of_shadows,
    joint_rates,
    membership_of_shadows,
    rates,
    refused_originals,
)
from impostors import first_token, int4_returns
from peft import PeftModel
from rich.console import Console
from rich.progress import Progress
from verdicts import page
from worlds import FOLDS, World, case_of, mixed, people, tofu

from unlearn.attacks.audit import audit
from unlearn.attempt import Prepared, Unwatched, attempt, prepare
from unlearn.guards import GATES, level, verdict
from unlearn.guards.robustness import recoveries
from unlearn.lm.base import attached
from unlearn.lm.batches import encode
from unlearn.lm.finetune import finetune, recorded_recipe
from unlearn.measurement import Measurement
from unlearn.methods import METHODS
from unlearn.policy import AuditPolicy, Extra, Policy
from unlearn.weights import AdapterFiles, read_adapter

Figures = dict[str, Any]
REQUESTS = 20
PAST = {"method": "ascent", "steps": 60, "learning_rate": 1e-3}
"""Plain ascent, nobody stopping it."""
FAKES = ("first token steered", "returns under int4")
TABLES = {"people": "strict", "tofu": "standard"}
"""The preset of each world's table; its shadows are challenged with the same."""
QUICK = {"preset": "quick", "extras": ()}
SEARCHES = ("suffix", "suffix-50")
ON_REQUEST = {"preset": "quick", "extras": get_args(Extra)}
UNGUARDED = {"overshoot_nats": 99.0, "retain_rise": 99.0, "retain_kl_nats": 99.0, "general_text_rise": 99.0}


def judged(prepared: Prepared, after: Measurement, *, exact: bool) -> Figures:
    """Verdict, findings and figures of one candidate."""
    cost = {"retain_nll_nats": prepared.before.retain.mean, "method": "erased"}
    lineage = [] if exact else [cost | {"retain_rise_nats": after.retain.mean - prepared.before.retain.mean}]
    findings = [make(prepared.case.policy, lineage, 0)(prepared.before, after) for make in GATES.values()]
    return {
        "verdict": verdict(findings),
        "findings": {f.gate: f.as_report() for f in findings},
        "auc": {name: found.auc for name, found in after.membership.items()},
        "shift": {name: found.shift for name, found in after.subject_tests.items()},
        "interval": {name: found.interval(0.05) for name, found in after.subject_tests.items()},
        "queries": min(after.queries.values()),
        "extras": {name: dict(found) for name, found in after.extras.items()},
        "tpr": {name: found.tpr for name, found in after.membership.items()},
        "recoveries": recoveries(prepared.before, after),
        "skipped": dict(after.skipped),
        "forget": after.forget.mean,
        "retain": after.retain.mean,
        "holdout": after.holdout.mean,
    }


def measured(prepared: Prepared, adapter: AdapterFiles, asked: Figures) -> Measurement:
    """One adapter under an audit policy."""
    with attached(prepared.base, adapter) as model:
        return audit(model, prepared.records, prepared.pad_id, AuditPolicy.model_validate(asked), prepared.old)


def impostor(prepared: Prepared, make: Callable[[PeftModel], None], asked: Figures) -> Measurement:
    """An adapter changed in place, measured, and thrown away."""
    policy = AuditPolicy.model_validate(asked)
    with attached(prepared.base, prepared.case.adapter) as model:
        make(model)
        return audit(model, prepared.records, prepared.pad_id, policy, prepared.old)


def impostors(prepared: Prepared) -> dict[str, Callable[[PeftModel], None]]:
    """The erasings that are none."""
    forget, retain, pad_id = prepared.task.forget, prepared.task.retain, prepared.pad_id
    targets = prepared.task.targets
    assert targets is not None
    return {
        "first token steered": lambda model: first_token(model, forget, retain, pad_id),
        "returns under int4": lambda model: int4_returns(model, forget, retain, targets.nlls, pad_id),
    }


def by_method(world: World, name: str, work: Path, **tried: Any) -> Figures:
    """One row of the table.

    Args:
        world, name, work: whose, which, and where drafts lie.
        tried: of the audit policy, in the place of the world's preset.
    """
    asked = {"extras": (), **(tried or {"preset": TABLES[world.name]})}
    rung: dict[str, Any] = {"method": name if name in METHODS else "calibrated"}
    if name in world.rates:
        rung |= {"learning_rate": world.rates[name], "steps": 24}
    if name == "ascent past its target":
        rung = PAST
    governed = {} if rung["method"] == "calibrated" else {"governors": UNGUARDED}
    case = case_of(world, world.forget, ladder=[rung], audit=asked, **governed)
    prepared = prepare(case, Unwatched())
    if name == "original":
        return judged(prepared, measured(prepared, case.adapter, asked), exact=False)
    if name.startswith("control"):
        return judged(prepared, measured(prepared, world.adapter(name), asked), exact=True)
    if name in impostors(prepared):
        return judged(prepared, impostor(prepared, impostors(prepared)[name], asked), exact=False)
    draft = work / "draft"
    shutil.rmtree(draft, ignore_errors=True)
    tried = attempt(prepared, case.policy.ladder[0], draft, Unwatched())
    assert tried.after is not None
    found = judged(prepared, tried.after, exact=False)
    shutil.rmtree(draft, ignore_errors=True)
    return found


def rows(world: World) -> list[str]:
    """The table's rows."""
    public = [name for name in METHODS if name not in ("calibrated", "retrain", "ascent")]
    return ["original", *world.controls, "calibrated", "ascent past its target", *public, *FAKES]


def request(world: World, number: int, work: Path) -> Figures:
    """One request of one person: original and control, ascent past its target, and the impostors."""
    counts = Counter(s for r in world.train.records for s in r.subjects)
    subject = sorted(s for s, n in counts.items() if 5 <= n <= 20)[:: max(1, len(counts) // REQUESTS)][number]
    case = case_of(world, [subject], audit={"preset": "standard"})
    prepared = prepare(case, Unwatched())
    control = work / f"control-of-{number}"
    if not (control / "adapter_config.json").exists():
        recipe = recorded_recipe(case.adapter)
        assert recipe is not None
        kept = [r for r in case.train.records if subject not in r.subjects]
        examples = encode(kept, prepared.base.tokenizer, prepared.base.files.context_tokens)
        finetune(prepared.base, examples, replace(recipe, seed=recipe.seed + 1 + number), control)
    found: Figures = {"records": len(prepared.parts.forget)}
    found["original"] = judged(prepared, measured(prepared, case.adapter, QUICK), exact=False)  # nothing to bring back
    found["control"] = judged(prepared, measured(prepared, read_adapter(control), QUICK), exact=True)
    for name, rung, governors in (
        ("calibrated", {"method": "calibrated"}, {}),
        ("ascent past its target", PAST, {"governors": UNGUARDED}),
    ):
        other = case_of(world, [subject], ladder=[rung], audit={"preset": "standard"}, **governors)
        draft = work / "draft"
        shutil.rmtree(draft, ignore_errors=True)
        tried = attempt(replace(prepared, case=other), other.policy.ladder[0], draft, Unwatched())
        assert tried.after is not None
        found[name] = judged(prepared, tried.after, exact=False)
        shutil.rmtree(draft, ignore_errors=True)
    for name, make in impostors(prepared).items():
        found[name] = judged(prepared, impostor(prepared, make, {"preset": "strict", "extras": ()}), exact=False)
    return found


def _rated(work: Path, named: Sequence[str], made: Sequence[World], bar: Progress) -> list[World]:
    """The worlds whose test shadows say how often the gates err."""
    fresh = [mixed(work / "fresh", bar, seed=14)] if "people" in named else []
    return fresh + [world for world in made if world.name == "tofu" and (world.path / "tests.parquet").exists()]


def _given() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/tofu"), help="TOFU's authors.jsonl is here")
    parser.add_argument("--work", type=Path, default=Path("/tmp/unlearn-bench"), help="models and results")  # noqa: S108
    parser.add_argument("--out", type=Path, help="page to write")
    parser.add_argument("--worlds", nargs="*", default=["people", "tofu"], choices=["people", "tofu"])
    parser.add_argument("--tofu-shadows", action="store_true", help="fit test shadows on TOFU, too: half an hour more")
    parser.add_argument("--kept", action="store_true", help="write the page from what is there, and make nothing")
    parser.add_argument("--rows", nargs="*", help="rows of the tables; all without")
    parser.add_argument("--only", nargs="+", default=["table", "requests", "rates", "strict", "searches", "extras"])
    return parser.parse_args()


def main() -> None:
    """Make what is missing, and write the page."""
    given = _given()
    results: dict[str, Figures] = {}
    with Progress(console=Console(stderr=True)) as bar:

        def keep(key: str, make: Callable[[], Figures]) -> None:
            file = given.work / "verification" / f"{key.replace('/', '-')}.json"
            if not file.exists() and given.kept:
                return
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps(make()))
            results[key] = json.loads(file.read_text())

        worlds: list[World] = []
        asked = {"table", "strict", "searches", "extras"}.intersection(given.only)
        if "people" in given.worlds and asked:
            worlds.append(people(given.work / "people", bar, tests=True))
        if "tofu" in given.worlds and (asked or "rates" in given.only):
            worlds.append(tofu(given.data, given.work / "tofu", bar, tests=given.tofu_shadows))
        for world in worlds if "table" in given.only else ():
            chosen = [row for row in rows(world) if not given.rows or row in given.rows]
            task = bar.add_task(f"{world.name}: table", total=len(chosen))
            for row in chosen:
                keep(f"{world.name}/{row}", lambda w=world, r=row: by_method(w, r, given.work))
                bar.advance(task)
        for world in (w for w in worlds if "strict" in given.only and TABLES[w.name] != "strict"):
            for row in (world.controls[0], *FAKES):
                key = f"strict/{world.name}/{row}"
                keep(key, lambda w=world, r=row: by_method(w, r, given.work, preset="strict"))
        for world in worlds if "searches" in given.only else ():
            for row in (*world.controls, "calibrated", "npo"):
                key = f"searches/{world.name}/{row}"
                keep(key, lambda w=world, r=row: by_method(w, r, given.work, challenges=SEARCHES))
        for world in worlds if "extras" in given.only else ():
            for row in ("original", *world.controls, "calibrated", "ascent past its target", *FAKES):
                keep(f"extras/{world.name}/{row}", lambda w=world, r=row: by_method(w, r, given.work, **ON_REQUEST))
        for world in _rated(given.work, given.worlds, worlds, bar) if "rates" in given.only else ():
            of_membership = cache(lambda w=world: membership_of_shadows(w))
            of_challenges = cache(lambda w=world: challenges_of_shadows(w))
            keep(f"rates/{world.name}/membership", lambda of=of_membership: rates(of()))
            keep(f"rates/{world.name}/challenges", lambda of=of_challenges: challenge_rates(of()))
            both = (of_membership, of_challenges)
            keep(
                f"rates/{world.name}/joint",
                lambda w=world, of=both: {"rows": joint_rates(of[0](), of[1](), refused_originals(w))},
            )
        if "requests" in given.only:
            world = mixed(given.work / "fresh", bar, seed=14)
            task = bar.add_task("requests", total=REQUESTS)
            for number in range(REQUESTS):
                keep(f"request/{number}", lambda n=number: request(world, n, given.work / "fresh"))
                bar.advance(task)
    policy = Policy()
    gates, targets = policy.gates, policy.targets
    shadows = f"{FOLDS} folds and {targets.test_rounds} rounds of {targets.test_parts} test shadows"
    text = page(
        results,
        shadows,
        gates.membership_margin_sd,
        gates.recovery_margin,
        erasing=level(policy, 0),
        exact=gates.membership_alpha,
        old=given.out.read_text(encoding="utf-8") if given.out is not None and given.out.exists() else "",
    )
    if given.out is None:
        print(text)
    else:
        given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
