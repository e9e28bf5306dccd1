"""The same question in other words: in those that the records of a corpus bring with them.

Knows records and what they bring; writes no wording itself. Where the never-seen or the forgotten bring none, words are
put around every prompt instead (`prompted.py`), so that like is compared with like.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import ClassVar

from peft import PeftModel

from unlearn.attacks.challenges.prompted import Prompted
from unlearn.attacks.panel import Panel
from unlearn.corpus.records import Message, Record
from unlearn.lm.likelihood import record_nlls

AROUND = Prompted("paraphrase")


@dataclass(frozen=True)
class Paraphrased:
    """All forget and holdout records that bring wordings, asked for in them."""

    personal: ClassVar[bool] = False

    def __call__(self, model: PeftModel, panel: Panel, pad_id: int) -> Mapping[str, float]:
        """NLL of each record's answer, the mean of its wordings: who asks can't tell which of them does best."""
        asked = _wordings(panel)
        if not asked:
            return AROUND(model, panel, pad_id)
        ways = [(record.id, e) for record in asked for e in panel.encode_what_fits([record])]
        nlls = record_nlls(model, [replace(e, id=str(number)) for number, (_, e) in enumerate(ways)], pad_id)
        found: dict[str, list[float]] = {}
        for number, (record, _) in enumerate(ways):
            found.setdefault(record, []).append(nlls[str(number)])
        return {record: fmean(mine) for record, mine in found.items()}

    def forwards(self, panel: Panel) -> int:
        """One for each wording; else one for each record."""
        return len(_wordings(panel)) or AROUND.forwards(panel)


def _wordings(panel: Panel) -> list[Record]:
    """Each record once in each of its wordings; nothing if one side brings none."""
    sides = [[w for record in side for w in _reworded(record)] for side in (panel.forget, panel.holdout)]
    return [*sides[0], *sides[1]] if all(sides) else []


def _reworded(record: Record) -> list[Record]:
    if record.messages is None:
        return [replace(record, prompt=wording) for wording in record.paraphrases]
    last = max(place for place, turn in enumerate(record.messages) if turn.role == "assistant")
    if last == 0:
        return []
    before, asked, after = record.messages[: last - 1], record.messages[last - 1], record.messages[last:]
    return [replace(record, messages=(*before, Message(asked.role, w), *after)) for w in record.paraphrases]
