"""`unlearn key`: API keys, made on the service's own machine, where its database can be reached."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from unlearn.cases.rights import SCOPES

app = typer.Typer(help="API keys of this service.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    scope: Annotated[list[str], typer.Option(help=f"What it may do, repeatable: {', '.join(SCOPES)}.")],
    company: Annotated[str | None, typer.Option(help="Whose it is; made if there is none yet.")] = None,
    days: Annotated[int | None, typer.Option(min=1, max=3650, help="How long it is good; for ever without.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once."""
    ends = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with the_desk() as desk:
        view, token = desk.create_key(name, scope, controller=company, expires_at=ends)
    typer.echo(json.dumps(_plain(view) | {"token": token}) if as_json else token)


@app.command("list")
def listing(as_json: AsJson = False) -> None:
    """List the keys of all companies, the newest first."""
    from unlearn.cli.render import keys_table, show

    with the_desk() as desk:
        keys = list(map(_plain, desk.keys()))
    if as_json:
        typer.echo(json.dumps(keys))
    else:
        show(keys_table(keys) if keys else "no keys")


@app.command()
def revoke(key: Annotated[str, typer.Argument(help="The key's id.", metavar="KEY")], as_json: AsJson = False) -> None:
    """End a key now."""
    with the_desk() as desk:
        view = desk.revoke_key(key)
    typer.echo(json.dumps(_plain(view)) if as_json else f"key {view.id} ended")


@contextmanager
def the_desk() -> Iterator[Any]:
    """The desk of this machine's settings, with its tables as they must be."""
    from unlearn.cases.desk import Desk
    from unlearn.settings import Settings

    desk = Desk(Settings())
    try:
        desk.migrate()
        yield desk
    finally:
        desk.close()


def _plain(view: Any) -> dict[str, Any]:
    found = asdict(view)
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in found.items()}
