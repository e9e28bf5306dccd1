"""The policy: how to erase and what may be released. Plain data, read from YAML; knows no torch.

A policy names the methods to try in order, what is held on to, what the governors allow, and the gates'
thresholds. Every default is explained at its field; a key that is not known is an error, so that a typing mistake
never weakens a guard.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import Field, ValidationError, model_validator

from unlearn.errors import PolicyError
from unlearn.methods import Calibrated, Part, Retrain, Rung


class RetainPolicy(Part):
    """Which retained records the loop holds on to, and which it is checked on."""

    pool_records: int = Field(
        default=256, ge=1, description="Retain records the retain term draws from; bounds the job's cost."
    )
    neighbours: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of the pool that are the forget set's nearest neighbours (TF-IDF); the rest is random.",
    )
    check_records: int = Field(
        default=256, ge=1, description="Retain records, apart from the pool, on which drift is measured."
    )


class TargetPolicy(Part):
    """Where the counterfactual targets of the forget records come from."""

    shadow_folds: int = Field(
        default=6,
        ge=2,
        le=100,
        description="Fold adapters of a shadow table; each is trained without one part of the subjects.",
    )
    test_rounds: int = Field(
        default=6,
        ge=0,
        le=64,
        description="Rounds of test shadows of a shadow table; so many of them never saw a person. The gates need "
        "6; 0 leaves the holdout's people to compare with.",
    )
    test_parts: int = Field(
        default=3, ge=2, le=10, description="Test shadows of a round; each is trained without one part of the people."
    )
    shadows_at_registration: bool = Field(
        default=False, description="Whether registering an adapter queues the making of its shadow table."
    )


class GovernorPolicy(Part):
    """What the guards inside the loop allow."""

    every_steps: int = Field(
        default=5, ge=1, description="Steps between two looks of the governors; a good look makes a snapshot."
    )
    rollbacks: int = Field(
        default=3, ge=0, description="Times the loop may return to a snapshot before it ends at it instead."
    )
    retain_kl_nats: float = Field(
        default=0.10, gt=0, description="Largest mean KL to the original adapter on retained records, nats per token."
    )
    retain_rise: float = Field(
        default=0.05, gt=0, description="Largest rise of the retain NLL inside the loop, as a share."
    )
    retain_rise_floor_nats: float = Field(
        default=0.02, ge=0, description="A rise below this many nats per token is never too much."
    )
    overshoot_nats: float = Field(
        default=0.25, gt=0, description="How far past its targets the forget set may lie on the mean, nats per token."
    )
    general_text_rise: float = Field(
        default=0.05, gt=0, description="Largest rise of the NLL on the probe of general text, as a share."
    )
    general_text: Path | None = Field(
        default=None, description="Probe of general text, one passage a line; a small built-in one without."
    )
    seconds: float = Field(default=3600.0, gt=0, description="Longest that one rung may take.")


Gating = Literal["loss", "zlib", "min_k", "min_k_plus_plus", "reference", "error_zone"]
"""A membership attack on whole records that gates may lean on."""

Tokenwise = Literal["known_tokens", "lost_tokens"]
"""One on single tokens, which needs a shadow table."""

MEAN_NLL = frozenset({"loss", "zlib", "reference"})
"""Attacks that are a record's mean NLL, in other units or less what the base says."""


class GatePolicy(Part):
    """What may be released."""

    membership_margin_sd: float = Field(
        default=3.0,
        gt=0,
        description="How far the forgotten people may lie from where adapters have them that never saw them, on either "
        "side, in standard deviations of one record among such adapters; the whole interval must lie within.",
    )
    membership_alpha: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="Level of each one-sided test, of membership and of what challenges bring back, over all tries for "
        "the same people: each method, in this job and earlier ones, has three quarters of what those before it left; "
        "'retrain', which is exact, has the whole: who tries until one passes must not pass by chance.",
    )
    membership_attacks: tuple[Gating | Tokenwise, ...] = Field(
        default=("known_tokens", "lost_tokens"),
        min_length=1,
        description="Attacks that must each find nothing. One at least must be of another kind than 'loss', "
        "'zlib' and 'reference', which all read the mean NLL that erasing moves.",
    )
    record_attacks: tuple[Gating, ...] = Field(
        default=("loss", "min_k_plus_plus"),
        min_length=1,
        description="What takes the place of 'known_tokens' and 'lost_tokens' where no shadow table says how each "
        "token varies among adapters that never saw the people.",
    )
    blind_auc_margin: float = Field(
        default=0.20,
        gt=0,
        le=0.5,
        description="Without a shadow table the holdout stands for the never seen. If a classifier of texts alone "
        "tells it from the learned by an AUC of 0.5 + this, it can't; nor where an AUC of 0.9 can't be excluded.",
    )
    retain_drift: float = Field(
        default=0.05, gt=0, description="Largest rise of the retain NLL, as a share of its value before."
    )
    retain_drift_floor_nats: float = Field(
        default=0.01, ge=0, description="A rise below this many nats per token is never a drift."
    )
    extraction_queries: float = Field(
        default=1e6, ge=1, description="A record may come out verbatim with an even chance after this many tries..."
    )
    extraction_share: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="...or after this share of the tries that an adapter needs which never saw the person: what "
        "anybody can guess need not be forgotten.",
    )
    recovery: float = Field(
        default=0.10,
        gt=0,
        description="A challenge that surely undoes more of a person's forgetting than this share, beyond what it does "
        "where nobody learned of her, refuses the adapter.",
    )
    recovery_margin: float = Field(
        default=0.40,
        gt=0,
        description="Each challenge must surely undo less than this share; chosen so that nine in ten adapters that "
        "never saw the person pass.",
    )


