"""Deletion requests: submitted, found, decided, shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from api.schemas.base import In, Moment, Name, Out, Reason, Text
from api.schemas.jobs import ProgressOut
from unlearn.cases.clock import Regulation
from unlearn.cases.store.requests import Order
from unlearn.cases.views import JobState, RequestState

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
ExternalId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]


class SubjectIn(In):
    """A person, by one identity. It is hashed at the door and never stored."""

    type: Text = Field(description="Kind of identity.", examples=["customer"])
    value: Text = Field(description="The identity.", examples=["c-0017"])

    @property
    def spelled(self) -> str:
        """As the desk takes it."""
        return f"{self.type}:{self.value}"


class SubjectOf(In):
    """A person to look up."""

    subject: SubjectIn


class RequestIn(In):
    """A deletion request."""

    subject: SubjectIn
    regulation: Regulation = Field(default="gdpr", description="Whose clock runs.")
    received_at: Moment | None = Field(
        default=None, description="When you got it; now, if you say nothing.", examples=["2026-03-01T09:30:00Z"]
    )
    external_id: ExternalId | None = Field(default=None, description="What you call it.", examples=["ticket-4711"])


class BatchIn(In):
    """Several deletion requests."""

    requests: list[RequestIn] = Field(min_length=1, max_length=50)


class SearchIn(In):
    """Which requests to find."""

    subject: SubjectIn | None = Field(default=None, description="Only this person's.")
    state: RequestState | None = None
    due_before: Moment | None = Field(default=None, description="Due before this moment, and not ended.")
    adapter: Name | None = Field(default=None, description="With a job on this adapter.")
    held: bool | None = Field(default=None, strict=True, description="Under a legal hold, or not.")
    confirmed_late: bool | None = Field(
        default=None, strict=True, description="Receipt confirmed after `confirm_by`, or not."
    )
    order: Order = Field(default="created", description="The newest first, or the most urgent.")
    limit: int = Field(default=50, ge=1, le=200, strict=True)
    after: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,64}$")] | None = Field(
        default=None, description="`next` of the page before."
    )


class ReasonIn(In):
    """Why, in writing. It is kept with the request; name nobody in it."""

    reason: Reason = Field(examples=["Court order 12/2026 asks us to keep the file."])


class RejectIn(ReasonIn):
    """Why a request is rejected."""

    ground: Ground = Field(description="The legal ground.", examples=["legal_claims"])


class RetryIn(In):
    """How to try again."""

    policy: dict[str, Any] | None = Field(
        default=None,
        description="Used in the place of the adapter's policy.",
        examples=[{"ladder": [{"method": "retrain"}]}],
    )


class TouchedOut(Out):
    """An adapter that learned from the person, or is compared with records of theirs."""

    adapter: str = Field(examples=["support-assistant"])
    records: int = Field(description="Train records that name the person; 0 if the holdout alone does.", examples=[20])
    erased_at: datetime | None = Field(description="When they were erased from it, if they were.")


class JobShort(Out):
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


class RequestOut(Out):
    """A deletion request and its jobs."""

    id: str = Field(examples=["req_0b1c2d3e4f5061728394a5b6"])
    external_id: str | None = Field(description="What you call it.")
    state: RequestState
    subject_hash: str = Field(description="Keyed hash of the identity.", examples=["6b1f…"])
    regulation: Regulation
    submitted_by: str = Field(description="Who submitted it.", examples=["key:51c0e1d2b3a49586"])
    received_at: datetime = Field(description="When you got it.")
    due_at: datetime = Field(description="When it is to be answered.")
    confirm_by: datetime | None = Field(description="When its receipt is to be confirmed at the latest (ccpa).")
    confirmed_at: datetime = Field(description="When it was: the answer to its submission is the confirmation.")
    confirmed_late: bool = Field(description="Whether that was after `confirm_by`.")
    extended_at: datetime | None
    extension_reason: str | None
    held_at: datetime | None = Field(description="Since when it is under a legal hold.")
    hold_reason: str | None
    held_by: str | None = Field(
        description="A request of the same person under a legal hold, if it waits for that to be lifted."
    )
    decision: dict[str, Any] | None = Field(description="What a person decided: kind, reason, ground, by, at.")
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    jobs: list[JobShort]


class RequestPage(BaseModel):
    """A page of requests, the newest first."""

    items: list[RequestOut]
    next: str | None = Field(description="`after` of the next page; none on the last.")
