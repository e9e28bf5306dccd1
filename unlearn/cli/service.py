"""`unlearn up` and `unlearn demo`: the whole service on one machine, as child processes of this one."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from unlearn.errors import BadInput


def up(
    home: Annotated[Path | None, typer.Option(help="Where everything is kept; UNLEARN_HOME or ~/.unlearn.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the API; UNLEARN_PORT or 8000.")] = None,
) -> None:
    """Run API, worker, broker and MLflow on this machine until Ctrl-C."""
    from rich.console import Console

    from unlearn.cli.house import House
    from unlearn.settings import Settings

    given: dict[str, Any] = {"home": home, "port": port}
    settings = Settings(**{key: value for key, value in given.items() if value is not None})
    if settings.home.exists() and not settings.home.is_dir():
        raise BadInput(f"--home '{settings.home}' is not a directory; name another")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    console = Console(highlight=False)
    with console.status("starting broker, API, worker and MLflow …"):
        house = House(settings).__enter__()
    try:
        console.print(f"API     {house.urls['api']}  (documentation under /docs)")
        console.print(f"MLflow  {house.urls['mlflow']}")
        console.print(f"logs    {house.log_dir}\nCtrl-C stops everything.", style="dim")
        if house.awaited is not None:
            console.print(f"withheld  {house.awaited}", style="bold yellow")
        while not stop.wait(1.0):
            house.check()
    finally:
        house.__exit__(None, None, None)


def demo(
    out: Annotated[Path, typer.Option(help="Directory that gets a folder for this run.")] = Path("demo-out"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """One deletion request on this machine, from nothing to an export.

    Trains a small base and an adapter on invented people (cached for the next run), starts the real service,
    submits the request over HTTP, follows it, downloads the export, and stops everything again.
    """
    from unlearn.cli.demo import run

    run(out, as_json=as_json)
