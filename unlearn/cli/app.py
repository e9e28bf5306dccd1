"""The root of the command line: its commands, and how an error reaches a person.

Exit codes: 0 done, 2 bad input, 3 refused by the guards, 1 anything else, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import json
import os
import sys

import typer
from rich.console import Console
from rich.markup import escape

from unlearn import __version__
from unlearn.cli import backups, evidence, keys, ledger, local, policy, purge, requests, service, settings
from unlearn.errors import UnlearnError

app = typer.Typer(
    name="unlearn",
    help="Machine unlearning for LoRA adapters, with forgetting guards.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(local.finetune)
app.command()(local.erase)
app.command()(local.audit)
app.command()(local.shadows)
app.command()(service.up)
app.command()(service.demo)
app.command()(backups.backup)
app.command()(backups.restore)
app.command()(evidence.export)
app.command()(evidence.verify)
app.command()(purge.purge)
app.command("settings")(settings.show)
app.add_typer(requests.app, name="request")
app.add_typer(policy.app, name="policy")
app.add_typer(keys.app, name="key")
app.add_typer(ledger.app, name="ledger")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    """Machine unlearning for LoRA adapters, with forgetting guards."""


def main() -> None:
    """Run the command line; an error of ours becomes one message and its exit code, never a traceback."""
    try:
        app()
    except UnlearnError as error:
        _tell(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _tell(error: UnlearnError) -> None:
    if "--json" in sys.argv:
        json.dump({"type": error.kind, "title": error.title, "detail": str(error)}, sys.stderr)
        sys.stderr.write("\n")
        return
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[bold red]{error.title}:[/] {escape(str(error))}")
