"""`unlearn policy show`: the effective policy, every key with its value and what it means."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from unlearn.methods import METHODS, Part
from unlearn.policy import Policy, read_policy

app = typer.Typer(help="Policies: how to erase and what may be released.", no_args_is_help=True)

File = Annotated[Path | None, typer.Argument(help="Policy file (YAML); the defaults without one.")]


@app.callback()
def root() -> None:
    """Policies: how to erase and what may be released."""


@app.command()
def show(
    file: File = None,
    methods: Annotated[bool, typer.Option("--methods", help="Show every method's parameters instead.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Print the effective policy as YAML, each default explained; what is printed can be used as a policy file."""
    policy = read_policy(file)
    if as_json:
        chosen = {name: _defaults(kind) for name, kind in METHODS.items()} if methods else _plain(policy)
        typer.echo(json.dumps(chosen))
        return
    if methods:
        for kind in METHODS.values():
            typer.echo("\n".join(_rung(kind.model_validate({}))) + "\n")
        return
    typer.echo("\n".join(_lines(policy)))


def _defaults(kind: type[Part]) -> dict[str, Any]:
    return kind.model_validate({}).model_dump(mode="json")


def _plain(policy: Policy) -> dict[str, Any]:
    return policy.model_dump(mode="json")


def _lines(policy: Policy) -> Iterator[str]:
    """The policy as YAML with a comment behind every key."""
    for name, field in Policy.model_fields.items():
        value = getattr(policy, name)
        if name == "ladder":
            yield _comment("ladder:", field.description)
            explained: set[str] = set()
            for rung in value:
                yield from _rung(rung, explain=rung.method not in explained)
                explained.add(rung.method)
        elif isinstance(value, Part):
            yield _comment(f"{name}:", field.description)
            for key, leaf in type(value).model_fields.items():
                yield _comment(f"  {key}: {_scalar(getattr(value, key))}", leaf.description)
        else:
            yield _comment(f"{name}: {_scalar(value)}", field.description)


def _rung(rung: Part, *, explain: bool = True) -> Iterator[str]:
    about = (type(rung).__doc__ or "").strip().splitlines()[0] if explain else None
    yield _comment(f"  - method: {rung.method}", about)  # type: ignore[attr-defined]
    for key, leaf in type(rung).model_fields.items():
        if key != "method":
            yield _comment(f"    {key}: {_scalar(getattr(rung, key))}", leaf.description if explain else None)


def _scalar(value: Any) -> str:
    return json.dumps(str(value) if isinstance(value, Path) else value)


def _comment(text: str, description: str | None) -> str:
    return f"{text:<42}# {description}" if description else text
