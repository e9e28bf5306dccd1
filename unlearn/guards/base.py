"""What a gate and a governor offer, and how findings become a verdict. Guards are pure: figures in, findings out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, get_args

from unlearn.measurement import Measurement, Pulse
from unlearn.policy import Tokenwise

Outcome = Literal["pass", "fail", "inconclusive", "untested"]
"""`inconclusive`: it was tested, and the data can't tell; `untested`: nothing was asked for, or nothing can be."""
Verdict = Literal["released", "refused", "inconclusive"]
WORSE: Mapping[Verdict, int] = {"released": 0, "inconclusive": 1, "refused": 2}
"""What is better of two verdicts has the smaller number."""


@dataclass(frozen=True)
class Finding:
    """What one gate found.

    Attributes:
        gate: its name in the menu.
        outcome: pass, fail, inconclusive when the data can't tell, or untested, which speaks neither way.
        figure: the number that was judged; None when nothing gave one.
        interval: what its one-sided tests leave, at their levels; None when too few records give none.
        threshold: the bounds that figure and interval must lie within.
        sentence: the finding for a person who is no statistician.
    """

    gate: str
    outcome: Outcome
    figure: float | None
    interval: tuple[float, float] | None
    threshold: tuple[float | None, float | None]
    sentence: str

    def as_report(self) -> dict[str, Any]:
        """The same as JSON types."""
        data = asdict(self)
        return data | {"interval": self.interval and list(self.interval), "threshold": list(self.threshold)}


class Gate(Protocol):
    """A guard at the release: a frozen, callable dataclass whose fields are its thresholds."""

    def __call__(self, before: Measurement, after: Measurement) -> Finding:
        """Judge the adapter after the erasing, given what it was before."""
        ...


Action = Literal["rollback", "stop"]


@dataclass(frozen=True)
class Intervention:
    """What a governor wants done, and why.

    Attributes:
        governor: its name in the menu.
        action: "rollback": return to the last good snapshot and go on with a smaller step and a larger retain
            weight; "stop": end the loop. Either way the weights that are kept are within every budget.
        figure: the number that was judged; None where no single one was.
        threshold: the bound it broke.
        sentence: why, for a person.
    """

    governor: str
    action: Action
    figure: float | None
    threshold: float
    sentence: str

    def as_report(self) -> dict[str, Any]:
        """The same as JSON types, which have no number for what is not finite: null."""
        data = asdict(self)
        return data | {name: None for name in ("figure", "threshold") if not math.isfinite(data[name] or 0.0)}


class Governor(Protocol):
    """A guard inside the loop: a frozen, callable dataclass whose fields are its budgets."""

    def __call__(self, pulse: Pulse) -> Intervention | None:
        """Judge one moment of the loop; None lets it go on."""
        ...


def verdict(findings: Iterable[Finding]) -> Verdict:
    """Released only if every gate that tested something passes (an intersection-union test); one failure refuses.

    No finding at all is inconclusive: nothing has been shown.
    """
    outcomes = {finding.outcome for finding in findings} - {"untested"}
    if "fail" in outcomes:
        return "refused"
    return "released" if outcomes == {"pass"} else "inconclusive"


SEEN = 0.05
"""p-value below which a test has seen people in the adapter as it was; else its silence says nothing."""

LEFT = 0.5
"""Share of where people lay before an erasing that may be left in the attack that saw them best, however wide the
margin: an adapter that was hardly changed, or knew them little, must not pass for one that forgot them."""


def attacks_for(found: Measurement, attacks: Sequence[str], on_records: Sequence[str]) -> tuple[str, ...]:
    """The attacks that judge: `on_records` take the place of those on tokens where no table says how tokens vary."""
    on_tokens = [name for name in attacks if name in get_args(Tokenwise)]
    if not on_tokens or any(name in found.subject_tests for name in on_tokens):
        return tuple(attacks)
    return tuple(dict.fromkeys((*(name for name in attacks if name not in on_tokens), *on_records)))


def most_left(before: Measurement, attacks: Sequence[str]) -> dict[str, float]:
    """Where the interval must end afterwards in the attack that saw the people best, by its name; empty if none did."""
    tests = {name: before.subject_tests[name] for name in attacks if name in before.subject_tests}
    seen = {name: test for name, test in tests.items() if test.p_value <= SEEN}
    if not seen:
        return {}
    best = max(seen, key=lambda name: seen[name].shift / seen[name].error)
    return {best: LEFT * seen[best].shift}