class Decoding(Part):
    """How the adapter is served: what extraction is judged under."""

    temperature: float = Field(default=1.0, gt=0, description="Logits are divided by this.")
    top_k: int | None = Field(default=None, ge=1, description="Only so many of the likeliest tokens can be said.")
    top_p: float | None = Field(
        default=None, gt=0, le=1, description="Only the likeliest tokens that together reach this mass can be said."
    )


Form = Literal["int8", "int4", "nf4", "base-int8", "base-int4", "base-nf4"]
"""A format of fewer bits: the adapter merged and all rounded, or the base rounded and the adapter apart."""

Try = Literal[
    Form,
    "pruned-30",
    "pruned-50",
    "wanda-50",
    "wanda-2:4",
    "relearned-5",
    "relearned-20",
    "relearned-neighbours",
    "relearned-unrelated",
    "paraphrase",
    "affirmative",
    "role_play",
    "injected",
    "in_context",
    "reverse",
    "led",
    "suffix",
    "suffix-50",
]
"""A challenge: what might bring forgotten records back."""

OTHERWISE = ("base-int8", "base-int4", "base-nf4", "suffix-50")
"""Challenges that no preset has: a rounded base is another way to serve, a long search costs as much as all others."""

Extra = Literal["lowercase", "recall", "gradient_norm", "said", "exposure", "leaks", "two_models", "inverted"]
"""What is measured on request, and reported without a gate."""

PRESETS: Mapping[str, tuple[Try, ...]] = MappingProxyType(
    {
        "quick": (),
        "standard": ("int8", "int4", "nf4", "pruned-30", "relearned-5", "affirmative", "injected", "led"),
        "strict": tuple(name for name in get_args(Try) if name not in OTHERWISE),
    }
)
"""The challenges of each preset, the first the first to be tried when the budget is short."""


class AuditPolicy(Part):
    """How hard an adapter is tried before it may be released."""

    preset: Literal["quick", "standard", "strict"] = Field(
        default="standard", description="Which challenges are tried; `challenges` names others."
    )
    deployed: Form | None = Field(
        default=None, description="The format that is served, if it has fewer bits; always tried, whatever the budget."
    )
    challenges: tuple[Try, ...] | None = Field(
        default=None,
        description="Challenges to try, in the order that a short budget takes them; the preset's without.",
    )
    forwards: int | None = Field(
        default=None,
        ge=0,
        description="Most records that all challenges may put through the model, a backward pass counted as two; what "
        "does not fit is left out, and the report says so. None: no limit.",
    )

    extras: tuple[Extra, ...] | None = Field(
        default=None,
        description="What is measured beside the gates: attacks with passes of their own, what it says, exposure "
        "of identifying strings, sampled leaks, old and new model together, an inverter; all in `strict`, else none.",
    )

    @property
    def asked(self) -> tuple[Extra, ...]:
        """The extras that are measured."""
        if self.extras is not None:
            return self.extras
        return get_args(Extra) if self.preset == "strict" else ()

    @property
    def tried(self) -> tuple[Try, ...]:
        """The challenges in their order, the deployed format first."""
        named = PRESETS[self.preset] if self.challenges is None else self.challenges
        return tuple(dict.fromkeys((*(() if self.deployed is None else (self.deployed,)), *named)))


class SequencePolicy(Part):
    """What several erasings of one adapter, one after another, may do to it together."""

    retain_drift: float = Field(
        default=0.03,
        gt=0,
        description="Largest rise of the retain NLL since the last exact fit, as a share; past it only `retrain` "
        "is left.",
    )


