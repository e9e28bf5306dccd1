"""The wire: what goes in and out as JSON, with examples. Not the tables, not the views."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from unlearn.recipes import TrainingRecipe

RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?([Zz]|[+-]\d{2}:?\d{2})", re.ASCII)


def _spelled(value: object) -> object:
    if isinstance(value, datetime) or (isinstance(value, str) and RFC3339.fullmatch(value)):
        return value
    raise ValueError(
        "give date, time and zone, such as 2026-03-01T09:30:00Z"
    )  # seconds since 1970 look like any number


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("this moment lies outside of the years 1 to 9999 in UTC") from None


Moment = Annotated[AwareDatetime, BeforeValidator(_spelled), AfterValidator(_in_utc)]
"""A moment as RFC 3339 spells it (seconds may be missing), in UTC from here on."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=512)]
PathText = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
RequestState = Literal["pending", "in_progress", "completed", "needs_review", "cancelled", "rejected"]
JobKind = Literal["erasure", "shadows"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]
Regulation = Literal["gdpr", "ccpa"]
ErrandState = Literal["waiting", "done", "failed", "overtaken"]
Order = Literal["created", "due"]
Ground = Literal[
    "freedom_of_expression",
    "legal_obligation",
    "public_health",
    "archiving_or_research",
    "legal_claims",
    "unfounded_or_excessive",
    "exception_of_the_ccpa",
    "not_the_subject",
]
Scope = Literal["requests:write", "requests:read", "adapters:write", "review", "audit", "admin"]
ExternalId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
ReturnGround = Literal["consent", "contract", "legal_obligation", "legal_claims", "not_the_subject"]
CorpusKind = Literal["train", "holdout"]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Out(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class AllowErased(_In):
    """On which ground records may come in that were erased before."""

    ground: ReturnGround = Field(examples=["consent"])
    reason: Reason = Field(description="Why, for people; kept with the adapter.", examples=["signed up again on 3 May"])


class AdapterIn(_In):
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
        default=None, description="Lets records in that were erased before; without it they are refused."
    )


class StoredCorpus(_Out):
    """A corpus that the service keeps, sealed, of a version."""

    kind: CorpusKind
    sha256: str = Field(description="Of its JSON Lines.", examples=["51d0…"])
    records: int = Field(examples=[517])


class Version(_Out):
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


class AdapterOut(_Out):
    """A registered adapter."""

    id: str = Field(examples=["adp_51c0e1d2b3a4958677869504"])
    name: str = Field(examples=["support-assistant"])
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


class SubjectIn(_In):
    """A person, by one identity. It is hashed at the door and never stored."""

    type: Text = Field(description="Kind of identity.", examples=["customer"])
    value: Text = Field(description="The identity.", examples=["c-0017"])

    @property
    def spelled(self) -> str:
        """As the desk takes it."""
        return f"{self.type}:{self.value}"


class SubjectOf(_In):
    """A person to look up."""

    subject: SubjectIn


class RequestIn(_In):
    """A deletion request."""

    subject: SubjectIn
    regulation: Regulation = Field(default="gdpr", description="Whose clock runs.")
    received_at: Moment | None = Field(
        default=None, description="When you got it; now, if you say nothing.", examples=["2026-03-01T09:30:00Z"]
    )
    external_id: ExternalId | None = Field(default=None, description="What you call it.", examples=["ticket-4711"])


class BatchIn(_In):
    """Several deletion requests."""

    requests: list[RequestIn] = Field(min_length=1, max_length=50)


class SearchIn(_In):
    """Which requests to find."""

    subject: SubjectIn | None = Field(default=None, description="Only this person's.")
    state: RequestState | None = None
    due_before: Moment | None = Field(default=None, description="Due before this moment, and not ended.")
    adapter: Name | None = Field(default=None, description="With a job on this adapter.")
    held: bool | None = Field(default=None, description="Under a legal hold, or not.")
    order: Order = Field(default="created", description="The newest first, or the most urgent.")
    limit: int = Field(default=50, ge=1, le=200)
    after: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,64}$")] | None = Field(
        default=None, description="`next` of the page before."
    )


class ReasonIn(_In):
    """Why, in writing. It is kept with the request; name nobody in it."""

    reason: Reason = Field(examples=["Court order 12/2026 asks us to keep the file."])


class RejectIn(ReasonIn):
    """Why a request is rejected."""

    ground: Ground = Field(description="The legal ground.", examples=["legal_claims"])


