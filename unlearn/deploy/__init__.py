"""The menu of deployment hooks, and how a configuration names them.

A new one is a file in this room, a line and a class of settings here, and a test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from unlearn.deploy.base import Hook, HookFailed, Release
from unlearn.deploy.link import CurrentLink
from unlearn.deploy.registry import Registry
from unlearn.deploy.vllm import PrefixCache, Vllm
from unlearn.errors import BadInput

HOOKS: Mapping[str, Callable[..., Hook]] = MappingProxyType({"link": CurrentLink, "mlflow": Registry, "vllm": Vllm})


class _Named(BaseModel):
    """What every hook's settings have: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LinkSettings(_Named):
    """A link `current` for servers that read a directory."""

    kind: Literal["link"]
    directory: Path = Field(description="Holds a directory for each adapter, by id, with the link in it.")


class MlflowSettings(_Named):
    """MLflow's model registry."""

    kind: Literal["mlflow"]
    uri: str = Field(min_length=1, description="MLflow tracking and registry URI.")
    artifacts: str | None = Field(
        default=None,
        min_length=1,
        description="Where its server keeps artifacts; UNLEARN_MLFLOW_ARTIFACTS, if it is the server of the runs.",
    )


class VllmSettings(_Named):
    """vLLM's dynamic LoRA API."""

    kind: Literal["vllm"]
    url: str = Field(description="URL of one server, without a path such as /v1.")
    api_key: SecretStr | None = Field(default=None, min_length=1, description="Bearer token of the server.")
    inplace: bool = Field(default=True, description="Swap weights without a gap where the server can.")
    prefix_cache: PrefixCache = Field(
        default="try", description="'reset' must empty the prefix cache, 'try' may fail to, 'off' does not ask."
    )
    directory: Path | None = Field(
        default=None, description="Where versions of an object store are put, seen by the server at the same path."
    )


SETTINGS: Mapping[str, type[_Named]] = MappingProxyType(
    {"link": LinkSettings, "mlflow": MlflowSettings, "vllm": VllmSettings}
)

_LIST: TypeAdapter[list[LinkSettings | MlflowSettings | VllmSettings]] = TypeAdapter(
    list[Annotated[LinkSettings | MlflowSettings | VllmSettings, Field(discriminator="kind")]]
)


def parse_hooks(config: Sequence[Mapping[str, Any]]) -> tuple[Hook, ...]:
    """The hooks that `config` names, in its order: each a mapping of `kind` and that kind's settings.

    Raises:
        BadInput: a kind, key or value that can't be, by its place; no value of a setting is quoted.
    """
    try:
        parsed = _LIST.validate_python(list(config) if isinstance(config, tuple) else config)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        raise BadInput("; ".join(_fault(fault) for fault in faults)) from None
    return tuple(_hook(place, settings) for place, settings in enumerate(parsed))


def _hook(place: int, settings: LinkSettings | MlflowSettings | VllmSettings) -> Hook:
    given = {name: getattr(settings, name) for name in type(settings).model_fields if name != "kind"}
    directory = given.get("directory")
    if directory is not None and not directory.is_absolute():
        raise BadInput(f"hooks.{place}.directory: '{directory}' is relative; give an absolute path")
    try:
        return HOOKS[settings.kind](**given)
    except BadInput as error:
        raise BadInput(f"hooks.{place}.{error}") from None


def _fault(fault: ErrorDetails) -> str:
    """One fault for a person. Places are (number of the hook, its kind, key)."""
    loc = fault["loc"]
    kind = loc[1] if len(loc) > 1 else None
    where = ".".join(["hooks", *(str(part) for part in loc[:1]), *(str(part) for part in loc[2:])])
    if fault["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return f"{where}.kind: {_wrong_kind(fault)}; the kinds are {', '.join(HOOKS)}"
    if fault["type"] == "extra_forbidden" and isinstance(kind, str):
        allowed = ", ".join(SETTINGS[kind].model_fields)
        return f"{where}: a hook of kind '{kind}' has no such key; its keys are {allowed}"
    return f"{where}: {fault['msg']}"


def _wrong_kind(fault: ErrorDetails) -> str:
    tag = fault.get("ctx", {}).get("tag")
    return "missing" if tag is None else f"{str(tag)[:40]!r} is not known"


__all__ = [
    "HOOKS",
    "CurrentLink",
    "Hook",
    "HookFailed",
    "LinkSettings",
    "MlflowSettings",
    "Registry",
    "Release",
    "Vllm",
    "VllmSettings",
    "parse_hooks",
]