GENTLER = Calibrated(steps=24, passes=None, learning_rate=2.5e-3, retain_weight=120.0)
"""The default ladder's second rung: twice the hold, smaller steps and more of them."""


class SchedulePolicy(Part):
    """When a job begins."""

    coalescing_seconds: float = Field(
        default=0.0,
        ge=0,
        le=7 * 86400,
        description="How long a new job of the adapter waits for further requests to share it; each keeps its verdict.",
    )


class RetentionPolicy(Part):
    """How long what was replaced can be brought back."""

    grace_days: float = Field(
        default=30.0,
        ge=0,
        le=365,
        description="Days that a version which serves no more stays in quarantine, with its corpora, before it is "
        "purged; until then a rollback to it is possible.",
    )


class Policy(Part):
    """One erasing: the methods to try, what they hold on to, and what may be released."""

    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of the split and of the order of records.")
    ladder: tuple[Rung, ...] = Field(
        default=(Calibrated(), GENTLER, Retrain()),
        min_length=1,
        description="Methods in the order they are tried; after each the gates decide whether to go on.",
    )
    retain: RetainPolicy = Field(default=RetainPolicy(), description="Which retained records are held on to.")
    targets: TargetPolicy = Field(default=TargetPolicy(), description="Where counterfactual targets come from.")
    governors: GovernorPolicy = Field(default=GovernorPolicy(), description="What the loop's guards allow.")
    decoding: Decoding = Field(default=Decoding(), description="How the adapter is served.")
    audit: AuditPolicy = Field(default=AuditPolicy(), description="How hard an adapter is tried.")
    sequence: SequencePolicy = Field(default=SequencePolicy(), description="What erasings may add up to.")
    gates: GatePolicy = Field(default=GatePolicy(), description="What may be released.")
    schedule: SchedulePolicy = Field(default=SchedulePolicy(), description="When a job begins.")
    retention: RetentionPolicy = Field(
        default=RetentionPolicy(), description="How long what was replaced can be brought back."
    )

    @model_validator(mode="before")
    @classmethod
    def _one_method(cls, data: Any) -> Any:
        """`method: X` is short for a ladder of that one method with its defaults."""
        if not isinstance(data, dict) or "method" not in data:
            return data
        if "ladder" in data:
            raise ValueError("'method' is short for a ladder of one; give 'method' or 'ladder', not both")
        rest = {key: value for key, value in data.items() if key != "method"}
        return rest | {"ladder": [{"method": data["method"]}]}

    @model_validator(mode="after")
    def _budgets_fit_together(self) -> Self:
        for name in ("membership_attacks", "record_attacks"):
            if MEAN_NLL.issuperset(attacks := getattr(self.gates, name)):
                raise ValueError(
                    f"gates.{name} names only {', '.join(map(repr, attacks))}, and erasing moves the mean NLL that it "
                    "reads; add one that reads something else, as 'min_k_plus_plus'"
                )
        halves = set(get_args(Tokenwise)).intersection(self.gates.membership_attacks)
        if len(halves) == 1:
            raise ValueError(
                f"gates.membership_attacks names {halves.pop()!r} alone, which sees what is known or what is lost and "
                "not both; name 'known_tokens' and 'lost_tokens'"
            )
        if self.gates.recovery_margin < self.gates.recovery:
            raise ValueError("gates.recovery_margin must not be below gates.recovery: nothing could pass and not fail")
        for number, rung in enumerate(self.ladder):
            if isinstance(rung, Retrain) and number + 1 < len(self.ladder):
                raise ValueError("'retrain' is exact and must be the last of the ladder; nothing can better it")
        return self


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice, of which YAML would quietly take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping at `node`."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key.value}' comes twice; keep one", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def read_policy(path: Path | None) -> Policy:
    """The policy in the YAML file at `path`, or the defaults without one.

    Raises:
        PolicyError: the file can't be read, is not YAML, or names an unknown key or an impossible value.
    """
    if path is None:
        return Policy()
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"policy '{path}' can't be read: {error}") from None
    except yaml.YAMLError as error:
        raise PolicyError(f"policy '{path}' is not YAML: {error}") from None
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"policy '{path}' holds a value that YAML can't give: {error}") from None
    return parse_policy({} if data is None else data, f"policy '{path}'")


def parse_policy(data: Any, where: str) -> Policy:
    """The policy in `data`; `where` names its origin in the message.

    Raises:
        PolicyError: an unknown key or an impossible value, each named.
    """
    try:
        return Policy.model_validate(data)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'top level'}: {e['msg']}" for e in error.errors())
        raise PolicyError(f"{where}: {faults}") from None
