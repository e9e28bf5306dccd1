"""Jobs: look at one, its progress and its report."""

from __future__ import annotations

from fastapi import APIRouter

from api.dependencies import Id, TheDesk, Who
from api.problems import answers
from api.schemas import JobOut

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.get("/{id}", summary="Look at a job", responses=answers(403, 404, 422))
def one(id: Id, desk: TheDesk, who: Who) -> JobOut:
    """One erasing: where it is, what the guards found, its MLflow run. Scope: `requests:read`, or any of requests."""
    return JobOut.model_validate(desk.job(id, who))
