"""What a gate offers, and how findings become a verdict. Guards are pure: measurements in, findings out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from unlearn.measurement import Measurement

Outcome = Literal["pass", "fail", "inconclusive"]
Verdict = Literal["released", "refused", "inconclusive"]


@dataclass(frozen=True)
class Finding:
    """What one gate found.

    Attributes:
        gate: its name in the menu.
        outcome: pass, fail, or inconclusive when the data can't tell.
        figure: the number that was judged.
        interval: its 90 % interval; None when too few records give none.
        threshold: the bounds the whole interval must lie within.
        sentence: the finding for a person who is no statistician.
    """

    gate: str
    outcome: Outcome
    figure: float
    interval: tuple[float, float] | None
    threshold: tuple[float | None, float]
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


def verdict(findings: Iterable[Finding]) -> Verdict:
    """Released only if every gate passes (an intersection-union test); one failure refuses.

    No finding at all is inconclusive: nothing has been shown.
    """
    outcomes = {finding.outcome for finding in findings}
    if "fail" in outcomes:
        return "refused"
    return "released" if outcomes == {"pass"} else "inconclusive"
