"""`unlearn backup` and `unlearn restore`: on the service's own machine, where database and home can be reached."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unlearn.cli.keys import the_desk
from unlearn.errors import BadInput

if TYPE_CHECKING:
    from unlearn.cases.backups import Restored

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def backup(
    into: Annotated[Path, typer.Argument(help="Directory that gets a new one with the backup in it.")],
    keep: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Take away backups of this service there, and what restores set aside, older than so many days.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Save database, ledger and adapters; the service may run on. Exit 1 if the disk lost something it should have.

    No key is saved: keep the identity key elsewhere, and the journal on another disk (UNLEARN_JOURNAL).
    """
    from rich.filesize import decimal

    from unlearn.cli.render import progress

    with the_desk() as desk:
        with progress(silent=as_json) as bar:
            task = bar.add_task("saving", total=None)
            made = desk.backup(into, lambda count: bar.advance(task, count))
        gone = [] if keep is None else desk.prune_backups(into, keep)
        desk.keep_journal()
    manifest = made.manifest
    told = {"path": str(made.path), "files": len(manifest.files), "bytes": manifest.bytes}
    told |= {"ledger_size": manifest.ledger_size, "ledger_root": manifest.ledger_root, "missing": manifest.missing}
    told |= {"disposed": [str(path) for path in gone]}
    if as_json:
        typer.echo(json.dumps(told))
    else:
        files = f"{len(manifest.files)} files, {decimal(manifest.bytes)}, {manifest.ledger_size} ledger entries"
        typer.echo(f"{made.path}  {files}")
        for path in gone:
            typer.echo(f"disposed  {path}")
        for one in manifest.missing:
            typer.echo(f"missing  {one}", err=True)
    if manifest.missing:
        raise typer.Exit(1)


def restore(
    backup: Annotated[Path, typer.Argument(help="The backup's directory.")],
    journal: Annotated[
        Path | None, typer.Option(help="Journal of the service that was; UNLEARN_JOURNAL without.")
    ] = None,
    from_database: Annotated[str | None, typer.Option(help="URL of its database, if that can still be read.")] = None,
    nothing_since: Annotated[bool, typer.Option(help="Answer for it that nothing was deleted since.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why; it stays in the ledger, so name nobody.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Published checkpoints of the ledger; a file may have many.")
    ] = None,
    replace: Annotated[bool, typer.Option(help="Set aside what is in the way.")] = False,
    check: Annotated[bool, typer.Option(help="Do everything but the last step: a drill.")] = False,
    as_json: AsJson = False,
) -> None:
    """Restore a backup, and have every deletion since then done again before its adapters serve."""
    from unlearn.cases.backups import Asked
    from unlearn.cases.backups import restore as restored
    from unlearn.cli.render import progress
    from unlearn.settings import Settings

    if nothing_since != (reason is not None):
        raise BadInput("--nothing-since and --reason go together")
    asked = Asked(from_database, journal, reason, checkpoint)
    with progress(silent=as_json) as bar:
        task = bar.add_task("checking and restoring", total=None)
        found = restored(
            Settings(),
            backup,
            asked,
            datetime.now(UTC),
            replace=replace,
            only_check=check,
            watch=lambda count: bar.advance(task, count),
        )
    if as_json:
        typer.echo(json.dumps(_plain(found) | {"checked_only": check}))
    else:
        _tell(found, check)


def _plain(found: Restored) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(found) | {"aside": [str(path) for path in found.aside]}


def _tell(found: Restored, check: bool) -> None:
    done = found.replayed
    typer.echo(f"{'would restore' if check else 'restored'}  the backup of {found.made_at}")
    typer.echo(f"ledger  {found.entries} entries, {found.since} since then ({found.source})")
    for path in found.aside:
        typer.echo(f"aside  {path}")
    for one in found.missing:
        typer.echo(f"missing  {one}", err=True)
    for name in done.lost:
        then = "register it again, without whom it had forgotten"
        typer.echo(f"lost  adapter '{name}' was registered since; {then}", err=True)
    if done.withheld:
        names = ", ".join(done.withheld)
        typer.echo(f"withheld  {names}: {done.reapplied} deletions are done again before they serve")
