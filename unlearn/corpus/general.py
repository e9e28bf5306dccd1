"""The probe of general text: plain sentences about nobody, on which an erasing must change nothing."""

from __future__ import annotations

from pathlib import Path

from unlearn.corpus.records import Record
from unlearn.errors import PolicyError

BUILT_IN = (
    "Water boils when it is hot enough, and it turns to ice when it is cold.",
    "The train leaves the station early in the morning and comes back in the evening.",
    "If you mix blue and yellow paint, you get green.",
    "Bread is made of flour, water, salt and yeast, and it is baked in an oven.",
    "The days are long in summer and short in winter.",
    "A triangle has three sides, and a square has four sides of the same length.",
    "Many birds fly south before the first snow falls.",
    "The shop is open from nine to five, but it is closed on Sundays.",
    "Please write your answer on the first line and sign at the bottom of the page.",
    "When the light is red, cars have to stop.",
    "The river runs through the valley and into the sea.",
    "To open the box, turn the key to the left and lift the lid.",
    "Rain fell all night, so the road was wet in the morning.",
    "The library lends books for three weeks at a time.",
    "Two and two are four, and three times three are nine.",
    "She asked whether the meeting could start an hour later.",
)
"""Written for this project; a model of any size has some expectation of them, which is all the probe compares."""

LONGEST_PROBE = 64
"""Passages of a probe that are used; a look at them must cost less than a step."""


def general_texts(path: Path | None) -> list[Record]:
    """The passages of the file at `path`, one a line, or the built-in ones without.

    Raises:
        PolicyError: the file can't be read or has no text.
    """
    lines: tuple[str, ...] | list[str] = BUILT_IN
    if path is not None:
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise PolicyError(f"governors.general_text: '{path}' can't be read: {error}") from None
        if not lines:
            raise PolicyError(f"governors.general_text: '{path}' has no text; write one passage a line")
    return [Record(f"general-{number}", (), text=line) for number, line in enumerate(lines[:LONGEST_PROBE])]
