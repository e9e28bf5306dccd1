"""What a table's test shadows say of a case, and what stands in where there is no table."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from unlearn.attacks.extraction import log10_queries
from unlearn.attacks.null import SERVED, expected_queries, judge, shadowed, stand_out, unlike_the_unlearned
from unlearn.corpus.records import Record

NAMES = ["loss"]


def table(people=8, records=6, shadows=6):
    """A table of one's own: every score is 10 + its shadow's level; the holdout's is the level alone."""
    random = np.random.default_rng(0)
    train = [Record(f"r{p}-{n}", (f"p{p}",), text="x") for p in range(people) for n in range(records)]
    levels = random.normal(0, 5, shadows)

    def scores(shadow, base):
        score = base + levels[shadow] + random.normal(0, 0.1)
        return {"loss": float(score), SERVED: -20.0 - shadow}

    tests = {(r.id, 0): {s: scores(s, 10.0) for s in range(shadows)} for r in train}
    holdout = [f"h{n}" for n in range(20)]
    tests |= {(h, -1): {s: scores(s, 0.0) for s in range(shadows)} for h in holdout}
    return tests, train, holdout


def of(tests, train, holdout, subject="p0"):
    forget = [r for r in train if subject in r.subjects]
    return shadowed(tests, train, forget, {subject}.__contains__, holdout, NAMES)


def test_scores_are_centred_by_the_holdout_under_the_same_shadow():
    found = of(*table())
    assert set(found.scores["loss"]) == {f"r0-{n}" for n in range(6)}
    for scores in found.scores["loss"].values():
        assert all(score == pytest.approx(10.0, abs=0.4) for score in scores.values())  # whatever the level
    assert math.sqrt(found.spreads["loss"].record.variance) == pytest.approx(0.1, rel=0.4)


def test_greedy_decoding_counts_where_nothing_unlearned_says_the_same():
    tests, train, holdout = table()
    tests["r0-1", 0][3]["exact_memorisation"] = 1.0
    shadows, forget = of(tests, train, holdout), ["r0-0", "r0-1", "r0-2"]
    assert unlike_the_unlearned({"r0-0", "r0-1"}, forget, shadows) == ("r0-0",)
    assert unlike_the_unlearned({"r0-0", "r0-1"}, forget, None) == ("r0-0", "r0-1")
    assert unlike_the_unlearned({"r0-0", "h3"}, forget, None) == ()
    assert unlike_the_unlearned({"r0-0", "h3"}, forget, shadows) == ("r0-0",)


def test_single_records_stand_out_of_their_own_shadows_or_else_of_the_never_seen():
    tests, train, holdout = table()
    shadows = of(tests, train, holdout)
    found = {f"r0-{n}": 10.0 for n in range(6)}
    unseen = dict.fromkeys(holdout, 0.0)
    assert stand_out({"loss": (found, unseen)}, shadows) == ()
    assert stand_out({"loss": (found | {"r0-2": 12.0}, unseen)}, shadows) == ("r0-2",)
    assert stand_out({"loss": (found, unseen)}, None) is None  # twenty never seen could raise no alarm


def test_each_of_several_attacks_rings_at_its_share_of_the_level():
    tests, train, holdout = table()
    shadows = of(tests, train, holdout)
    shadows = replace(
        shadows,
        scores=shadows.scores | {"other": shadows.scores["loss"]},
        spreads=shadows.spreads | {"other": shadows.spreads["loss"]},
    )
    quiet, unseen = {f"r0-{n}": 10.0 for n in range(6)}, dict.fromkeys(holdout, 0.0)

    def ring(loss, other):
        return stand_out({"loss": (quiet | loss, unseen), "other": (quiet | other, unseen)}, shadows)

    assert ring({}, {}) == ()
    assert ring({"r0-2": 12.0}, {"r0-3": 12.0}) == ("r0-2", "r0-3")
    assert ring({}, {"r0-3": 12.0}) == ("r0-3",)
    between = next(
        s for s in np.arange(10.0, 12.0, 0.005) if stand_out({"loss": (quiet | {"r0-2": s}, unseen)}, shadows)
    )
    assert ring({"r0-2": between}, {}) == ()


