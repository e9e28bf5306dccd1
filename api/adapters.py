"""Adapters: register, list, look at."""

from __future__ import annotations

from fastapi import APIRouter

from api.dependencies import Id, TheDesk
from api.problems import answers
from api.schemas import AdapterIn, AdapterOut

router = APIRouter(prefix="/v1/adapters", tags=["adapters"])


@router.post("", status_code=201, summary="Register an adapter", responses=answers(400, 403, 409, 413, 415, 422))
def register(body: AdapterIn, desk: TheDesk) -> AdapterOut:
    """Register a LoRA adapter with its base, its train corpus and a holdout.

    Everything is checked first: that the adapter belongs to the base, that the corpora can be read and share no record,
    that every record fits the model. The weights are copied. Registering the same again gives the same answer.
    """
    found = desk.register_adapter(body.name, body.base, body.adapter, body.train, body.holdout, body.policy)
    return AdapterOut.model_validate(found)


@router.get("", summary="List adapters", responses=answers())
def listing(desk: TheDesk) -> list[AdapterOut]:
    """Every adapter, by name."""
    return [AdapterOut.model_validate(view) for view in desk.adapters()]


@router.get("/{name}", summary="Look at an adapter", responses=answers(404, 422))
def one(name: Id, desk: TheDesk) -> AdapterOut:
    """One adapter with all its versions."""
    return AdapterOut.model_validate(desk.adapter(name))
