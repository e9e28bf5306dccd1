"""Adapters: register, list, look at, roll back, retire."""

from __future__ import annotations

from fastapi import APIRouter

from api.dependencies import Id, TheDesk, TheRelay, Who
from api.problems import answers
from api.schemas.adapters import AdapterIn, AdapterOut, RollbackIn
from unlearn.cases.resurrection import Admission

router = APIRouter(prefix="/v1/adapters", tags=["adapters"])


@router.post("", status_code=201, summary="Register an adapter", responses=answers(400, 403, 409, 413, 415, 422, 503))
def register(body: AdapterIn, desk: TheDesk, who: Who) -> AdapterOut:
    """Register a LoRA adapter with its base, its train corpus and a holdout. Scope: `adapters:write`.

    Everything is checked first: that the adapter belongs to the base, that the corpora can be read and share no record,
    that every record fits the model, that none was erased before or names somebody whose deletion was completed.
    Weights and corpora are copied. Each place is an absolute path or a URL such as `s3://bucket/prefix`, under a root
    that the service may read. With `allow_erased` such records come in, on the ground that it names; that takes the
    scope `review` as well. Where the policy trains anew (`retrain`, shadows), `recipe` or a `recipe.json` beside the
    weights must say how the adapter was trained. Registering the same again gives the same answer.
    """
    found = desk.register_adapter(
        body.name,
        body.base,
        body.adapter,
        body.train,
        body.holdout,
        body.policy,
        recipe=None if body.recipe is None else body.recipe.as_json(),
        allow_erased=_admission(body),
        by=who,
    )
    return AdapterOut.model_validate(found)


def _admission(body: AdapterIn) -> Admission | None:
    return None if body.allow_erased is None else Admission(body.allow_erased.ground, body.allow_erased.reason)


@router.get("", summary="List adapters", responses=answers(403))
def listing(desk: TheDesk, who: Who) -> list[AdapterOut]:
    """Every adapter, by name. Scope: `requests:read` or `adapters:write`."""
    return [AdapterOut.model_validate(view) for view in desk.adapters(who)]


@router.get("/{name}", summary="Look at an adapter", responses=answers(403, 404, 422))
def one(name: Id, desk: TheDesk, who: Who) -> AdapterOut:
    """One adapter with all its versions. Scope: `requests:read` or `adapters:write`."""
    return AdapterOut.model_validate(desk.adapter(name, who))


@router.post(
    "/{name}/rollback", summary="Let an earlier version serve", responses=answers(400, 403, 404, 409, 413, 415, 422)
)
def roll_back(name: Id, body: RollbackIn, desk: TheDesk, relay: TheRelay, who: Who) -> AdapterOut:
    """Let an earlier version serve again. Scope: `adapters:write`.

    Where somebody was erased since, the earlier version knows them: it takes `reopen`, and then their requests are
    opened again.
    """
    found = desk.roll_back(name, body.version, reopen=body.reopen, by=who)
    relay.nudge()
    return AdapterOut.model_validate(found)


@router.post(
    "/{name}/retire", summary="Take an adapter out of service", responses=answers(400, 403, 404, 413, 415, 422)
)
def retire(name: Id, desk: TheDesk, who: Who) -> AdapterOut:
    """Take an adapter out of service for good: its jobs end, and no request waits for it. Scope: `adapters:write`."""
    return AdapterOut.model_validate(desk.retire(name, who))
