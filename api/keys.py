"""API keys: make, list, revoke. Scope of all: `admin`."""

from __future__ import annotations

from fastapi import APIRouter

from api.dependencies import Id, TheDesk, Who
from api.problems import answers
from api.schemas.keys import KeyIn, KeyMade, KeyOut

router = APIRouter(prefix="/v1/keys", tags=["keys"])


@router.post("", status_code=201, summary="Make a key", responses=answers(400, 403, 413, 415, 422))
def make(body: KeyIn, desk: TheDesk, who: Who) -> KeyMade:
    """Make a key of the own company. Its `token` is shown this once."""
    view, token = desk.create_key(body.name, body.scopes, expires_at=body.expires_at, by=who)
    return KeyMade(**KeyOut.model_validate(view).model_dump(), token=token)


@router.get("", summary="List keys", responses=answers(403))
def listing(desk: TheDesk, who: Who) -> list[KeyOut]:
    """The company's keys, the newest first."""
    return [KeyOut.model_validate(view) for view in desk.keys(who)]


@router.delete("/{id}", summary="Revoke a key", responses=answers(403, 404, 422))
def revoke(id: Id, desk: TheDesk, who: Who) -> KeyOut:
    """End a key: here at once, in other processes within a second. What it did stays on record."""
    return KeyOut.model_validate(desk.revoke_key(id, who))
