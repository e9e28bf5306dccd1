"""Error rates of the gates on real fits: each test shadow of a table as the adapter in question, judged by the others.

Nobody is there to be seen and nothing to come back; then each is moved to the margin. Fits nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np
from scipy import stats
from worlds import World, case_of

from unlearn.attacks import ATTACKS, Signals
from unlearn.attacks.falls import Falls, falls_of
from unlearn.attacks.null import (
    PLAIN,
    Row,
    Tests,
    Tokens,
    centred_by_shadow,
    token_floor,
    token_profiles,
    token_tests,
    under,
)
from unlearn.attacks.statistics import FEWEST_SHADOWS, by_person, judge_by_shadows, shared, spread_of
from unlearn.attacks.tokens import TOKENWISE
from unlearn.attempt import split_of
from unlearn.guards import GATES, attacks_for, level
from unlearn.guards.base import SEEN
from unlearn.guards.robustness import LEAST_FORGOTTEN_NATS
from unlearn.lm.base import attached, load_base
from unlearn.lm.batches import encode
from unlearn.lm.likelihood import readings, record_nlls
from unlearn.measurement import Group, Measurement, SubjectTest
from unlearn.policy import Policy
from unlearn.shadow_file import HOLDOUT

Figures = dict[str, Any]


@dataclass(frozen=True)
class Judged:
    """A test shadow in the place of an adapter in question, for one person whom it never saw, judged by the others.

    Each of what is asked of it at the level that the gate has for it.

    Attributes:
        records: the person's.
        seen: attacks that see her, who is not there; as the gate looks at an adapter before its erasing.
        exact: whether the membership gate passes it as an exact fit.
        erased: whether the gate passes it as a first erasing of the world's adapter.
        moved: attacks whose interval, of a first erasing, would lie below the margin were each record moved by it towards
            members.
        within: attacks whose interval, of a first erasing, lies within the margin from either side.
        halves: half-width of each attack's interval, of a first erasing, standard deviations of a record.
        judging: the attacks that the gate leans on.
    """

    records: int
    seen: frozenset[str]
    exact: bool
    erased: bool
    moved: frozenset[str]
    within: frozenset[str]
    halves: Mapping[str, float]
    judging: frozenset[str]


@dataclass(frozen=True)
class _Table:
    """What a world's table says of everybody, by attack.

    Attributes:
        tests, tokens: as in a shadow table.
        audited: ids of the holdout's half that centres scores.
        rows: of people.
        owner: the person of each row, by `_name`.
        floor: variance of a typical token; None without tokens.
    """

    tests: Tests
    tokens: Tokens
    audited: Sequence[str]
    rows: Sequence[Row]
    owner: Mapping[str, str]
    floor: float | None

    def scores(self, without: int | None = None) -> dict[str, dict[str, dict[int, float]]]:
        """Attack -> row -> shadow -> centred score, as if shadow `without` had never been fitted."""
        found: dict[str, Tests] = dict.fromkeys(Policy().gates.record_attacks, self.tests)
        if self.floor is not None:
            everything = [*self.rows, *((record, HOLDOUT) for record in self.audited)]
            found |= dict.fromkeys(TOKENWISE, token_tests(lambda row: self.read(row, without), everything, self.floor))
        scores = {name: centred_by_shadow(of, self.rows, name, self.audited) for name, of in found.items()}
        return {
            name: {
                _name(row): {s: v for s, v in one.items() if s != without} for row, one in of.items() if len(one) > 1
            }
            for name, of in scores.items()
        }

    @cached_property
    def whole(self) -> dict[str, dict[str, dict[int, float]]]:
        """The same of all shadows."""
        return self.scores()

    def read(self, row: Row, without: int | None = None) -> dict[int, np.ndarray]:
        """log p of a record's tokens under each shadow but one."""
        return {shadow: log_probs for shadow, log_probs in self.tokens(row).items() if shadow != without}

    def of_shadow(self, shadow: int) -> dict[str, dict[str, float]]:
        """Attack -> row -> centred score of a shadow that stands for an adapter in question, which the others judge."""
        plain = {name: of for name, of in self.whole.items() if name not in TOKENWISE}
        found = {name: {row: one[shadow] for row, one in of.items() if shadow in one} for name, of in plain.items()}
        mine = [row for row in self.rows if shadow in self.tests[row]]
        theirs = {row: self.tokens(row)[shadow] for row in (*mine, *self.never) if shadow in self.tokens(row)}
        return found | self.of_adapter({row[0]: log_probs for row, log_probs in theirs.items()}, mine, shadow)

    def of_adapter(
        self, log_probs: Mapping[str, np.ndarray], rows: Sequence[Row], without: int | None = None
    ) -> dict[str, dict[str, float]]:
        """The same of the attacks on tokens, of an adapter that gives records these tokens' `log_probs`."""
        if self.floor is None:
            return {}
        profiles = token_profiles(lambda row: self.read(row, without), [*rows, *self.never], self.floor)
        scores = {row: profile.scores(log_probs[row[0]]) for row, profile in profiles.items()}
        level = {name: fmean(scores[row][name] for row in self.never if row in scores) for name in TOKENWISE}
        return {
            name: {_name(row): scores[row][name] - level[name] for row in rows if row in scores} for name in TOKENWISE
        }

    @property
    def never(self) -> list[Row]:
        """Rows of the holdout."""
        return [(record, HOLDOUT) for record in self.audited]