def test_a_person_whose_rows_went_has_no_shadows():
    tests, train, holdout = table()
    del tests["r0-3", 0]
    assert of(tests, train, holdout) is None
    assert of({}, train, holdout) is None
    assert of(tests, train, holdout, "p1") is not None


def test_the_place_of_the_subject_decides_whose_shadows_count():
    tests, train, holdout = table()
    shared = Record("s", ("p0", "p1"), text="x")
    tests |= {("s", place): {s: {"loss": float(place), SERVED: -1.0} for s in range(6)} for place in (0, 1)}
    found = shadowed(tests, [*train, shared], [shared], {"p1"}.__contains__, holdout, NAMES)
    assert found.served["s"] == [-1.0] * 6
    level = [found.scores["loss"]["s"][s] for s in range(6)]
    zero = shadowed(tests, [*train, shared], [shared], {"p0"}.__contains__, holdout, NAMES)
    assert [a - b for a, b in zip(level, zero.scores["loss"]["s"].values(), strict=True)] == pytest.approx([1.0] * 6)


def test_records_that_no_attack_scores_are_left_out_of_the_centre():
    tests, train, holdout = table()
    tests["h0", -1] = {s: {"loss": math.nan, SERVED: -1.0} for s in range(6)}
    assert all(math.isfinite(v) for found in of(tests, train, holdout).scores["loss"].values() for v in found.values())


def test_a_judgement_takes_the_shadows_where_there_are_enough_and_else_the_population():
    random = np.random.default_rng(1)
    person = {f"r0-{n}": "p0" for n in range(6)} | {f"h{n}": f"q{n % 7}" for n in range(42)}
    unseen = {f"h{n}": float(random.normal()) for n in range(42)}
    known = {r: [float(random.normal())] for r in person}
    level = float(np.mean(list(unseen.values())))
    found = {f"r0-{n}": 10.0 + level for n in range(6)}
    by_shadows = judge("loss", found, unseen, person, known, of(*table()))
    assert by_shadows.null == "shadows"
    assert abs(by_shadows.shift) < 2
    assert judge("loss", found, unseen, person, known, of(*table(shadows=5))).null == "population"
    without = judge("loss", found, unseen, person, known, None)
    assert without.null == "population"
    assert without.shift > 5


def test_shadows_that_could_not_read_a_record_say_nothing_of_its_tries():
    tests, train, holdout = table()
    tests["r0-0", 0] = {s: found | {SERVED: math.nan} for s, found in tests["r0-0", 0].items()}
    tests["r0-1", 0][0] |= {SERVED: math.nan}
    found = expected_queries([f"r0-{n}" for n in range(6)], {}, {}, of(tests, train, holdout))
    assert set(found) == {f"r0-{n}" for n in range(1, 6)}
    tries = [log10_queries(-20.0 - shadow) for shadow in range(1, 6)]
    assert found["r0-1"] == pytest.approx(min(np.median(tries), min(tries) + math.log10(3.0)))


def test_tries_are_expected_from_the_shadows_or_a_line_through_the_holdout():
    shadows = of(*table())
    forget = [f"r0-{n}" for n in range(6)]
    found = expected_queries(forget, {}, {}, shadows)
    tries = [log10_queries(-20.0 - shadow) for shadow in range(6)]
    assert found["r0-0"] == pytest.approx(min(np.median(tries), min(tries) + math.log10(3.0)))
    random = np.random.default_rng(2)
    reference = {f"h{n}": random.normal(-3, 1, 10 + n % 5).astype(np.float32) for n in range(40)}
    reference["f"] = np.full(12, -3.0, np.float32)
    served = {r: 0.5 * float(x.sum(dtype=np.float64)) - len(x) for r, x in reference.items()}
    (tries,) = expected_queries(["f"], served | {"f": -1.0}, reference, None).values()
    assert tries == pytest.approx(log10_queries(0.5 * -36 - 12), abs=0.05)
    assert expected_queries(["f"], {"f": -1.0}, {"f": reference["f"]}, None) == {}
