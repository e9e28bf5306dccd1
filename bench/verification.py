"""What the verdicts are worth: who is released and who refused, attack by attack and request by request.

    python bench/verification.py --data ../shared/data/tofu --work /tmp/unlearn-bench --out docs/benchmarks/verification.md

Four parts. (1) The table: the original adapter, a control, every method, and erasings that are none (`impostors.py`), under
every attack and challenge of the `strict` preset, on synthetic people and on TOFU. (2) Twenty requests of one person with 5 to
20 records each: original, control, `calibrated` and `ascent` past its target under `standard`, the impostors under `strict`.
(3) The test's own error rates on real fits: each test shadow judged by the others, as it is and moved to the margin.
(4) What twelve times the budget of the suffix search finds.
Every result is kept in --work as JSON, so that an interrupted run goes on; --only does a part.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from impostors import first_token, int4_returns
from peft import PeftModel
from rich.console import Console
from rich.progress import Progress
from scipy import stats
from verdicts import page
from worlds import FOLDS, World, mixed, people, tofu

from unlearn.attacks.audit import audit
from unlearn.attacks.null import under
from unlearn.attacks.statistics import FEWEST_SHADOWS, expected_mean, judge_by_shadows, mean_spread_of, spread_of
from unlearn.attempt import Case, Prepared, Unwatched, attempt, prepare, split_of
from unlearn.guards import GATES, verdict
from unlearn.guards.robustness import LEAST_FORGOTTEN_NATS, recoveries
from unlearn.lm.base import attached, load_base
from unlearn.lm.batches import encode
from unlearn.lm.finetune import finetune, recorded_recipe
from unlearn.lm.likelihood import record_nlls
from unlearn.measurement import Measurement
from unlearn.methods import METHODS
from unlearn.policy import AuditPolicy, Policy
from unlearn.weights import AdapterFiles, read_adapter

Figures = dict[str, Any]
REQUESTS = 20
PAST = {"method": "ascent", "steps": 60, "learning_rate": 1e-3}
"""Plain ascent, nobody stopping it."""
QUICK = {"preset": "quick", "extras": ()}
SEARCHES = ("suffix", "suffix-50")
UNGUARDED = {"overshoot_nats": 99.0, "retain_rise": 99.0, "retain_kl_nats": 99.0, "general_text_rise": 99.0}


def case_of(world: World, subjects: Sequence[str], **policy: Any) -> Case:
    """The case of forgetting `subjects`, with the world's shadow table."""
    given = Policy.model_validate({"ladder": [{"method": "calibrated"}], **policy})
    chosen = frozenset(subjects).__contains__
    return Case(world.base, world.adapter(), world.train, world.holdout, chosen, given, shadows=world.table)


