"""Error rates of the gates on real fits: each test shadow of a table as the adapter in question, judged by the others.

Nobody is there to be seen and nothing to come back; then each is moved to the margin. Fits nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from scipy import stats
from worlds import World, case_of

from unlearn.attacks.falls import Falls, falls_of
from unlearn.attacks.null import PLAIN, centred_by_shadow, under
from unlearn.attacks.statistics import FEWEST_SHADOWS, by_person, judge_by_shadows, shared, spread_of
from unlearn.attempt import split_of
from unlearn.guards import level
from unlearn.guards.base import SEEN
from unlearn.guards.robustness import LEAST_FORGOTTEN_NATS
from unlearn.lm.base import attached, load_base
from unlearn.lm.batches import encode
from unlearn.lm.likelihood import record_nlls
from unlearn.measurement import SubjectTest
from unlearn.policy import Policy

Figures = dict[str, Any]


@dataclass(frozen=True)
class Judged:
    """A test shadow in the place of an adapter in question, for one person whom it never saw, judged by the others.

    Each of what is asked of it at the level that the gate has for it.

    Attributes:
        records: the person's.
        seen: attacks that see her, who is not there; as the gate looks at an adapter before its erasing.
        below: attacks whose interval, of an exact fit, lies below the margin, which is all that such a fit must show.
        within: attacks whose interval, of a first erasing, lies within the margin from either side.
        moved: as `within`, each record moved by the margin towards members.
        halves: half-width of each attack's interval, of a first erasing, standard deviations of a record.
    """

    records: int
    seen: frozenset[str]
    below: frozenset[str]
    within: frozenset[str]
    moved: frozenset[str]
    halves: Mapping[str, float]


def membership_of_shadows(world: World) -> dict[tuple[str, int], Judged]:
    """Person and shadow -> what the subject tests make of them; people of five records and more."""
    policy, case = Policy(), case_of(world, world.forget)
    audited = [r.id for r in split_of(case).audit]
    table = case.shadows
    assert table is not None
    person = {(r.id, p): s for r in world.train.records for p, s in enumerate(r.subjects)}
    owner = {f"{record}/{place}": who for (record, place), who in person.items()}
    found: dict[tuple[str, int], dict[str, SubjectTest]] = {}
    for attack in policy.gates.membership_attacks:
        rows = centred_by_shadow(table.tests, [key for key in table.tests if key in person], attack, audited)
        whole = {f"{record}/{place}": of for (record, place), of in rows.items() if len(of) > 1}
        spread = spread_of(whole, owner)
        people_of: dict[str, list[str]] = {}
        for row in whole:
            people_of.setdefault(owner[row], []).append(row)
        for who, keys in people_of.items():
            for shadow in set.intersection(*(set(whole[key]) for key in keys)) if len(keys) >= 5 else ():
                rest = {key: {s: v for s, v in whole[key].items() if s != shadow} for key in keys}
                target = {key: whole[key][shadow] for key in keys}
                test = judge_by_shadows(target, rest, owner, spread, FEWEST_SHADOWS - 1)
                if test is not None:
                    found.setdefault((who, shadow), {})[attack] = test
    return {key: _judged(policy, tests) for key, tests in found.items()}


def _judged(policy: Policy, tests: Mapping[str, SubjectTest]) -> Judged:
    margin = policy.gates.membership_margin_sd
    erasing = {a: test.interval(level(policy, 0)) for a, test in tests.items()}
    exact = {a: test.interval(policy.gates.membership_alpha) for a, test in tests.items()}
    return Judged(
        records=max(test.records for test in tests.values()),
        seen=frozenset(a for a, test in tests.items() if test.p_value <= SEEN),
        below=frozenset(a for a, (_, high) in exact.items() if high < margin),
        within=frozenset(a for a, (low, high) in erasing.items() if -margin < low and high < margin),
        moved=frozenset(a for a, (_, high) in erasing.items() if high < 0),  # moves the person by the margin
        halves={a: (high - low) / 2 for a, (low, high) in erasing.items()},
    )


def rates(tests: Mapping[tuple[str, int], Judged]) -> Figures:
    """Error rates of each attack's subject test on real fits, where nobody is there to be seen."""
    found: Figures = {}
    for attack in Policy().gates.membership_attacks:
        of = [one for one in tests.values() if attack in one.halves]
        found[attack] = {
            "tests": len(of),
            "seen": fmean(attack in one.seen for one in of),
            "released": fmean(attack in one.within for one in of),
            "released_at_margin": fmean(attack in one.moved for one in of),
            "half_width": fmean(one.halves[attack] for one in of),
        }
    return found


@dataclass(frozen=True)
class Challenged:
    """What a challenge brings back under such a shadow: a share of what the unerased adapter knows.

    Attributes:
        share: beyond what it does in the other shadows.
        low: end of its interval at the level of the test that refuses.
        high: end of its interval at the level of the test that passes a first erasing.
    """

    share: float
    low: float
    high: float


