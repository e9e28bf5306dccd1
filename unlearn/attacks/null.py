"""What is known of records that an adapter never saw: from test shadows where there are any, else from the holdout.

The shadows' scores are centred by the holdout's mean under each: fewer people behind a shadow than behind the adapter
shift all records alike, and that is no sign of anybody. Knows no model and no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

import numpy as np

from unlearn.attacks.base import FEWEST_TOKENS
from unlearn.attacks.extraction import log10_queries
from unlearn.attacks.falls import Falls, falls_of
from unlearn.attacks.statistics import (
    ALARM,
    PerShadow,
    Spread,
    alarms,
    alarms_by_shadows,
    by_person,
    judge_by_population,
    judge_by_shadows,
    spread_of,
)
from unlearn.attacks.tokens import FEWEST, TOKENWISE, Profile, floor_of, left_out, profile_of
from unlearn.corpus.records import Record
from unlearn.measurement import Expected, SubjectTest
from unlearn.shadow_file import HOLDOUT

SERVED = "served_log_prob"
"""Name, beside the attacks', of a record's log p under the serving decoding."""


GREEDY = "exact_memorisation"
"""Name of the share of a record's tokens that greedy decoding says itself; 1: it says all of it."""

PLAIN = "loss"
"""Name of the attack whose scores say where a record stands without a challenge."""


def under(challenge: str) -> str:
    """Name of how far a challenge lowers a record's NLL, beyond the mean of never-seen records, nats per token."""
    return f"fall under {challenge}"


LUCK = math.log10(3.0)
"""How far above the luckiest shadow's tries a record is expected, as a power of ten."""

PEOPLE = 300
"""People of a table whose variances are looked at; more would say the same."""

Row = tuple[str, int]
"""A record, and the place of the subject among the record's; -1: of the holdout."""

Tests = Mapping[Row, Mapping[int, Mapping[str, float]]]
"""Row -> test shadow -> name -> score."""

Tokens = Callable[[Row], Mapping[int, np.ndarray]]
"""Row -> test shadow -> log p of the record's tokens, float32 [tokens], nats."""


@dataclass(frozen=True)
class Shadowed:
    """What the test shadows of a table say of a case.

    Attributes:
        scores: of the forget records, by attack; centred.
        spreads: of the whole table, by attack.
        served: log p of each forget record, as served, under its shadows, nats; without those that could not be read.
        falls: how far each challenge lowers a forget record's NLL, beyond never-seen records'.
        verbatim: forget records that greedy decoding says word for word under one of their shadows.
        profiles: of the forget and the holdout records, token by token; none where the table has no tokens.
    """

    scores: Mapping[str, PerShadow]
    spreads: Mapping[str, Spread]
    served: Mapping[str, Sequence[float]]
    falls: Mapping[str, Falls]
    verbatim: frozenset[str] = frozenset()
    profiles: Mapping[str, Profile] = field(default_factory=dict)