def _name(row: Row) -> str:
    return f"{row[0]}/{row[1]}"


def _table_of(world: World) -> _Table:
    case = case_of(world, world.forget)
    table, audited = case.shadows, [record.id for record in split_of(case).audit]
    assert table is not None
    people = {(r.id, place): who for r in world.train.records for place, who in enumerate(r.subjects)}
    rows = [row for row in table.tests if row in people]
    owner = {_name(row): people[row] for row in rows}
    return _Table(table.tests, table.tokens, audited, rows, owner, token_floor(table.tokens, rows))


def membership_of_shadows(world: World) -> dict[tuple[str, int], Judged]:
    """Person and shadow -> what the membership gate makes of it; people of five records and more.

    The others are made anew without the shadow in question; how much records and people differ is the whole table's.
    """
    table, policy = _table_of(world), Policy()
    spreads = {name: spread_of(of, table.owner) for name, of in table.whole.items()}
    before = {who: _measured(tests) for who, tests in originals(world).items()}
    judged: dict[tuple[str, int], Judged] = {}
    for shadow in sorted({s for row in table.rows for s in table.tests[row]}):
        others, target = table.scores(shadow), table.of_shadow(shadow)
        found: dict[str, dict[str, SubjectTest]] = {}
        for attack, of in target.items():
            for who, rows in by_person(of, table.owner).items():
                whole = sum(other == who for other in table.owner.values())
                if len(rows) == whole and whole >= 5:
                    rest = {row: others[attack][row] for row in rows}
                    mine = {row: of[row] for row in rows}
                    test = judge_by_shadows(mine, rest, table.owner, spreads[attack], FEWEST_SHADOWS - 1)
                    if test is not None:
                        found.setdefault(who, {})[attack] = test
        judged |= {(who, shadow): _judged(policy, before[who], tests) for who, tests in found.items()}
    return judged


def originals(world: World) -> dict[str, dict[str, SubjectTest]]:
    """Person -> the subject tests of the world's adapter, which knows her; of people of five records and more."""
    table, base = _table_of(world), load_base(world.base)
    with attached(base, world.adapter()) as model:
        examples = encode([*world.train.records, *world.holdout.records], base.tokenizer, base.files.context_tokens)
        read = readings(model, examples, int(base.tokenizer.pad_token_id))
    scores = {}
    for name in Policy().gates.record_attacks:
        found_of = ATTACKS[name](Signals(read, {}, {}))
        mean = fmean(found_of[record] for record in table.audited if record in found_of)
        scores[name] = {_name(row): found_of[row[0]] - mean for row in table.rows if row[0] in found_of}
    scores |= table.of_adapter({record: one.log_probs for record, one in read.items()}, table.rows)
    found: dict[str, dict[str, SubjectTest]] = {}
    whole = table.whole
    for attack, of in scores.items():
        spread = spread_of(whole[attack], table.owner)
        for who, rows in by_person(of, table.owner).items():
            if len(rows) >= 5 and all(row in whole[attack] for row in rows):
                mine, theirs = ({row: some[row] for row in rows} for some in (of, whole[attack]))
                test = judge_by_shadows(mine, theirs, table.owner, spread)
                if test is not None:
                    found.setdefault(who, {})[attack] = test
    return found


