"""`unlearn request`: submit, look at, list and export deletion requests of a running service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from unlearn.cli.client import Client
from unlearn.errors import BadInput

app = typer.Typer(help="Deletion requests of a running service.", no_args_is_help=True)

Url = Annotated[str, typer.Option("--url", envvar="UNLEARN_URL", help="Where the service answers.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow it to its end; exits with 3 if a person must decide.")]
Id = Annotated[str, typer.Argument(help="The request's id.", metavar="REQUEST")]
HERE = "http://127.0.0.1:8000"


@app.command()
def submit(
    subject: Annotated[str, typer.Argument(help="Whom to forget: type:value, such as customer:c-0017.")],
    wait: Wait = False,
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """Submit a deletion request."""
    with Client(url) as client:
        request = client.submit(subject)
        _answer(client, request, wait, as_json)


@app.command()
def show(request: Id, wait: Wait = False, url: Url = HERE, as_json: AsJson = False) -> None:
    """Show a request and its jobs."""
    with Client(url) as client:
        _answer(client, client.get(f"/v1/requests/{request}"), wait, as_json)


@app.command("list")
def listing(
    state: Annotated[str | None, typer.Option(help="Only requests in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 50,
    after: Annotated[str | None, typer.Option(help="Behind this request.")] = None,
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """List requests, the newest first."""
    from unlearn.cli.render import requests_table, show

    with Client(url) as client:
        page = client.get("/v1/requests", state=state, limit=limit, after=after)
    if as_json:
        typer.echo(json.dumps(page))
        return
    show(requests_table(page["items"]) if page["items"] else "no requests")
    if page["next"]:
        show(f"[dim]more: unlearn request list --after {page['next']}[/]")


@app.command()
def export(
    request: Id,
    out: Annotated[Path | None, typer.Option("--out", help="File to write; REQUEST.zip without it.")] = None,
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """Download a request's export."""
    path = out or Path(f"{request}.zip")
    if path.exists():
        raise BadInput(f"--out '{path}' exists; name another file")
    if not path.parent.is_dir():
        raise BadInput(f"--out '{path}': there is no directory '{path.parent}'")
    with Client(url) as client:
        data = client.download(f"/v1/requests/{request}/export")
    path.write_bytes(data)
    typer.echo(json.dumps({"export": str(path), "bytes": len(data)}) if as_json else str(path))


def _answer(client: Client, request: dict[str, Any], wait: bool, as_json: bool) -> None:
    """Print the request, after following it if asked to."""
    from unlearn.cli.render import follow, request_view, show

    if wait:
        request = follow(client.follow(request["id"]), silent=as_json)
    if as_json:
        typer.echo(json.dumps(request))
    else:
        reports = [client.get(f"/v1/jobs/{job['id']}")["report"] for job in request["jobs"] if job["verdict"]]
        show(request_view(request, [report for report in reports if report]))
    if wait and request["state"] != "completed":
        raise typer.Exit(3)
