"""Jobs: look at one, its progress and its report; follow it as it goes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from api.dependencies import Credentials, Id, TheDesk, Who, holder
from api.problems import answers
from api.schemas.jobs import JobOut
from unlearn.cases.desk import Desk
from unlearn.cases.views import JobView
from unlearn.errors import NotAllowed, Unauthenticated

LOOK_SECONDS = 0.5
"""Between two looks at a job that somebody follows."""

ALIVE_SECONDS = 15.0
"""After this long without news a comment keeps the connection open."""

STREAM: dict[str, Any] = {
    "description": "Server-sent events: `progress` whenever the job has moved, `ended` once it has.",
    "content": {"text/event-stream": {}},
}

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.get("/{id}", summary="Look at a job", responses=answers(403, 404, 422))
def one(id: Id, desk: TheDesk, who: Who) -> JobOut:
    """One erasing: where it is, what the guards found, its MLflow run. Scope: `requests:read`, or any of requests."""
    return JobOut.model_validate(desk.job(id, who))


@router.get(
    "/{id}/events",
    summary="Follow a job",
    response_class=StreamingResponse,
    responses={**answers(403, 404, 422), 200: STREAM},
)
async def follow(id: Id, desk: TheDesk, who: Who, given: Credentials) -> StreamingResponse:
    """The job's state and progress as server-sent events, until it has ended. Scope: as to look at it.

    Each event's data is the job without its report. Who loses the connection asks again and gets where it is by then.
    It also ends, without the event `ended`, within seconds of the key's revocation or end.
    """
    assert given is not None  # noqa: S101 - or nobody would be known
    first = await anyio.to_thread.run_sync(desk.job, id, who)  # a job that is not there is a problem, not a stream
    return StreamingResponse(_events(desk, given.credentials, first), media_type="text/event-stream")


async def _events(desk: Desk, token: str, job: JobView) -> AsyncIterator[str]:
    told, silent = "", 0.0
    while True:
        data = JobOut.model_validate(job).model_dump_json(exclude={"report"})
        ended = job.state in ("done", "failed", "cancelled")
        if data != told:
            told, silent = data, 0.0
            yield f"event: {'ended' if ended else 'progress'}\ndata: {data}\n\n"
        elif silent >= ALIVE_SECONDS:
            silent = 0.0
            yield ": still here\n\n"
        if ended:
            return
        await anyio.sleep(LOOK_SECONDS)
        silent += LOOK_SECONDS
        try:
            job = await anyio.to_thread.run_sync(desk.job, job.id, await holder(desk, token))
        except (Unauthenticated, NotAllowed):
            return