def shadowed(
    tests: Tests,
    train: Sequence[Record],
    forget: Sequence[Record],
    is_forgotten: Callable[[str], bool],
    holdout: Collection[str],
    names: Collection[str],
    tokens: Tokens = lambda row: {},
) -> Shadowed | None:
    """What `tests` says of `forget`; None if it misses a record, whose rows may have gone.

    Args:
        tests: a shadow table's.
        train: the train records.
        forget: those to forget.
        is_forgotten: which of a record's subjects counts.
        holdout: ids of the records that centre the scores: the audit half.
        names: of what the table keeps.
        tokens: what it keeps of tokens.
    """
    challenges = [name.removeprefix(under("")) for name in names if name.startswith(under(""))]
    attacks = [name for name in names if name != SERVED and not name.startswith(under(""))]
    places = {r.id: next(p for p, s in enumerate(r.subjects) if is_forgotten(s)) for r in forget}
    if not tests or any((record, place) not in tests for record, place in places.items()):
        return None
    people = {(r.id, place): subject for r in train for place, subject in enumerate(r.subjects)}
    everybody = sorted(set(people.values()))
    some = set(everybody[:: max(1, len(everybody) // PEOPLE)])
    keys = {f"{key[0]}/{key[1]}": key for key in tests if people.get(key) in some}
    owner = {name: people[key] for name, key in keys.items()}
    spreads, scores = {}, {}
    plain: PerShadow = {}
    never = [(record, HOLDOUT) for record in holdout]
    floor, profiles = token_floor(tokens, keys.values()), {}
    tests_of = dict.fromkeys(attacks, tests)
    if floor is not None:
        read = token_tests(tokens, {*keys.values(), *places.items(), *never}, floor)
        tests_of |= dict.fromkeys(TOKENWISE, read)
        profiles = token_profiles(tokens, [*places.items(), *never], floor)
    for name, found in tests_of.items():
        rows = centred_by_shadow(found, {*keys.values(), *places.items()}, name, holdout)
        whole = {row: rows[key] for row, key in keys.items() if len(rows[key]) > 1}
        if name == PLAIN:
            plain = whole
        if whole:
            spreads[name] = spread_of(whole, owner)
            scores[name] = {r: rows[r, place] for r, place in places.items()}
    falls = {}
    for name in challenges:
        raw = {row: _finite(tests[key], under(name)) for row, key in keys.items()}
        whole = {row: found for row, found in raw.items() if len(found) > 1}
        if whole:
            mine = {r: _finite(tests[r, place], under(name)) for r, place in places.items()}
            falls[name] = Falls(*falls_of(whole, plain, owner), mine, scores.get(PLAIN, {}))
    return Shadowed(
        scores=scores,
        spreads=spreads,
        falls=falls,
        verbatim=frozenset(r for r, p in places.items() if any(f.get(GREEDY) == 1.0 for f in tests[r, p].values())),
        served={r: list(_finite(tests[r, place], SERVED).values()) for r, place in places.items()},
        profiles={record: profile for (record, _), profile in profiles.items()},
    )


def token_floor(tokens: Tokens, rows: Iterable[Row]) -> float | None:
    """Variance of a typical token of `rows` among test shadows; None where the table has no tokens."""
    found = [_stacked(tokens(row)) for row in rows]
    return floor_of(found) if any(len(one) for one in found) else None


def token_tests(tokens: Tokens, rows: Iterable[Row], floor: float) -> Tests:
    """What the attacks on tokens say of each test shadow as the others see it, in the shape of a table's scores."""
    tests: dict[Row, dict[int, dict[str, float]]] = {}
    for row in rows:
        found = tokens(row)
        stacked = _stacked(found)
        scores = left_out(stacked, floor) if len(stacked) else {}
        each = zip(found, *scores.values(), strict=True) if scores else ()
        tests[row] = {shadow: dict(zip(scores, map(float, values), strict=True)) for shadow, *values in each}
    return tests


def token_profiles(tokens: Tokens, rows: Iterable[Row], floor: float) -> dict[Row, Profile]:
    """What an adapter is held against, of each row that has shadows and tokens enough."""
    stacked = {row: _stacked(tokens(row)) for row in rows}
    return {row: profile_of(found, floor) for row, found in stacked.items() if len(found)}


def _stacked(found: Mapping[int, np.ndarray]) -> np.ndarray:
    """float64 [shadows, tokens]; empty with too few shadows or tokens to say anything."""
    rows = list(found.values())
    enough = len(rows) >= FEWEST and len(rows[0]) >= FEWEST_TOKENS
    return np.array(rows if enough else [], np.float64)


def centred_by_shadow(
    tests: Tests, rows: Iterable[Row], name: str, holdout: Collection[str]
) -> dict[Row, dict[int, float]]:
    """Scores of some rows of a table, by shadow, less the mean of the holdout's under each; without what is no number.

    Args:
        tests: a shadow table's.
        rows: of people, by record and place.
        name: the attack's.
        holdout: ids of the records whose mean it is.
    """
    levels: dict[int, list[float]] = {}
    for record in holdout:
        for shadow, score in _finite(tests.get((record, HOLDOUT), {}), name).items():
            levels.setdefault(shadow, []).append(score)
    level = {shadow: fmean(scores) for shadow, scores in levels.items()}
    return {
        row: {shadow: score - level[shadow] for shadow, score in _finite(tests[row], name).items() if shadow in level}
        for row in rows
    }


def _finite(of: Mapping[int, Mapping[str, float]], name: str) -> dict[int, float]:
    return {shadow: found[name] for shadow, found in of.items() if not math.isnan(found[name])}


def judge(
    name: str,
    found: Mapping[str, float],
    unseen: Mapping[str, float],
    person: Mapping[str, str],
    known: Mapping[str, Sequence[float]],
    shadows: Shadowed | None,
) -> SubjectTest | None:
    """The subject test of one attack: by the shadows if there are enough of them, else by the holdout's people.

    Args:
        name: the attack's.
        found, unseen: its scores of the forget and the holdout records.
        person: of each record.
        known: numbers that say how hard a record is without the adapter.
        shadows: what a table says.
    """
    if shadows is not None and name in shadows.scores and found and unseen:
        among = {record: shadows.scores[name][record] for record in found}
        judged = judge_by_shadows(_centred(found, unseen), among, person, shadows.spreads[name])
        if judged is not None:
            return judged
    if name in TOKENWISE:  # more shadows judge a never-seen record than hers: the two can't be compared
        return None
    return judge_by_population(found, unseen, known, person)


def stand_out(
    scores: Mapping[str, tuple[Mapping[str, float], Mapping[str, float]]], shadows: Shadowed | None
) -> tuple[str, ...] | None:
    """Single records that stand out on the members' side: of their own shadows, or of the holdout's records without.

    Args:
        scores: of the forget and the holdout records, by attack; each rings at its share of the level.
        shadows: what a table says.
    """
    raised: dict[str, None] = {}
    for name, (found, unseen) in scores.items():
        by_shadows = None
        if shadows is not None and name in shadows.scores and found and unseen:
            centred = _centred(found, unseen)
            by_shadows = alarms_by_shadows(centred, shadows.scores[name], shadows.spreads[name], ALARM / len(scores))
        one = alarms(found, unseen, ALARM / len(scores)) if by_shadows is None else by_shadows
        if one is None:
            return None
        raised |= dict.fromkeys(one)
    return tuple(raised)


def _centred(found: Mapping[str, float], unseen: Mapping[str, float]) -> dict[str, float]:
    level = fmean(unseen.values())
    return {record: score - level for record, score in found.items()}


def expected_falls(
    challenges: Mapping[str, Collection[str]],
    forget: Sequence[str],
    found: Mapping[str, float],
    unseen: Mapping[str, float],
    person: Mapping[str, str],
    shadows: Shadowed | None,
) -> dict[str, dict[str, Expected]]:
    """By how much each challenge lowers a person's NLL, beyond never-seen people's, in adapters that never saw her.

    Args:
        challenges: records that each of them took, by its name.
        forget: ids of the forget records.
        found, unseen: scores of the loss attack of the forget and the holdout records.
        person: of each record.
        shadows: what a table says; without, nothing.
    """
    if shadows is None:
        return {}
    plain = _centred(found, unseen) if unseen else {}
    expected = {}
    for name, taken in challenges.items():
        if name in shadows.falls:
            people = by_person([record for record in forget if record in taken], person)
            of = {who: shadows.falls[name].expected(rows, plain) for who, rows in people.items()}
            expected[name] = {who: one for who, one in of.items() if one is not None}
    return expected


def expected_queries(
    forget: Sequence[str],
    served: Mapping[str, float],
    reference: Mapping[str, np.ndarray],
    shadows: Shadowed | None,
) -> dict[str, float]:
    """log10 of the tries that each forget record needs where nobody learned of the person.

    The median over the shadows; or three times what the luckiest of them needs, if that is less: adapters differ, and
    that is no sign of her; nothing of a record that no shadow could read. Without shadows a line through the holdout's
    records: their log p as served, on that under the base and on their length.

    Args:
        forget: ids of the forget records.
        served: log p of forget and holdout records as served, nats.
        reference: log p of their tokens under the base, float32 [tokens].
        shadows: what a table says.
    """
    if shadows is not None:
        tries = {r: [log10_queries(log_p) for log_p in shadows.served[r]] for r in forget if shadows.served[r]}
        return {record: min(median(found), min(found) + LUCK) for record, found in tries.items()}
    gone = set(forget)
    rows = {r: [1.0, float(log_p.sum(dtype=np.float64)), float(len(log_p))] for r, log_p in reference.items()}
    unseen = [r for r in rows if r not in gone and math.isfinite(served[r])]
    if len(unseen) < 20:
        return {}
    line, *_ = np.linalg.lstsq(np.array([rows[r] for r in unseen]), np.array([served[r] for r in unseen]), rcond=None)
    return {record: log10_queries(min(0.0, float(np.array(rows[record]) @ line))) for record in forget}


def unlike_the_unlearned(verbatim: Collection[str], forget: Sequence[str], shadows: Shadowed | None) -> tuple[str, ...]:
    """Forget records that greedy decoding says word for word, and says of nothing else that was not learned.

    With a table: of no adapter that never saw the person. Without, as long as no never-seen record is said either:
    where one is, what everybody writes may be all that comes out.

    Args:
        verbatim: ids of the forget and holdout records that greedy decoding says.
        forget: ids of the forget records.
        shadows: what a table says.
    """
    said = [record for record in forget if record in verbatim]
    if shadows is not None:
        return tuple(record for record in said if record not in shadows.verbatim)
    return tuple(said) if len(said) == len(verbatim) else ()