def challenges_of_shadows(world: World) -> dict[tuple[str, int], dict[str, Challenged]]:
    """Person and shadow -> challenge -> what it brings back; people of five records and more."""
    table, levels = world.table, (Policy().gates.membership_alpha, level(Policy(), 0))
    person = {(r.id, p): s for r in world.train.records for p, s in enumerate(r.subjects)}
    owner = {f"{record}/{place}": who for (record, place), who in person.items()}
    base = load_base(world.base)
    with attached(base, world.adapter()) as model:
        examples = encode(world.train.records, base.tokenizer, base.files.context_tokens)
        learned = record_nlls(model, examples, int(base.tokenizer.pad_token_id))
    audited = [r.id for r in split_of(case_of(world, world.forget)).audit]
    keys = {f"{key[0]}/{key[1]}": key for key in person if key in table.tests}
    centred = centred_by_shadow(table.tests, keys.values(), PLAIN, audited)
    plain = {row: centred[key] for row, key in keys.items() if len(centred[key]) > 1}
    tests: dict[tuple[str, int], dict[str, Challenged]] = {}
    for name in [name for name in table.about["tests"]["scores"] if name.startswith(under(""))]:
        falls = {
            row: {s: v[name] for s, v in table.tests[key].items() if not math.isnan(v[name])}
            for row, key in keys.items()
        }
        falls = {row: of for row, of in falls.items() if len(of) > 1}
        line, spread = falls_of(falls, plain, owner)
        for who, rows in by_person(falls, owner).items():
            several = sum(other == who for other in person.values()) >= 5
            for shadow in shared(falls, rows) if several else ():
                rest, at = (
                    {row: {s: v for s, v in of[row].items() if s != shadow} for row in rows if row in of}
                    for of in (falls, plain)
                )
                here = {row: plain[row][shadow] for row in rows if shadow in plain.get(row, {})}
                expected = Falls(line, spread, rest, at).expected(rows, here, FEWEST_SHADOWS - 1)
                if expected is None or not here:
                    continue
                scores = {row: table.tests[keys[row]][shadow][PLAIN] for row in here}
                rise = max(LEAST_FORGOTTEN_NATS, fmean(-scores[row] - learned[keys[row][0]] for row in here))
                share = (fmean(falls[row][shadow] for row in rows) - expected.mean) / rise
                halves = [float(stats.t.ppf(1 - one, expected.freedom)) * expected.error / rise for one in levels]
                tests.setdefault((who, shadow), {})[name.removeprefix(under(""))] = Challenged(
                    share, share - halves[0], share + halves[1]
                )
    wanted = max(map(len, tests.values()))
    return {key: of for key, of in tests.items() if len(of) == wanted}


def challenge_rates(tests: Mapping[tuple[str, int], Mapping[str, Challenged]]) -> Figures:
    """What the robustness gate makes of test shadows: nothing is there to come back. Then each is moved to the margin."""
    gates = Policy().gates
    whole = list(tests.values())

    def share_of(passes: Callable[[Challenged], bool]) -> dict[str, float]:
        return {name: fmean(passes(one[name]) for one in whole) for name in whole[0]}

    return {
        "tests": len(whole),
        "released": fmean(all(one.high < gates.recovery_margin for one in of.values()) for of in whole),
        "refused": fmean(any(one.low > gates.recovery for one in of.values()) for of in whole),
        "seen": share_of(lambda one: one.low > 0),
        "released_at_margin": share_of(lambda one: one.high < 0),
        "half_width": {name: fmean(of[name].high - of[name].share for of in whole) for name in whole[0]},
    }


def joint_rates(
    membership: Mapping[tuple[str, int], Judged],
    challenged: Mapping[tuple[str, int], Mapping[str, Challenged]],
) -> list[Figures]:
    """What all that must pass together lets through, by the number of a person's records.

    An exact fit is judged by membership alone, from above; an erasing from both sides, and under the challenges.
    """
    margin, bands = Policy().gates.recovery_margin, ((5, 9), (10, 14), (15, 99), (5, 99))
    attacks = set(Policy().gates.membership_attacks)
    rows = []
    for low, high in bands:
        keys = [key for key, one in membership.items() if low <= one.records <= high and key in challenged]
        if not keys:
            continue
        holds = {key: all(one.high < margin for one in challenged[key].values()) for key in keys}
        both = {key: attacks <= membership[key].within for key in keys}
        moved = [attacks <= membership[key].moved for key in keys]
        rows.append(
            {
                "records": f"{low} and more" if high == 99 else f"{low} to {high}",
                "tests": len(keys),
                "exact": fmean(attacks <= membership[key].below for key in keys),
                "membership": fmean(both.values()),
                "robustness": fmean(holds.values()),
                "released": fmean(both[key] and holds[key] for key in keys),
                "released_at_margin": fmean(moved),
                "interval_at_margin": _exact(sum(moved), len(keys)),
            }
        )
    return rows


def _exact(hits: int, tests: int) -> tuple[float, float]:
    """Clopper–Pearson interval at 95 %; shadows of one person go together, so that it is rather too narrow."""
    found = stats.binomtest(hits, tests).proportion_ci(method="exact")
    return float(found.low), float(found.high)