def refused_originals(world: World) -> dict[str, tuple[int, bool]]:
    """Person -> her records, and whether the membership gate refuses the world's adapter as an erasing of itself."""
    gate = GATES["membership"](Policy(), [{}], 0)
    return {
        who: (max(test.records for test in tests.values()), gate(_measured(tests), _measured(tests)).outcome == "fail")
        for who, tests in originals(world).items()
    }


def _measured(tests: Mapping[str, SubjectTest]) -> Measurement:
    """A measurement that has nothing but subject tests: all that the membership gate reads here."""
    return Measurement(*[Group({}, {})] * 3, membership={}, subject_tests=tests)


def _judged(policy: Policy, before: Measurement, tests: Mapping[str, SubjectTest]) -> Judged:
    gates, after = policy.gates, _measured(tests)
    margin = gates.membership_margin_sd
    intervals = {a: test.interval(level(policy, 0)) for a, test in tests.items()}
    return Judged(
        records=max(test.records for test in tests.values()),
        seen=frozenset(a for a, test in tests.items() if test.p_value <= SEEN),
        exact=GATES["membership"](policy, [], 0)(before, after).outcome == "pass",
        erased=GATES["membership"](policy, [{}], 0)(before, after).outcome == "pass",
        moved=frozenset(a for a, (_, high) in intervals.items() if high < 0),
        within=frozenset(a for a, (low, high) in intervals.items() if -margin < low and high < margin),
        halves={a: (high - low) / 2 for a, (low, high) in intervals.items()},
        judging=frozenset(attacks_for(after, gates.membership_attacks, gates.record_attacks)),
    )


def rates(tests: Mapping[tuple[str, int], Judged]) -> Figures:
    """Error rates of each attack's subject test on real fits, where nobody is there to be seen."""
    found: Figures = {}
    for attack in dict.fromkeys(name for one in tests.values() for name in one.halves):
        of = [one for one in tests.values() if attack in one.halves]
        found[attack] = {
            "tests": len(of),
            "judging": attack in of[0].judging,
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
    originals: Mapping[str, tuple[int, bool]],
) -> list[Figures]:
    """What all that must pass together lets through, by the number of a person's records.

    An exact fit is judged by membership alone, from above; an erasing from both sides, and under the challenges; the
    adapter that knows the person, as if nothing had been erased from it.
    """
    margin, bands = Policy().gates.recovery_margin, ((5, 9), (10, 14), (15, 99), (5, 99))
    rows = []
    for low, high in bands:
        keys = [key for key, one in membership.items() if low <= one.records <= high and key in challenged]
        if not keys:
            continue
        holds = {key: all(one.high < margin for one in challenged[key].values()) for key in keys}
        both = {key: membership[key].erased for key in keys}
        moved = {  # an intersection-union test is as lax as when one attack alone lies at the margin
            attack: [
                attack in one.moved and one.judging <= one.within | {attack} for one in map(membership.get, keys) if one
            ]
            for attack in sorted(frozenset.union(*(membership[key].judging for key in keys)))
        }
        worst = max(moved.values(), key=fmean)
        known = [refused for records, refused in originals.values() if low <= records <= high]
        rows.append(
            {
                "records": f"{low} and more" if high == 99 else f"{low} to {high}",
                "tests": len(keys),
                "people": len(known),
                "original_refused": fmean(known),
                "exact": fmean(membership[key].exact for key in keys),
                "membership": fmean(both.values()),
                "robustness": fmean(holds.values()),
                "released": fmean(both[key] and holds[key] for key in keys),
                "released_at_margin": fmean(worst),
                "interval_at_margin": _exact(sum(worst), len(keys)),
            }
        )
    return rows


def _exact(hits: int, tests: int) -> tuple[float, float]:
    """Clopper–Pearson interval at 95 %; shadows of one person go together, so that it is rather too narrow."""
    found = stats.binomtest(hits, tests).proportion_ci(method="exact")
    return float(found.low), float(found.high)
