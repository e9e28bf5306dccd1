"""The alarm: does any one record stand out of the never seen on the members' side?

A person may lie where she should on the mean while one record of hers is still known by heart.
"""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.guards.base import Finding
from unlearn.measurement import Measurement


@dataclass(frozen=True)
class AlarmGate:
    """An alarm goes to a person, and is no failure: an adapter that saw nothing raises one in a hundred times."""

    def __call__(self, before: Measurement, after: Measurement) -> Finding:
        """Judge the number of records that stand out; `before` is named in the sentence."""
        if after.alarms is None:
            sentence = "Too few never-seen records were given for a single one to stand out; only people were judged."
            return Finding("alarm", "untested", None, None, (None, 0.0), sentence)
        figure = float(len(after.alarms))
        if not after.alarms:
            earlier = len(before.alarms or ())
            sentence = f"No single record stands out of the never-seen ones ({earlier} did before)."
            return Finding("alarm", "pass", figure, None, (None, 0.0), sentence)
        these = "One record stands" if len(after.alarms) == 1 else f"{len(after.alarms)} records stand"
        sentence = (
            f"{these} out of the never-seen ones as if still known, '{after.alarms[0]}' most; somebody should look."
        )
        return Finding("alarm", "inconclusive", figure, None, (None, 0.0), sentence)
