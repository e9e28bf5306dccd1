"""Fingerprints: what is the same or nearly the same is known again, under the same key alone."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearn.corpus.fingerprints import (
    PERMUTATIONS,
    ROWS,
    THRESHOLD,
    Fingerprinter,
    likeness,
    normalised,
    shingles,
)
from unlearn.corpus.records import Record

KEY = b"k" * 32
GOLDEN_BEFORE = ("6e31dc269bea246f", "b96b4a214352b136", -6225484944482314717)
GOLDEN = ("bc41a6096f40191f", "393e2a10dc4d0e0a", 7826747491789837438)
MARTHA = "Martha Okonkwo lives in Larkstead, keeps three goats and answers the telephone at 0190 4420 after six."
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=200)


def of(*texts, key=KEY, scope="ctl_1"):
    return Fingerprinter(key, scope)(texts)


def jaccard(one, other):
    a, b = shingles(normalised(one)), shingles(normalised(other))
    return len(a & b) / len(a | b)


@settings(deadline=None)  # the first makes the library be read
@given(TEXT)
def test_case_white_space_and_composed_letters_change_no_exact_fingerprint(text):
    changed = "  " + unicodedata.normalize("NFD", text).replace(" ", " \n ") + "\t"
    for make in (Fingerprinter(KEY, "ctl_1"), Fingerprinter(KEY, "ctl_1").before):
        assert make([changed])[0].exact == make([text])[0].exact
    assert normalised(normalised(text)) == normalised(text)


def test_letters_in_capitals_are_the_same_text():
    assert of(MARTHA.upper())[0] == of(MARTHA)[0]


@given(TEXT)
def test_a_fingerprint_holds_what_a_table_takes(text):
    [one] = of(text)
    assert len(one.exact) == 64
    assert len(one.sketch) == 4 * PERMUTATIONS
    assert len(one.bands) == PERMUTATIONS // ROWS
    assert all(-(2**63) <= band < 2**63 for band in one.bands)


def test_under_another_key_or_for_another_company_nothing_matches():
    [one] = of(MARTHA)
    for other in (of(MARTHA, key=b"x" * 32), of(MARTHA, scope="ctl_2")):
        assert other[0].exact != one.exact
        assert not set(other[0].bands) & set(one.bands)
        assert likeness(one.sketch, [other[0].sketch])[0] < 0.1


def test_the_same_text_has_the_same_fingerprint_in_every_process_and_release():
    """Kept fingerprints must be comparable with later ones: golden values, made by this program when each came in."""
    printer = Fingerprinter(bytes(32), "golden")
    for make, golden in ((printer.before, GOLDEN_BEFORE), (printer, GOLDEN)):
        [one] = make(["Ada keeps goats."])
        assert (one.exact[:16], one.sketch[:8].hex(), one.bands[0]) == golden


@pytest.mark.parametrize("hidden", ["", "\u200b", "\u00ad"])
def test_what_an_earlier_release_kept_is_known_again_and_through_what_hides_it_too(hidden):
    printer = Fingerprinter(KEY, "ctl_1")
    [kept] = printer.before([MARTHA])
    text = MARTHA.replace("a", f"a{hidden}")
    others = [Record(f"o{n}", (), text=f"Be brief, and polite.\nNumber {n} of {n * 7919}.") for n in range(9)]
    for record in (Record("r", (), text=text), Record("f", (), text=f"Be brief, and polite.\n{text}")):
        found = printer.looked_for([*others, record])[-1]
        assert max(likeness(kept.sketch, [one.sketch for one in found])) == 1
        assert any(set(kept.bands) & set(one.bands) for one in found)
    assert kept.exact in {one.exact for one in printer.looked_for([Record("r", (), text=MARTHA)])[0]}


def test_what_is_kept_is_looked_for():
    records = [Record("r", (), prompt=MARTHA, completion=MARTHA[::-1]), Record("s", (), text="Yes")]
    printer = Fingerprinter(KEY, "ctl_1")
    for kept, looked_for in zip(printer.kept(records), printer.looked_for(records), strict=True):
        assert set(kept) < set(looked_for)
    assert [len(one) for one in printer.kept(records)] == [3, 1]


def test_likeness_estimates_jaccard_within_the_sketch_s_own_error():
    changed = MARTHA.replace("three goats", "two old sheep")
    true = jaccard(MARTHA, changed)
    estimates = [
        likeness(*(lambda a, b: (a.sketch, [b.sketch]))(*of(MARTHA, changed, key=bytes([n]) * 32)))[0]
        for n in range(40)
    ]
    mean, error = sum(estimates) / 40, (true * (1 - true) / PERMUTATIONS / 40) ** 0.5
    assert abs(mean - true) < 4 * error


def test_a_word_changed_is_near_and_another_text_is_not():
    changed = MARTHA.replace("goats", "hens")
    other = "Jonas Berg repairs bicycles in Harwick and has never owned a telephone or any animal at all."
    one, near, far = of(MARTHA, changed, other)
    found = likeness(one.sketch, [near.sketch, far.sketch])
    assert found[0] >= THRESHOLD > found[1]
    assert set(one.bands) & set(near.bands)


def test_texts_shorter_than_a_shingle_and_without_a_word_have_fingerprints_of_their_own():
    yes, no, smile = of("Yes", "No", "☺")
    assert len({yes.exact, no.exact, smile.exact}) == 3
    assert likeness(yes.sketch, [no.sketch, smile.sketch]).max() < THRESHOLD
    assert likeness(yes.sketch, []).shape == (0,)


def test_what_was_kept_under_either_version_is_found_again_by_its_bands():
    own = Fingerprinter(KEY, "ctl_default")
    text = "Martha Okonkwo keeps three goats behind the old dairy in Larkstead."
    for [one] in (own([text]), own.before([text])):
        again = own.again(one.exact, one.sketch)
        assert (again.exact, again.sketch) == (one.exact, one.sketch)
        assert set(one.bands) < set(again.bands)
