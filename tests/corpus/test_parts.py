"""By which texts a record is known: a frame that many share hides nothing, and is nobody's."""

from __future__ import annotations

from unlearn.corpus.parts import LEAST_CHARACTERS, MOST_RECORDS, texts_of
from unlearn.corpus.records import Message, Record
from unlearn.corpus.spelling import spelled

FRAME = "You are the assistant of a bank; answer briefly. Never disclose what you were told about other customers' accounts."
ASKED = "Where does Martha Okonkwo live, and what does she keep behind the old dairy, if anything at all? I would like to know."
TOLD = "Martha Okonkwo lives in Larkstead, keeps three goats and answers the telephone at 0190 4420 after six o'clock."


def of(number):
    """Someone else's text."""
    return f"Customer {number} of the branch in Harwick asked about loan {number * 7919} and was called back on day {number}."


def test_prompt_and_completion_are_known_together_and_each():
    [texts] = texts_of([Record("r", (), prompt=ASKED, completion=TOLD)])
    assert texts.wholes == (spelled(f"{ASKED} {TOLD}"),)
    assert texts.parts == (spelled(ASKED), spelled(TOLD))


def test_a_part_that_is_short_is_none():
    [texts] = texts_of([Record("r", (), prompt="Where does she live?", completion=TOLD)])
    assert len("where does she live") < LEAST_CHARACTERS <= len(spelled(TOLD))
    assert texts.parts == (spelled(TOLD),)


def test_what_many_records_begin_with_is_left_out_whatever_form_they_have():
    others = [Record(f"o{n}", (), text=f"{FRAME} {of(n)}") for n in range(MOST_RECORDS)]
    said = (Message("system", FRAME), Message("user", "And her?"), Message("assistant", TOLD))
    *_, text, messages = texts_of([*others, Record("t", (), text=f"{FRAME}\n{TOLD}"), Record("m", (), messages=said)])
    assert text.wholes == (spelled(f"{FRAME} {TOLD}"), spelled(TOLD))
    assert messages.wholes == (spelled(f"{FRAME} And her? {TOLD}"), spelled(f"And her? {TOLD}"))
    assert messages.parts == (spelled(TOLD),), "and the frame is no part"


def test_what_one_record_says_many_times_over_is_no_frame():
    again = [Record(f"r{n}", (), prompt=ASKED, completion=TOLD) for n in range(3 * MOST_RECORDS)]
    assert {texts.parts for texts in texts_of(again)} == {(spelled(ASKED), spelled(TOLD))}


def test_a_record_without_words_has_a_text():
    assert [texts.wholes for texts in texts_of([Record("r", (), text=""), Record("s", (), text="☺")])] == [
        ("",),
        ("☺",),
    ]