def judged(prepared: Prepared, after: Measurement, *, exact: bool) -> Figures:
    """Verdict, findings and figures of one candidate."""
    cost = {"retain_nll_nats": prepared.before.retain.mean, "method": "erased"}
    lineage = [] if exact else [cost | {"retain_rise_nats": after.retain.mean - prepared.before.retain.mean}]
    findings = [make(prepared.case.policy, lineage)(prepared.before, after) for make in GATES.values()]
    return {
        "verdict": verdict(findings),
        "findings": {f.gate: f.as_report() for f in findings},
        "auc": {name: found.auc for name, found in after.membership.items()},
        "shift": {name: found.shift for name, found in after.subject_tests.items()},
        "interval": {name: found.interval(0.05) for name, found in after.subject_tests.items()},
        "queries": min(after.queries.values()),
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


def impostor(prepared: Prepared, make: Callable[[PeftModel], None], preset: str, **more: Any) -> Measurement:
    """An adapter changed in place, measured, and thrown away."""
    policy = AuditPolicy.model_validate({"preset": preset} | more)
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
        tried: of the audit policy, in the place of `strict`.
    """
    asked = {"extras": (), **(tried or {"preset": "strict"})}
    rung: dict[str, Any] = {"method": name if name in METHODS else "calibrated"}
    if name in world.rates:
        rung |= {"learning_rate": world.rates[name], "steps": 24}
    if name == "ascent past its target":
        rung = PAST
    governed = {} if rung["method"] == "calibrated" else {"governors": UNGUARDED}
    case = case_of(world, world.forget, ladder=[rung], audit=asked, **governed)
    prepared = prepare(case, Unwatched())
    if name == "original":
        return judged(prepared, measured(prepared, case.adapter, asked), exact=True)
    if name.startswith("control"):
        return judged(prepared, measured(prepared, world.adapter(name), asked), exact=True)
    if name in impostors(prepared):
        return judged(prepared, impostor(prepared, impostors(prepared)[name], "strict"), exact=False)
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
    fakes = ["first token steered", "returns under int4"]
    return ["original", *world.controls, "calibrated", "ascent past its target", *public, *fakes]


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
    found["original"] = judged(prepared, measured(prepared, case.adapter, QUICK), exact=True)  # no erasing to undo
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
        found[name] = judged(prepared, impostor(prepared, make, "strict", extras=()), exact=False)
    return found


def rates(world: World) -> Figures:
    """Error rates of the subject test on real fits: each test shadow as the adapter in question, judged by the others.

    Moved by the margin towards members, each is an adapter that should not be released.
    """
    policy = Policy()
    case = case_of(world, world.forget)
    audited = [r.id for r in split_of(case).audit]
    table = case.shadows
    assert table is not None
    person = {(r.id, p): s for r in world.train.records for p, s in enumerate(r.subjects)}
    found: Figures = {}
    for attack in policy.gates.membership_attacks:
        levels: dict[int, list[float]] = {}
        for record in audited:
            for shadow, scores in table.tests.get((record, -1), {}).items():
                if not math.isnan(scores[attack]):
                    levels.setdefault(shadow, []).append(scores[attack])
        level = {shadow: fmean(scores) for shadow, scores in levels.items()}
        centred = {
            f"{key[0]}/{key[1]}": {s: v[attack] - level[s] for s, v in of.items() if not math.isnan(v[attack])}
            for key, of in table.tests.items()
            if key in person
        }
        centred = {key: of for key, of in centred.items() if len(of) > 1}
        owner = {f"{key[0]}/{key[1]}": who for key, who in person.items()}
        spread = spread_of(centred, owner)
        people_of: dict[str, list[str]] = {}
        for key in centred:
            people_of.setdefault(owner[key], []).append(key)
        shifts, seen, within, moved, halves = [], 0, 0, 0, []
        margin, alpha = policy.gates.membership_margin_sd, policy.gates.membership_alpha
        for keys in people_of.values():
            if len(keys) < 5:
                continue
            for shadow in sorted(set.intersection(*(set(centred[key]) for key in keys))):
                rest = {key: {s: v for s, v in centred[key].items() if s != shadow} for key in keys}
                target = {key: centred[key][shadow] for key in keys}
                test = judge_by_shadows(target, rest, owner, spread, FEWEST_SHADOWS - 1)
                if test is None:
                    continue
                low, high = test.interval(alpha)
                shifts.append(test.shift)
                halves.append((high - low) / 2)
                seen += test.p_value <= alpha
                within += -margin < low and high < margin
                moved += high + margin < margin  # each record moved by the margin moves the person by it
        n = len(shifts)
        found[attack] = {
            "tests": n,
            "seen": seen / n,
            "released": within / n,
            "released_at_margin": moved / n,
            "half_width": fmean(halves),
            "correlation": spread.correlation,
            "freedom": spread.person.freedom,
        }
    return found


def challenge_rates(world: World) -> Figures:
    """What the robustness gate makes of test shadows, each judged by the others: nothing is there to come back.

    A person's share is of what the unerased adapter's NLL lies below the shadow's. Then each is moved to the margin.
    """
    gates, table = Policy().gates, world.table
    person = {(r.id, p): s for r in world.train.records for p, s in enumerate(r.subjects)}
    owner = {f"{record}/{place}": who for (record, place), who in person.items()}
    base = load_base(world.base)
    with attached(base, world.adapter()) as model:
        examples = encode(world.train.records, base.tokenizer, base.files.context_tokens)
        learned = record_nlls(model, examples, int(base.tokenizer.pad_token_id))
    names = [name for name in table.about["tests"]["scores"] if name.startswith(under(""))]
    tests: dict[tuple[str, int], dict[str, tuple[float, float]]] = {}
    for name in names:
        falls = {
            f"{key[0]}/{key[1]}": {s: v[name] for s, v in table.tests[key].items() if not math.isnan(v[name])}
            for key in person
            if key in table.tests
        }
        falls = {row: of for row, of in falls.items() if len(of) > 1}
        spread = mean_spread_of(falls, owner)
        rows_of: dict[str, list[str]] = {}
        for row in falls:
            rows_of.setdefault(owner[row], []).append(row)
        for who, rows_ in rows_of.items():
            mine = [key for key, other in person.items() if other == who]
            for shadow in set.intersection(*(set(falls[row]) for row in rows_)) if len(mine) >= 5 else ():
                rest = {row: {s: v for s, v in falls[row].items() if s != shadow} for row in rows_}
                expected = expected_mean(rest, rows_, spread, FEWEST_SHADOWS - 1)
                if expected is None:
                    continue
                rise = fmean(-table.tests[key][shadow]["loss"] - learned[key[0]] for key in mine)
                share = (fmean(falls[row][shadow] for row in rows_) - expected.mean) / max(LEAST_FORGOTTEN_NATS, rise)
                half = float(stats.t.ppf(0.95, expected.freedom)) * expected.error / max(LEAST_FORGOTTEN_NATS, rise)
                tests.setdefault((who, shadow), {})[name] = (share, half)
    whole = [one for one in tests.values() if len(one) == len(names)]
    margin, most = gates.recovery_margin, gates.recovery

    def share_of(passes: Callable[[float, float], bool]) -> dict[str, float]:
        return {name.removeprefix(under("")): fmean(passes(*one[name]) for one in whole) for name in names}

    return {
        "tests": len(whole),
        "released": fmean(all(s + h < margin for s, h in one.values()) for one in whole),
        "refused": fmean(any(s - h > most for s, h in one.values()) for one in whole),
        "seen": share_of(lambda s, h: s - h > 0),
        "released_at_margin": share_of(lambda s, h: s + h < 0),
        "half_width": {name.removeprefix(under("")): fmean(one[name][1] for one in whole) for name in names},
    }


def main() -> None:
    """Make what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/tofu"), help="TOFU's authors.jsonl is here")
    parser.add_argument("--work", type=Path, default=Path("/tmp/unlearn-bench"), help="models and results")  # noqa: S108
    parser.add_argument("--out", type=Path, help="page to write")
    parser.add_argument("--worlds", nargs="*", default=["people", "tofu"], choices=["people", "tofu"])
    parser.add_argument("--tofu-shadows", action="store_true", help="fit test shadows on TOFU, too: half an hour more")
    parser.add_argument("--kept", action="store_true", help="write the page from what is there, and make nothing")
    parser.add_argument("--rows", nargs="*", help="rows of the tables; all without")
    parser.add_argument("--only", nargs="+", default=["table", "requests", "rates", "searches"])
    given = parser.parse_args()
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
        if "people" in given.worlds:
            worlds.append(people(given.work / "people", bar, tests=True))
        if "tofu" in given.worlds:
            worlds.append(tofu(given.data, given.work / "tofu", bar, tests=given.tofu_shadows))
        for world in worlds if "table" in given.only else ():
            chosen = [row for row in rows(world) if not given.rows or row in given.rows]
            task = bar.add_task(f"{world.name}: table", total=len(chosen))
            for row in chosen:
                keep(f"{world.name}/{row}", lambda w=world, r=row: by_method(w, r, given.work))
                bar.advance(task)
        for world in worlds if "searches" in given.only else ():
            for row in (*world.controls, "calibrated", "npo"):
                key = f"searches/{world.name}/{row}"
                keep(key, lambda w=world, r=row: by_method(w, r, given.work, challenges=SEARCHES))
        if "requests" in given.only or "rates" in given.only:
            world = mixed(given.work / "mixed", bar)
            keep("rates/mixed", lambda: rates(world))
            keep("rates/challenges", lambda: challenge_rates(world))
            task = bar.add_task("requests", total=REQUESTS)
            for number in range(REQUESTS) if "requests" in given.only else ():
                keep(f"request/{number}", lambda n=number: request(world, n, given.work / "mixed"))
                bar.advance(task)
    targets = Policy().targets
    shadows = f"{FOLDS} folds and {targets.test_rounds} rounds of {targets.test_parts} test shadows"
    text = page(results, shadows, Policy().gates.membership_margin_sd)
    if given.out is None:
        print(text)
    else:
        given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
