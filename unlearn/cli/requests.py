"""`unlearn request`: submit, find, decide and export deletion requests of a running service."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from unlearn.cli.client import Client, known_as, parse_subject
from unlearn.cli.evidence import HERE, Url, save

app = typer.Typer(help="Deletion requests of a running service.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow it to its end; exits with 3 if a person must decide.")]
Id = Annotated[str, typer.Argument(help="The request's id.", metavar="REQUEST", callback=known_as)]
Subject = Annotated[str, typer.Argument(help="Whom to forget: type:value, such as customer:c-0017.")]
Reason = Annotated[str, typer.Option(help="Why, in writing; it is kept, so name nobody.")]


@app.command()
def submit(
    subject: Subject,
    regulation: Annotated[str, typer.Option(help="Whose clock runs: gdpr or ccpa.")] = "gdpr",
    received: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z"], help="When you got it; now, without."),
    ] = None,
    external_id: Annotated[str | None, typer.Option("--external-id", help="What you call it.")] = None,
    wait: Wait = False,
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """Submit a deletion request."""
    body: dict[str, Any] = {"subject": parse_subject(subject), "regulation": regulation}
    if received is not None:
        body["received_at"] = received.astimezone(received.tzinfo or UTC).isoformat()
    if external_id is not None:
        body["external_id"] = external_id
    with Client(url) as client:
        _answer(client, client.post("/v1/requests", body), wait, as_json)


@app.command()
def preview(subject: Subject, url: Url = HERE, as_json: AsJson = False) -> None:
    """Show which adapters a request would touch; nothing is stored."""
    from unlearn.cli.render import show, touched_table

    with Client(url) as client:
        touched = client.post("/v1/requests/preview", {"subject": parse_subject(subject)})
    if as_json:
        typer.echo(json.dumps(touched))
    else:
        show(touched_table(touched) if touched else "no adapter learned from this subject")


@app.command()
def show(request: Id, wait: Wait = False, url: Url = HERE, as_json: AsJson = False) -> None:
    """Show a request and its jobs."""
    with Client(url) as client:
        _answer(client, client.get(f"/v1/requests/{request}"), wait, as_json)


@app.command("list")
def listing(
    state: Annotated[str | None, typer.Option(help="Only requests in this state.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only this person's: type:value.")] = None,
    adapter: Annotated[str | None, typer.Option(help="Only with a job on this adapter.")] = None,
    overdue: Annotated[bool, typer.Option("--overdue", help="Only what should have been answered by now.")] = False,
    due_within: Annotated[int | None, typer.Option(min=0, max=3650, help="Only what is due in so many days.")] = None,
    held: Annotated[bool | None, typer.Option("--held/--not-held", help="Only under a legal hold, or not.")] = None,
    urgent: Annotated[bool, typer.Option("--urgent", help="The most urgent first, not the newest.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 50,
    after: Annotated[str | None, typer.Option(help="Behind this request.")] = None,
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """List requests, the newest first."""
    from unlearn.cli.render import requests_table, show

    wanted: dict[str, Any] = {"state": state, "adapter": adapter, "held": held, "limit": limit, "after": after}
    if overdue or due_within is not None:
        wanted["due_before"] = (datetime.now(UTC) + timedelta(days=0 if overdue else due_within or 0)).isoformat()
    wanted["order"] = "due" if urgent or "due_before" in wanted else "created"
    if subject is not None:
        wanted["subject"] = parse_subject(subject)
    with Client(url) as client:
        page = client.post("/v1/requests/search", {key: value for key, value in wanted.items() if value is not None})
    if as_json:
        typer.echo(json.dumps(page))
        return
    show(requests_table(page["items"]) if page["items"] else "no requests")
    if page["next"]:
        given = {"--state": state, "--subject": subject, "--adapter": adapter, "--due-within": due_within}
        given |= {"--limit": limit, "--url": None if url == HERE else url, "--after": page["next"]}
        said = {"--overdue": overdue, "--held": held, "--not-held": held is False, "--urgent": urgent}
        words = [word for name, value in given.items() if value is not None for word in (name, str(value))]
        words += [name for name, value in said.items() if value]
        typer.secho(f"more: {shlex.join(['unlearn', 'request', 'list', *words])}", dim=True)


@app.command()
def cancel(request: Id, url: Url = HERE, as_json: AsJson = False) -> None:
    """Cancel a request that its person took back, also one that waits for a decision."""
    _change(request, "cancel", {}, url, as_json)


@app.command()
def hold(request: Id, reason: Reason, url: Url = HERE, as_json: AsJson = False) -> None:
    """Put a request under a legal hold: nothing is erased until it is lifted."""
    _change(request, "hold", {"reason": reason}, url, as_json)


@app.command()
def lift(request: Id, url: Url = HERE, as_json: AsJson = False) -> None:
    """Lift a legal hold."""
    _change(request, "lift", {}, url, as_json)


@app.command()
def extend(request: Id, reason: Reason, url: Url = HERE, as_json: AsJson = False) -> None:
    """Extend the time for an answer, once, before it is over."""
    _change(request, "extend", {"reason": reason}, url, as_json)


@app.command()
def retry(
    request: Id,
    policy: Annotated[Path | None, typer.Option(help="Policy file used in the place of the adapter's.")] = None,
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """Try again what waits for a decision."""
    from unlearn.policy import read_policy

    given = {} if policy is None else {"policy": read_policy(policy).model_dump(mode="json")}
    _change(request, "retry", given, url, as_json)


@app.command()
def reject(
    request: Id,
    reason: Reason,
    ground: Annotated[str, typer.Option(help="The legal ground, such as legal_claims.")],
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """Reject a request on a legal ground."""
    _change(request, "reject", {"reason": reason, "ground": ground}, url, as_json)


@app.command()
def release(request: Id, reason: Reason, url: Url = HERE, as_json: AsJson = False) -> None:
    """Let the candidates serve that the guards held back."""
    _change(request, "release", {"reason": reason}, url, as_json)


@app.command()
def export(
    request: Id,
    out: Annotated[Path | None, typer.Option("--out", help="File to write; REQUEST.zip without it.")] = None,
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """Download a request's export."""
    save(url, f"/v1/requests/{request}/export", {}, out or Path(f"{request}.zip"), as_json)


def _change(request: str, what: str, body: dict[str, Any], url: str, as_json: bool) -> None:
    with Client(url) as client:
        _answer(client, client.post(f"/v1/requests/{request}/{what}", body), False, as_json)


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
