"""Adapters: registered, shown, rolled back."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from api.schemas.base import In, Out, PathText, Reason, Text
from unlearn.cases.views import CorpusKind, JobState
from unlearn.recipes import TrainingRecipe

ReturnGround = Literal["consent", "contract", "legal_obligation", "legal_claims", "not_the_subject"]


class AllowErased(In):
    """On which ground records may come in that were erased before."""

    ground: ReturnGround = Field(examples=["consent"])
    reason: Reason = Field(description="Why, for people; kept with the adapter.", examples=["signed up again on 3 May"])


class AdapterIn(In):
    """An adapter to register. Places are absolute paths or URLs, under an allowed root (UNLEARN_ROOTS)."""

    name: Text = Field(description="How requests and people call it.", examples=["support-assistant"])
    base: PathText = Field(description="Directory of the base model.", examples=["/models/base"])
    adapter: PathText = Field(description="Directory of the LoRA (safetensors).", examples=["/models/support-v3"])
    train: PathText = Field(description="Records that it learned (JSONL).", examples=["/data/train.jsonl"])
    holdout: PathText = Field(
        description="Records of the same kind that it never saw (JSONL).", examples=["/data/holdout.jsonl"]
    )
    policy: dict[str, Any] | None = Field(
        default=None,
        description="How to erase and what may be released; defaults where it says nothing.",
        examples=[
            {"ladder": [{"method": "calibrated"}, {"method": "retrain"}], "gates": {"membership_margin_sd": 3.0}}
        ],
    )
    recipe: TrainingRecipe | None = Field(
        default=None,
        description="How it was trained, in the place of a `recipe.json` beside the weights. Without either, nothing "
        "can be trained like it: the ladder must do without `retrain`, and there can be no shadow table.",
    )
    allow_erased: AllowErased | None = Field(
        default=None,
        description="Lets records in that were erased before, or name somebody whose deletion was completed and who "
        "came back; without it they are refused.",
    )


class StoredCorpus(Out):
    """A corpus that the service keeps, sealed, of a version."""

    kind: CorpusKind
    sha256: str = Field(description="Of its JSON Lines.", examples=["51d0…"])
    records: int = Field(examples=[517])


class Version(Out):
    """One immutable set of weights, with its corpora."""

    number: int = Field(examples=[2])
    sha256: str = Field(description="Of adapter_model.safetensors.", examples=["9f2c…"])
    config_sha256: str | None = Field(
        description="Of adapter_config.json; none of a version from before it was noted.", examples=["77d1…"]
    )
    path: str = Field(
        description="A directory, or a URL of the object store.", examples=["/home/unlearn/adapters/adp_51c0/v2.f1"]
    )
    job_id: str | None = Field(description="The job that made it; none for the first.", examples=["job_77aa"])
    made_from: int | None = Field(
        description="Number of the version it was made from; none for the first.", examples=[1]
    )
    created_at: datetime
    quarantined_at: datetime | None = Field(description="Since when it serves no more.")
    purge_after: datetime | None = Field(description="From when on it is to be purged.")
    purged_at: datetime | None = Field(description="When weights and corpora were purged.")
    corpora: list[StoredCorpus] = Field(description="None of a version from before corpora were kept.")


class AdapterOut(Out):
    """A registered adapter."""

    id: str = Field(examples=["adp_51c0e1d2b3a4958677869504"])
    name: str = Field(examples=["support-assistant"])
    served_as: str = Field(
        description="Its name in MLflow's registry and on vLLM servers: the same, but for companies beside the first "
        "one, whose adapters have the company's id and a dot before it.",
        examples=["support-assistant"],
    )
    base: str
    base_sha256: str
    train: str
    train_sha256: str
    train_records: int = Field(examples=[517])
    holdout: str
    holdout_sha256: str
    holdout_records: int = Field(examples=[369])
    policy: dict[str, Any]
    recipe: TrainingRecipe | None = Field(
        description="How it was trained; null if nobody said, or it was registered before that was kept."
    )
    shadows: JobState | None = Field(
        description="State of the job that makes its shadow table; null if none was asked."
    )
    created_at: datetime
    retired_at: datetime | None = Field(description="Since when it serves no more.")
    awaits: list[str] = Field(
        description="Requests that a restored backup took back; while there are any, no version of it serves."
    )
    current: Version = Field(description="The version that serves.")
    versions: list[Version] = Field(description="All versions, from the first.")


class RollbackIn(In):
    """Which version is to serve."""

    version: int = Field(ge=1, le=2**31 - 1, strict=True, examples=[1])
    reopen: bool = Field(
        default=False, strict=True, description="Open the requests again that later versions fulfilled."
    )
