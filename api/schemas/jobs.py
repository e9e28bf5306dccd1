"""Jobs: where they are and what came out."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from api.schemas.base import Out
from unlearn.cases.views import JobKind, JobState


class ProgressOut(Out):
    """Where a job is."""

    stage: str = Field(examples=["erasing"])
    step: int = Field(examples=[12])
    steps: int = Field(description="0 in stages without steps.", examples=[20])


class SupersededVersion(Out):
    """A version that still knew whom a job erased."""

    number: int = Field(examples=[1])
    sha256: str = Field(examples=["9f2c…"])
    quarantined_at: datetime | None
    purge_after: datetime | None
    purged_at: datetime | None = Field(description="When it and its corpora were purged.")


class JobOut(Out):
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