class RetryIn(_In):
    """How to try again."""

    policy: dict[str, Any] | None = Field(
        default=None,
        description="Used in the place of the adapter's policy.",
        examples=[{"ladder": [{"method": "retrain"}]}],
    )


class RollbackIn(_In):
    """Which version is to serve."""

    version: int = Field(ge=1, le=2**31 - 1, examples=[1])
    reopen: bool = Field(default=False, description="Open the requests again that later versions fulfilled.")


class KeyIn(_In):
    """A key to make."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(examples=["ticket system"])
    scopes: list[Scope] = Field(min_length=1, max_length=6, examples=[["requests:write", "requests:read"]])
    expires_at: Moment | None = Field(default=None, description="When it ends; never, if you say nothing.")


class KeyOut(_Out):
    """A key, without its secret."""

    id: str = Field(examples=["51c0e1d2b3a49586"])
    controller: str = Field(description="Whose it is.", examples=["default"])
    name: str
    scopes: list[Scope]
    created_at: datetime
    created_by: str = Field(examples=["operator"])
    expires_at: datetime | None
    revoked_at: datetime | None


class KeyMade(KeyOut):
    """A key as it is made."""

    token: str = Field(description="Shown this once.", examples=["unl_51c0e1d2b3a49586_…"])


class EndpointIn(_In):
    """An address to tell."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=2000)] = Field(
        description="HTTPS, and in no private network.", examples=["https://privacy.example.com/hooks/unlearn"]
    )


class EndpointOut(_Out):
    """An address that is told what becomes of requests."""

    id: str = Field(examples=["end_51c0e1d2b3a4958677869504"])
    url: str
    created_at: datetime
    created_by: str = Field(examples=["key:51c0e1d2b3a49586"])
    old_secret_until: datetime | None = Field(description="Until when the secret of before signs as well.")
    disabled_at: datetime | None
    disabled_reason: str | None = Field(description="Why nothing is sent there any more.")


class RotateIn(_In):
    """How to change a secret."""

    overlap_hours: int = Field(
        default=24,
        ge=0,
        le=168,
        strict=True,
        description="How long the old secret signs beside the new one; 0 if it leaked.",
    )


class EndpointMade(EndpointOut):
    """An address with a new secret."""

    secret: str = Field(description="Signs the messages; shown this once.", examples=["whsec_…"])


class MessageOut(_Out):
    """A message to an address or a hook, and how it went."""

    id: str = Field(description="The same on every attempt (`webhook-id`).", examples=["msg_51c0e1d2b3a4958677869504"])
    kind: Literal["callback", "opendsr", "deploy"]
    target: str = Field(description="The address's id, or the hook's name.")
    event: str = Field(examples=["request.completed"])
    about: str = Field(description="Id of the request or the adapter.")
    state: ErrandState
    attempts: int
    next_at: datetime | None = Field(description="When it is tried next.")
    last_error: str | None
    created_at: datetime
    ended_at: datetime | None


class MessagePage(BaseModel):
    """A page of messages, the newest first."""

    items: list[MessageOut]
    next: str | None = Field(description="`after` of the next page; none on the last.")


class TouchedOut(_Out):
    """An adapter that learned from the person, or is compared with records of theirs."""

    adapter: str = Field(examples=["support-assistant"])
    records: int = Field(description="Train records that name the person; 0 if the holdout alone does.", examples=[20])
    erased_at: datetime | None = Field(description="When they were erased from it, if they were.")


class ProgressOut(_Out):
    """Where a job is."""

    stage: str = Field(examples=["erasing"])
    step: int = Field(examples=[12])
    steps: int = Field(description="0 in stages without steps.", examples=[20])


class JobShort(_Out):
    """A job as its request shows it."""

    id: str = Field(examples=["job_77aa01b2c3d4e5f60718293a"])
    adapter: str = Field(examples=["support-assistant"])
    state: JobState
    verdict: str | None = Field(
        description="The request's own, where several share the job; its report is about all of them.",
        examples=["released"],
    )
    progress: ProgressOut | None
    records: int = Field(description="Train records that name the subject.", examples=[20])
    findings: list[dict[str, Any]] | None = Field(
        default=None, description="What the gates found of this subject alone, where several requests share the job."
    )


