"""The menus of governors and gates. A new one is a file in this room, a line here, and a test."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from unlearn.guards.alarm import AlarmGate
from unlearn.guards.among_others import alone, among_others, own_verdict
from unlearn.guards.base import WORSE, Finding, Gate, Governor, Intervention, Verdict, attacks_for, verdict
from unlearn.guards.budget import Budget
from unlearn.guards.extraction import ExtractionGate
from unlearn.guards.general_text import GeneralText
from unlearn.guards.membership import MembershipGate
from unlearn.guards.non_finite import NonFinite
from unlearn.guards.overshoot import Overshoot
from unlearn.guards.retain_drift import RetainDriftGate
from unlearn.guards.retain_kl import RetainKl
from unlearn.guards.retain_rise import RetainRise
from unlearn.guards.robustness import RobustnessGate
from unlearn.guards.sequence_drift import SequenceDriftGate
from unlearn.policy import GovernorPolicy, Policy

Lineage = Sequence[Mapping[str, Any]]
"""Erasures of an adapter since its last exact fit, the one under judgement the last."""


SPENT = 0.75
"""Share of what is left of the level that each erasing spends: the first decides most cases, few come to a third."""


def level(policy: Policy, before: int) -> float:
    """Level of an erasing after so many others: three quarters of what they left; all together never exceed alpha."""
    return policy.gates.membership_alpha * SPENT * (1 - SPENT) ** before


GATES: Mapping[str, Callable[[Policy, Lineage, int], Gate]] = MappingProxyType(
    {
        "membership": lambda policy, lineage, before: MembershipGate(
            margin=policy.gates.membership_margin_sd,
            alpha=level(policy, before) if lineage else policy.gates.membership_alpha,
            attacks=policy.gates.membership_attacks,
            on_records=policy.gates.record_attacks,
            deployed=policy.audit.deployed,
            blind_margin=policy.gates.blind_auc_margin,
            exact=not lineage,
            refusing=policy.gates.membership_alpha,
        ),
        "alarm": lambda policy, lineage, before: AlarmGate(),
        "extraction": lambda policy, lineage, before: ExtractionGate(
            policy.gates.extraction_queries, policy.gates.extraction_share, exact=not lineage
        ),
        "retain_drift": lambda policy, lineage, before: RetainDriftGate(
            policy.gates.retain_drift, policy.gates.retain_drift_floor_nats
        ),
        "robustness": lambda policy, lineage, before: RobustnessGate(
            policy.gates.recovery,
            policy.gates.recovery_margin,
            alpha=level(policy, before),
            refusing=policy.gates.membership_alpha,
            exact=not lineage,
        ),
        "sequence_drift": lambda policy, lineage, before: SequenceDriftGate(policy.sequence.retain_drift, lineage),
    }
)
"""By name: (policy, lineage, methods that were judged before for the same people, in this job and earlier) -> gate."""

GOVERNORS: Mapping[str, Callable[[GovernorPolicy], Governor]] = MappingProxyType(
    {
        "non_finite": lambda policy: NonFinite(),
        "overshoot": lambda policy: Overshoot(policy.overshoot_nats),
        "retain_kl": lambda policy: RetainKl(policy.retain_kl_nats),
        "retain_rise": lambda policy: RetainRise(policy.retain_rise, policy.retain_rise_floor_nats),
        "general_text": lambda policy: GeneralText(policy.general_text_rise),
        "budget": lambda policy: Budget(policy.seconds),
    }
)

__all__ = [
    "GATES",
    "GOVERNORS",
    "WORSE",
    "AlarmGate",
    "Budget",
    "ExtractionGate",
    "Finding",
    "Gate",
    "GeneralText",
    "Governor",
    "Intervention",
    "MembershipGate",
    "NonFinite",
    "Overshoot",
    "RetainDriftGate",
    "RetainKl",
    "RetainRise",
    "RobustnessGate",
    "SequenceDriftGate",
    "Verdict",
    "alone",
    "among_others",
    "attacks_for",
    "level",
    "own_verdict",
    "verdict",
]
