"""The figures of an adapter version, and of one moment in a loop: plain numbers that guards judge and reports show.

Knows no torch, no model and no threshold. People's names are keys of a grouping in memory; `as_report` gives
numbers alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any, Literal

from scipy import stats

UNREADABLE = "leaves a record to forget without a finite NLL"
"""Why a challenge was left out that spared the never seen: no reason to pass."""


def in_form(form: str) -> str:
    """Name of the loss attack in a format of fewer bits."""
    return f"loss in {form}"


@dataclass(frozen=True)
class Group:
    """One part of the records, measured.

    Attributes:
        nlls: mean NLL of each record's scored tokens, nats per token, by record id.
        person: the person of each record, by record id; the unit that intervals count.
    """

    nlls: Mapping[str, float]
    person: Mapping[str, str]

    @property
    def mean(self) -> float:
        """Mean over records, nats per token."""
        return fmean(self.nlls.values())

    def person_means(self) -> dict[str, float]:
        """Mean over each person's records, nats per token."""
        people: dict[str, list[float]] = {}
        for record, nll in self.nlls.items():
            people.setdefault(self.person[record], []).append(nll)
        return {person: fmean(nlls) for person, nlls in people.items()}


@dataclass(frozen=True)
class Membership:
    """What one membership attack found: forget records (as members) against the audit half (non-members).

    Attributes:
        auc: probability that a forget record scores above an audit record; 0.5 is indistinguishable.
        interval: 90 % interval of the AUC, or None with fewer than 20 records on a side.
        p_value: two-sided Mann-Whitney test of "the two score alike".
        members, non_members: records on each side.
        tpr: share of the forget records above all but this share of the audit's, by that share ("0.1", "0.01", ...);
            without those of which fewer than ten audit records would be let through.
    """

    auc: float
    interval: tuple[float, float] | None
    p_value: float
    members: int
    non_members: int
    tpr: Mapping[str, float] = field(default_factory=dict)

    def as_report(self) -> dict[str, Any]:
        """The same as JSON types."""
        return {
            "auc": self.auc,
            "interval_90": None if self.interval is None else list(self.interval),
            "p_value": self.p_value,
            "members": self.members,
            "non_members": self.non_members,
            "tpr_at_fpr": dict(self.tpr),
        }


@dataclass(frozen=True)
class SubjectTest:
    """How far the forgotten people lie, in one signal, from where adapters have them that never saw them.

    Attributes:
        shift: mean over people of the mean over their records, in standard deviations of one record among such
            adapters; positive: towards members.
        error: its standard error.
        freedom: degrees of freedom behind the error.
        null: "shadows": adapters trained without the person; "population": never-seen people under the same adapter.
        nulls: shadows a person, or never-seen people.
        people, records: forgotten people, and those of their records that are long enough.
    """

    shift: float
    error: float
    freedom: float
    null: Literal["shadows", "population"]
    nulls: int
    people: int
    records: int

    def interval(self, alpha: float) -> tuple[float, float]:
        """Ends of two one-sided tests at level `alpha` each."""
        half = float(stats.t.ppf(1 - alpha, self.freedom)) * self.error
        return self.shift - half, self.shift + half

    @property
    def p_value(self) -> float:
        """One-sided, of "no nearer to members than never seen"."""
        return float(stats.t.sf(self.shift / self.error, self.freedom))

    def as_report(self) -> dict[str, Any]:
        """The same as JSON types, with a 90 % interval."""
        return asdict(self) | {"interval_90": list(self.interval(0.05)), "p_value": self.p_value}


@dataclass(frozen=True)
class Expected:
    """A figure as adapters have it that never saw the person.

    Attributes:
        mean: over such adapters.
        error: of one more of them around it.
        freedom: degrees of freedom behind the error.
    """

    mean: float
    error: float
    freedom: float