class RequestOut(_Out):
    """A deletion request and its jobs."""

    id: str = Field(examples=["req_0b1c2d3e4f5061728394a5b6"])
    external_id: str | None = Field(description="What you call it.")
    state: RequestState
    subject_hash: str = Field(description="Keyed hash of the identity.", examples=["6b1f…"])
    regulation: Regulation
    submitted_by: str = Field(description="Who submitted it.", examples=["key:51c0e1d2b3a49586"])
    received_at: datetime = Field(description="When you got it.")
    due_at: datetime = Field(description="When it is to be answered.")
    confirm_by: datetime | None = Field(description="When its receipt is to be confirmed (ccpa).")
    extended_at: datetime | None
    extension_reason: str | None
    held_at: datetime | None = Field(description="Since when it is under a legal hold.")
    hold_reason: str | None
    decision: dict[str, Any] | None = Field(description="What a person decided: kind, reason, ground, by, at.")
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    jobs: list[JobShort]


class RequestPage(BaseModel):
    """A page of requests, the newest first."""

    items: list[RequestOut]
    next: str | None = Field(description="`after` of the next page; none on the last.")


class SupersededVersion(_Out):
    """A version that still knew whom a job erased."""

    number: int = Field(examples=[1])
    sha256: str = Field(examples=["9f2c…"])
    quarantined_at: datetime | None
    purge_after: datetime | None
    purged_at: datetime | None = Field(description="When it and its corpora were purged.")


class JobOut(_Out):
    """One erasing on one adapter, or the making of its shadow table."""

    id: str = Field(examples=["job_77aa01b2c3d4e5f60718293a"])
    kind: JobKind
    adapter: str = Field(examples=["support-assistant"])
    request_ids: list[str]
    state: JobState
    attempt: int = Field(description="How often it was started.", examples=[1])
    verdict: str | None = Field(description="released, refused or inconclusive.", examples=["released"])
    progress: ProgressOut | None
    mlflow_run_id: str | None
    error: str | None = Field(description="Why the last attempt broke.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    report: dict[str, Any] | None = Field(description="What was measured, and each gate's finding (unlearn/report/v1).")
    erased: dict[str, list[str]] | None = Field(
        description="Ids of the records that left each corpus; whoever keeps the source must erase them there.",
        examples=[{"train": ["r-0017-03"], "holdout": []}],
    )
    superseded: list[SupersededVersion] = Field(description="The versions before, the newest first.")
    purged_at: datetime | None = Field(
        description="When the job's own files, and a candidate that nobody released, were purged."
    )


class Health(BaseModel):
    """The service answers."""

    status: Literal["ok"] = "ok"
    version: str = Field(examples=["0.1.0"])


class EntryOut(_Out):
    """One entry of the ledger; of another company's, place and hash alone."""

    seq: int = Field(description="Its place, from 1.", examples=[1])
    hash: str = Field(description="SHA-256 of its leaf (RFC 6962, section 2.1), in hexadecimal.", examples=["6b1f…"])
    at: str | None = Field(description="When, as RFC 3339.", examples=["2026-03-01T12:00:00.000Z"])
    action: str | None = Field(description="What happened.", examples=["request_accepted"])
    facts: dict[str, Any] | None = Field(description="Ids, and names of subjects under a salt.")


class EntryPage(BaseModel):
    """Entries of the ledger in order."""

    items: list[EntryOut]
    next: int | None = Field(description="`after` of the next page; null on the last.")


class InclusionOut(BaseModel):
    """That an entry is in the ledger (RFC 6962, section 2.1.1)."""

    seq: int = Field(description="The entry; its leaf index is one less.")
    size: int = Field(description="Of the tree: entries.")
    path: list[str] = Field(description="Hashes from the leaf to the root, in hexadecimal.")


class ConsistencyOut(BaseModel):
    """That the ledger only grew (RFC 6962, section 2.1.2)."""

    old: int = Field(description="Entries then.")
    new: int = Field(description="Entries now.")
    path: list[str] = Field(description="Hashes, in hexadecimal.")


class LedgerKeyOut(BaseModel):
    """A key that signs the ledger's checkpoints, or did."""

    key: str = Field(description="C2SP verifier key.", examples=["privacy.example.com/ledger+1a2b3c4d+AQ…"])
    pem: str = Field(description="The public key as PEM.")
    added_at: str = Field(description="When the ledger heard of it, as RFC 3339.")
    retired_at: str | None = Field(description="From when on it signs no more.")
