"""What a shadow table keeps of a test shadow: it is audited as if the people it never saw had asked to be forgotten.

Every attack's score of their records and of the holdout's, log p of each of their tokens, and how far each challenge
moves theirs beyond the never seen of the holdout: what an erasing is later held against. Knows models and records;
knows no request and no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from peft import PeftModel

from unlearn.attacks import ATTACKS
from unlearn.attacks.base import Signals
from unlearn.attacks.challenges import CHALLENGES
from unlearn.attacks.null import SERVED, under
from unlearn.attacks.panel import Panel, panel
from unlearn.corpus.general import general_texts
from unlearn.corpus.records import Corpus
from unlearn.corpus.splits import split
from unlearn.lm.base import Base
from unlearn.lm.likelihood import UNSAYABLE, readings
from unlearn.measurement import in_form
from unlearn.policy import AuditPolicy, Policy

TOO_DEAR = ("suffix", "suffix-50")
"""Challenges that cost thousands of passes a record; never-seen people stay their only measure."""


def score_names(policy: AuditPolicy) -> list[str]:
    """Names of what is kept, in its order."""
    served_in = () if policy.deployed is None else (in_form(policy.deployed),)
    return [*ATTACKS, SERVED, *served_in, *(under(name) for name in policy.tried if name not in TOO_DEAR)]


@dataclass(frozen=True)
class ShadowReader:
    """Reads test shadows of one adapter.

    Attributes:
        everybody: all train records as if they were to be forgotten, and all of the holdout.
        train, holdout: the corpora.
        policy: the challenges, the decoding, and the seed of the halves.
        pad_id: token that pads.
    """

    everybody: Panel
    train: Corpus
    holdout: Corpus
    policy: Policy
    pad_id: int

    def __call__(
        self, model: PeftModel, left_out: Collection[str]
    ) -> tuple[dict[str, dict[str, float]], dict[str, np.ndarray]]:
        """Scores of the records that name somebody left out, and of the holdout's; NaN where there is none.

        And log p of their tokens: float32 [tokens], nats.

        Args:
            model: a shadow.
            left_out: subjects it never saw.
        """
        policy, gone = self.policy, set(left_out)
        forget = [r for r in self.train.records if not gone.isdisjoint(r.subjects)]
        asked = self.everybody.of(forget, self.everybody.retain, self.holdout.records, gone.__contains__)
        read = readings(model, asked.attacked, self.pad_id, policy.decoding)
        signals = Signals(read, asked.reference, asked.zlib_bytes)
        scores = {name: attack(signals) for name, attack in ATTACKS.items()}
        scores[SERVED] = {r: max(UNSAYABLE, float(one.served.sum(dtype=np.float64))) for r, one in read.items()}
        rounded: Mapping[str, float] = {}
        if (deployed := policy.audit.deployed) is not None:
            rounded = CHALLENGES[deployed](model, asked, self.pad_id)
            scores[in_form(deployed)] = {record: -rounded[record] for record in signals.scorable}
        plain = {record: one.nll for record, one in read.items()}
        names = score_names(policy.audit)
        for name in policy.audit.tried:
            if under(name) in names:
                scores[under(name)] = self._falls(model, name, gone, plain, rounded if name == deployed else None)
        return (
            {record: {name: scores[name].get(record, math.nan) for name in names} for record in read},
            {record: np.maximum(one.log_probs, UNSAYABLE) for record, one in read.items()},
        )

    def _falls(
        self,
        model: PeftModel,
        name: str,
        gone: set[str],
        plain: Mapping[str, float],
        known: Mapping[str, float] | None,
    ) -> dict[str, float]:
        """How far a challenge lowers the NLL of each record left out, beyond the mean of the holdout's audit half.

        Args:
            model: a shadow.
            name: the challenge's.
            gone: subjects left out.
            plain: NLL of each record without it.
            known: the same under it, where that was read before.
        """
        retain = self.policy.retain
        seed, checked = self.policy.seed, retain.check_records
        parts = split(self.train, self.holdout, gone.__contains__, pool_records=1, check_records=checked, seed=seed)
        asked = self.everybody.of(parts.forget, parts.retain_check, parts.audit, gone.__contains__)
        challenge = CHALLENGES[name]
        found: dict[str, float] = {}
        for panel_of_some in asked.one_by_one() if challenge.personal else (asked,):
            if known is None:
                nlls = challenge(model, panel_of_some, self.pad_id)
            else:
                nlls = {record: known[record] for record in panel_of_some.reference}
            never = [plain[r.id] - nlls[r.id] for r in parts.audit if r.id in nlls]
            if never and all(map(math.isfinite, nlls.values())):
                level = fmean(never)
                found |= {r.id: plain[r.id] - nlls[r.id] - level for r in panel_of_some.forget if r.id in nlls}
        return found


def shadow_reader(base: Base, train: Corpus, holdout: Corpus, policy: Policy) -> ShadowReader:
    """Who reads the test shadows of an adapter.

    Args:
        base: with no adapter attached at the time.
        train, holdout: the adapter's corpora.
        policy: under which its erasings will be judged.

    Raises:
        CorpusError: a record the model can't take.
    """
    some = train.records[: policy.retain.check_records]
    general = general_texts(policy.governors.general_text)
    everybody = panel(base, train.records, some, holdout.records, policy.decoding, general=general)
    return ShadowReader(everybody, train, holdout, policy, int(base.tokenizer.pad_token_id))