@dataclass(frozen=True)
class Measurement:
    """One adapter version on one split: forget records, the retain check and the audit half of the holdout.

    Attributes:
        forget, retain, holdout: NLLs, record by record.
        membership: what each attack found, by its name; without an attack that had nothing to score.
        scores: each attack's scores of the forget and the holdout records that are long enough, by record id.
        unscored: attacks that could score no record of one side: with what they add, none fits the model's context.
        subject_tests: where the forgotten people lie among the never seen, by attack; without what can't be tested.
        alarms: forget records that stand out of their own shadows, or without a table of the holdout, on the members'
            side, by Holm's rule; None where too few records of the holdout could ever raise one.
        unscorable: forget records that are too short for any attack.
        queries: log10 of the tries after which a forget record comes out verbatim with an even chance, by record id; in
            the deployed format where that is sooner.
        expected_queries: the same of an adapter that never saw the person, as far as anything says that.
        verbatim: forget records of eight tokens and more that greedy decoding says word for word, in full precision or
            the deployed format, and that no adapter says which never saw the person, as far as anything says that.
        challenges: NLLs of forget and of never-seen records under what might bring them back, by challenge and record
            id; not every challenge takes every record.
        expected_falls: by how much a challenge lowers a person's NLL, beyond never-seen people's, in adapters that
            never saw her, nats per token; by challenge and person, as far as a shadow table says that.
        skipped: challenges that were left out, and why.
        general: plain sentences about nobody.
        neighbours: ids of the retained records that read most like the forget set.
        extras: what was measured on request, by name and figure.
        retained: where the people who stay lie among the never seen, in the reference attack.
        retain_kl_nats: mean KL from the adapter before the erasing on the retain check, nats per token.
        blind: what a classifier of texts alone tells of learned and never seen people; None if there are too few.
        truth_ratios: how likely wrong answers are beside the right one, by id of the forget records that are questions;
            measured only beside a control.
        min_40_auc: AUC of Min-40 %, which MUSE's PrivLeak is made of (arXiv 2407.06460); None as for `membership`.
        people: the same of each person alone, by name, where several are to be forgotten; a record that names two of
            them counts for the first.
    """

    forget: Group
    retain: Group
    holdout: Group
    membership: Mapping[str, Membership]
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    unscored: tuple[str, ...] = ()
    subject_tests: Mapping[str, SubjectTest] = field(default_factory=dict)
    alarms: tuple[str, ...] | None = None
    unscorable: int = 0
    queries: Mapping[str, float] = field(default_factory=dict)
    expected_queries: Mapping[str, float] = field(default_factory=dict)
    verbatim: tuple[str, ...] = ()
    challenges: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    expected_falls: Mapping[str, Mapping[str, Expected]] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    general: Group | None = None
    neighbours: tuple[str, ...] = ()
    extras: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    retained: SubjectTest | None = None
    retain_kl_nats: float | None = None
    blind: Membership | None = None
    truth_ratios: Mapping[str, float] = field(default_factory=dict)
    min_40_auc: float | None = None
    people: Mapping[str, Measurement] = field(default_factory=dict)

    def as_report(self) -> dict[str, Any]:
        """Aggregates and per-record NLLs by record id; NLLs in nats per token."""
        return {
            "forget_nll_nats": self.forget.mean,
            "retain_nll_nats": self.retain.mean,
            "holdout_nll_nats": self.holdout.mean,
            "membership": {name: found.as_report() for name, found in self.membership.items()},
            "subject_tests": {name: found.as_report() for name, found in self.subject_tests.items()},
            "alarms": None if self.alarms is None else list(self.alarms),
            "unscorable": self.unscorable,
            "attacks_unscored": list(self.unscored),
            "blind": None if self.blind is None else self.blind.as_report(),
            "log10_queries": dict(self.queries),
            "verbatim": list(self.verbatim),
            "challenges": {
                name: {
                    "forget_nll_nats": _mean(nlls, self.forget.nlls),
                    "holdout_nll_nats": _mean(nlls, self.holdout.nlls),
                    "null": "shadows" if self.expected_falls.get(name) else "population",
                }
                for name, nlls in self.challenges.items()
            },
            "challenges_skipped": dict(self.skipped),
            "general_nll_nats": None if self.general is None or not self.general.nlls else self.general.mean,
            "neighbours_nll_nats": _mean(self.retain.nlls, self.neighbours) if self.neighbours else None,
            "extras": {name: dict(found) for name, found in self.extras.items()},
            "retained": None if self.retained is None else self.retained.as_report(),
            "retain_kl_nats": self.retain_kl_nats,
            "records": {
                "forget": len(self.forget.nlls),
                "retain": len(self.retain.nlls),
                "holdout": len(self.holdout.nlls),
            },
            "forget_record_nlls_nats": dict(self.forget.nlls),
        }

    def metrics(self) -> dict[str, float]:
        """The aggregates as flat names, for a tracker."""
        flat = {
            "forget_nll_nats": self.forget.mean,
            "retain_nll_nats": self.retain.mean,
            "holdout_nll_nats": self.holdout.mean,
        }
        if self.queries:
            flat["extraction.lowest_log10_queries"] = min(self.queries.values())
        for name, nlls in self.challenges.items():
            flat[f"challenges.{name}.forget_nll_nats".replace(":", "_")] = _mean(nlls, self.forget.nlls)
        for name, found in self.extras.items():
            flat |= {f"{name}.{figure}": value for figure, value in found.items()}
        if self.retain_kl_nats is not None:
            flat["retain_kl_nats"] = self.retain_kl_nats
        flat |= {f"subjects.{name}.shift_sd": found.shift for name, found in self.subject_tests.items()}
        return flat | {f"membership.{name}.auc": found.auc for name, found in self.membership.items()}


def _mean(nlls: Mapping[str, float], records: Iterable[str]) -> float:
    return fmean(nlls[record] for record in records if record in nlls)


@dataclass(frozen=True)
class Pulse:
    """One moment of an erasing loop: the weights as they are, before the step's update.

    Attributes:
        step: from 1; steps that were rolled back count.
        steps: most steps the rung may take.
        seconds: since the loop began.
        loss: what the step would minimise.
        gradient_norm: global norm before clipping; None at the last look, where no gradient is taken.
        forget_nll_nats: mean over the forget set, each record as it was last seen, nats per token.
        gap_nats: mean of target minus NLL over the forget set; positive: still too likely. None without targets.
        absolute_gap_nats: mean of its absolute value; None without targets or before every record was seen.
        retain_kl_nats: mean KL to the original adapter over the retain records of the window, nats per token.
        retain_rise_nats: mean rise of the same records' NLL over the original adapter's, paired.
        retain_nll_nats: the original adapter's mean NLL on the same records.
        general_rise_nats: rise of the NLL on the probe of general text; None between its looks.
        general_nll_nats: the original adapter's NLL on the probe; None without one.
        window_records: retain records behind the window's means.
    """

    step: int
    steps: int
    seconds: float
    loss: float
    gradient_norm: float | None
    forget_nll_nats: float
    gap_nats: float | None
    absolute_gap_nats: float | None
    retain_kl_nats: float
    retain_rise_nats: float
    retain_nll_nats: float
    general_rise_nats: float | None
    general_nll_nats: float | None
    window_records: int
