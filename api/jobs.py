"""Jobs: look at one, its progress and its report."""

from __future__ import annotations

from fastapi import APIRouter

from api.dependencies import Id, TheDesk
from api.problems import answers
from api.schemas import JobOut

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.get("/{id}", summary="Look at a job", responses=answers(404, 422))
def one(id: Id, desk: TheDesk) -> JobOut:
    """One erasing: where it is, what the guards found, its MLflow run."""
    return JobOut.model_validate(desk.job(id))
