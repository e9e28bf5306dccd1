"""`unlearn purge`: what the service does now and then by itself, done now, on its own machine."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from unlearn.cli.keys import the_desk

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def purge(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is due, and purge nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Purge what is due: versions and corpora past their grace period, candidates that nobody can want any more.

    Exits with 1 if something that is due could not be purged; it is tried again by the next sweep.
    """
    from unlearn.purging import named, sweep

    with the_desk() as desk:
        found = desk.due_purges() if dry_run else sweep(desk, desk.settings)
        left = 0 if dry_run else len(desk.due_purges())
    if as_json:
        rows = [{"adapter": one.adapter_id, "version": one.number, "job": one.job_id} for one in found]
        typer.echo(json.dumps({"due" if dry_run else "purged": rows, "left": left}))
    else:
        for one in found:
            typer.echo(f"{'due' if dry_run else 'purged'}: {named(one)}")
        typer.echo(f"{len(found)} {'due' if dry_run else 'purged'}" + (f", {left} could not be" if left else ""))
    if left:
        raise typer.Exit(1)
