"""One spelling of a text, whatever an export or an editor did to its letters: what looks the same is the same.

Compatibility forms (NFKC, Unicode UAX 15: full-width letters, ligatures), case, characters that show nothing (UAX 44:
category Cf, and the marks and fillers of Default_Ignorable_Code_Point), punctuation, symbols and underscores for
spaces, and Cyrillic and Greek letters that look like Latin ones. Knows no record and no fingerprint.
"""

from __future__ import annotations

import unicodedata

SHOWS_NOTHING = frozenset(map(ord, "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0")) | frozenset(
    [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]
)
"""Of Default_Ignorable_Code_Point (Unicode 16, DerivedCoreProperties.txt) what is assigned and not of category Cf."""

LOOK_ALIKE = dict(
    zip(
        "авекмнорстухѕіјһԁԛԝ" + "αβεζηικμνορτυχ",
        "abekmhopctyxsijhdqw" + "abezhikmvoptux",
        strict=True,
    )
)
"""Small letters by the Latin ones that they, or their capitals, look like (Unicode UTS 39, confusables.txt). Where the
two look like different ones (ν, υ) the small one counts, since a word must not depend on its case; letters that merely
resemble one are left alone."""


class _Shown(dict[int, int | None]):
    """For str.translate: takes out what shows nothing."""

    def __missing__(self, code: int) -> int | None:
        hidden = code in SHOWS_NOTHING or unicodedata.category(chr(code)) == "Cf"
        return self.setdefault(code, None if hidden else code)


class _Latin(dict[int, int | str]):
    """For str.translate: look-alikes as Latin letters, and a space for what is no letter, digit or mark of one."""

    def __missing__(self, code: int) -> int | str:
        char = chr(code)
        plain = LOOK_ALIKE.get(char) or (code if char.isalnum() or unicodedata.category(char)[0] == "M" else " ")
        return self.setdefault(code, plain)


_SHOWN, _LATIN = _Shown(), _Latin()


def spelled(text: str) -> str:
    """The text as it is compared: words and single spaces; a text without a word keeps its signs.

    >>> spelled("Ａda\\u200b_LOVE\\u00adLACE, née Byrоn")
    'ada lovelace née byron'
    """
    shown = unicodedata.normalize("NFKD", text).translate(_SHOWN)
    folded = unicodedata.normalize("NFKD", shown.casefold()).translate(_SHOWN)
    words = unicodedata.normalize("NFC", folded.translate(_LATIN))
    return " ".join(words.split()) or " ".join(unicodedata.normalize("NFC", folded).split())
