"""The menu of gates. A new one is a file in this room, a line here, and a test."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from unlearn.guards.base import Finding, Gate, Verdict, verdict
from unlearn.guards.membership import MembershipGate
from unlearn.guards.retain_drift import RetainDriftGate
from unlearn.policy import GatePolicy

GATES: Mapping[str, Callable[[GatePolicy], Gate]] = MappingProxyType(
    {
        "membership": lambda policy: MembershipGate(policy.membership_auc_margin),
        "retain_drift": lambda policy: RetainDriftGate(policy.retain_drift, policy.retain_drift_floor_nats),
    }
)

__all__ = ["GATES", "Finding", "Gate", "MembershipGate", "RetainDriftGate", "Verdict", "verdict"]
