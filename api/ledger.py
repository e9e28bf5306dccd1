"""The ledger: checkpoints, entries, proofs, keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import PlainTextResponse

from api.dependencies import TheDesk, Who
from api.problems import answers
from api.schemas.ledger import ConsistencyOut, EntryOut, EntryPage, InclusionOut, LedgerKeyOut

router = APIRouter(prefix="/v1/ledger", tags=["ledger"])

LARGEST = 2**53 - 1
"""What JSON numbers hold exactly."""

Size = Annotated[int, Query(ge=1, le=LARGEST, description="Entries of the tree, such as a checkpoint's.")]


@router.get(
    "/checkpoint",
    summary="Get a checkpoint",
    response_class=PlainTextResponse,
    responses=answers(403, 422, 503),
)
def checkpoint(desk: TheDesk, who: Who) -> str:
    """A signed note (C2SP tlog-checkpoint) of the whole ledger. Scope: `audit`. Keep it: it shows later rewriting."""
    return desk.checkpoint(who)


@router.get("/entries", summary="List entries", responses=answers(403, 422))
def entries(
    desk: TheDesk,
    who: Who,
    after: Annotated[int, Query(ge=0, le=LARGEST, description="`next` of the page before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="Entries on a page.")] = 100,
) -> EntryPage:
    """Entries in order. Scope: `audit`.

    Of another company's entries there is the hash alone: enough to compute the root of the whole, and nothing more.
    """
    found = desk.entries(after, limit + 1, who)
    items = [EntryOut.model_validate(view) for view in found[:limit]]
    return EntryPage(items=items, next=items[-1].seq if len(found) > limit else None)


@router.get("/proof/{seq}", summary="Prove an entry", responses=answers(403, 422))
def inclusion(
    seq: Annotated[int, Path(ge=1, le=LARGEST, description="The entry.")], size: Size, desk: TheDesk, who: Who
) -> InclusionOut:
    """The inclusion proof of an entry in the tree of `size` entries. Scope: `audit`."""
    return InclusionOut(seq=seq, size=size, path=[one.hex() for one in desk.inclusion_proof(seq, size, who)])


@router.get("/consistency", summary="Prove that the ledger only grew", responses=answers(403, 422))
def consistency(
    old: Annotated[int, Query(ge=0, le=LARGEST, description="Entries then.")], new: Size, desk: TheDesk, who: Who
) -> ConsistencyOut:
    """The consistency proof from `old` to `new` entries. Scope: `audit`."""
    return ConsistencyOut(old=old, new=new, path=[one.hex() for one in desk.consistency_proof(old, new, who)])


@router.get("/keys", summary="List the ledger's keys", responses=answers(403))
def keys(desk: TheDesk, who: Who) -> list[LedgerKeyOut]:
    """The keys that sign checkpoints, or did, from the first. Scope: `audit`. Trust them from elsewhere."""
    return [
        LedgerKeyOut(key=one.public.text, pem=one.public.pem, added_at=one.added_at, retired_at=one.retired_at)
        for one in desk.ledger_keys(who)
    ]
