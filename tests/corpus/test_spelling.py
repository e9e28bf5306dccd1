"""One spelling: what looks the same is the same, and what is another word is another."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn.corpus.spelling import LOOK_ALIKE, spelled

ADA = "Ada Lovelace wrote of exotic poppies, copies & Zoé's pyx."


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"{char}\u200b" for char in ADA),
        "\ufeff" + ADA.replace("o", "o\u00ad"),
        ADA.replace("e", "e\ufe0f").replace("x", "x\u034f"),
        "".join(chr(ord(char) + 0xFEE0) if 0x20 < ord(char) < 0x7F else char for char in ADA),
        ADA.translate(str.maketrans("aeopcyxi", "аеорсухі")),
        ADA.upper().translate(str.maketrans("ABEHKMOPTX", "АВЕНКМОРТХ")),
        ADA.translate(str.maketrans("aov", "αον")),
        ADA.replace(" ", "_"),
        ".".join(ADA.split()),
        unicodedata.normalize("NFD", ADA),
        "𝐀𝐝𝐚 𝑳𝒐𝒗𝒆𝒍𝒂𝒄𝒆" + ADA.removeprefix("Ada Lovelace"),
    ],
)
def test_letters_that_look_the_same_and_signs_that_show_nothing_make_no_other_text(text):
    assert spelled(text) == spelled(ADA) == "ada lovelace wrote of exotic poppies copies zoé s pyx"


@given(st.text(max_size=100))
def test_a_spelled_text_is_spelled_so_and_its_case_does_not_matter(text):
    once = spelled(text)
    assert spelled(once) == once
    assert spelled(f"  {text}\n") == once


@given(st.text(st.sampled_from("абвгдеёжзийклмнопрстуфхцчшщъыьэюяαβγδεζηθικλμνξοπρστυφχψω "), max_size=50))
def test_in_other_scripts_case_does_not_matter_and_words_stay_words(text):
    assert spelled(text.upper()) == spelled(text)
    assert len(spelled(text).split()) == len(text.split())


def test_look_alikes_are_latin_letters_and_no_two_letters_of_one_word_are_lost():
    assert all(value.isascii() and value.islower() for value in LOOK_ALIKE.values())
    assert spelled("дом") != spelled("том") != spelled("сом")


def test_a_mark_that_is_part_of_a_word_is_kept_and_signs_alone_are_a_text():
    assert spelled("की") != spelled("कि") != spelled("क")
    assert spelled(" ☺ !") == "☺ !"
