"""`unlearn export` and `unlearn verify`: evidence from a running service, and its check by whoever trusts nobody.

`verify` needs no service, no database and no network; what it needs is imported when it runs.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from unlearn.cli.client import Client, known_as
from unlearn.errors import BadInput, UnlearnError

HERE = "http://127.0.0.1:8000"
Url = Annotated[str, typer.Option("--url", envvar="UNLEARN_URL", help="Where the service answers.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
DAY = ["%Y-%m-%d"]
REGISTERS = (".csv", ".jsonl")


def export(
    request: Annotated[str | None, typer.Argument(help="The request's id; without it, a period.")] = None,
    since: Annotated[
        datetime | None, typer.Option("--from", formats=DAY, help="First day of a period; a year before its last.")
    ] = None,
    until: Annotated[datetime | None, typer.Option("--to", formats=DAY, help="Its last day; today.")] = None,
    adapter: Annotated[
        str | None, typer.Option(help="Of the period, only requests with a job on this adapter.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="File to write: .zip; of a period .csv or .jsonl.")] = None,
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """Export a request as a signed bundle, or the register of a period, a row a request, and its signed statement."""
    if (request is None) == (since is None and until is None):
        raise BadInput("name a request, or a period with --from and --to")
    if request is not None:
        if adapter is not None:
            raise BadInput("--adapter is for a period; a request's export has all of its adapters")
        save(url, f"/v1/requests/{known_as(request)}/export", {}, out or Path(f"{request}.zip"), as_json)
        return
    path = out or Path("register.csv")
    if path.suffix not in REGISTERS:
        raise BadInput(f"--out '{path}': a register is .csv or .jsonl")
    days = {"from": since and f"{since:%Y-%m-%d}", "to": until and f"{until:%Y-%m-%d}"}
    asked = {**days, "format": path.suffix[1:], "adapter": adapter}
    save(url, "/v1/register", asked, path, as_json)


def save(url: str, path: str, asked: dict[str, Any], out: Path, as_json: bool) -> None:
    """Download what is at `path` into a new file, and the statement that it links to beside it; print where they are.

    Raises:
        BadInput: a file exists, or its directory does not.
    """
    from unlearn.evidence.registered import beside

    for one in (out, beside(out)):
        if one.exists():
            raise BadInput(f"--out '{one}' exists; name another file")
    if not out.parent.is_dir():
        raise BadInput(f"--out '{out}': there is no directory '{out.parent}'")
    with Client(url) as client:
        statement = client.save(path, out, **asked).get("describedby")
        try:
            if statement is not None:
                client.save(statement, beside(out))
        except UnlearnError:
            out.unlink()  # without its statement it is no evidence
            raise
    made = {"export": str(out), "bytes": out.stat().st_size}
    made |= {"statement": str(beside(out))} if statement is not None else {}
    typer.echo(json.dumps(made) if as_json else str(out))


def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle, or a register beside its statement, as downloaded.")],
    key: Annotated[
        list[Path],
        typer.Option(help="The ledger's public key (name+id+key, or PEM) from a place you trust; repeatable."),
    ],
    checkpoint: Annotated[
        Path | None, typer.Option(help="A checkpoint of the ledger that was published elsewhere.")
    ] = None,
    proof: Annotated[
        Path | None,
        typer.Option(help="The proof between that checkpoint and the bundle's, if it is not in the bundle."),
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="Directory of the adapter that serves.")] = None,
    witness: Annotated[
        list[Path] | None,
        typer.Option(help="Key of a witness (name+id+key) who must have co-signed the checkpoint; repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify a bundle or a register offline: every check in a line; exits with 1 on the first that fails."""
    from unlearn.evidence.refusal import NotVerified
    from unlearn.evidence.registered import beside, verify_register
    from unlearn.evidence.trust import read_keys, read_witnesses
    from unlearn.evidence.verify import verify as checks_of

    is_register = bundle.suffix in REGISTERS
    if is_register and adapter is not None:
        raise BadInput("--adapter is for a request's bundle, which says what was released; a register does not")
    if is_register and not bundle.is_file():
        raise BadInput(f"the register '{bundle}' can't be read (there is no such file)")
    data = _bytes(beside(bundle), "the register's statement") if is_register else _bytes(bundle, "the bundle")
    keys = [one for path in key for one in read_keys(path)]
    witnesses = [one for path in witness or () for one in read_witnesses(path)]
    known = _published(checkpoint, proof)
    checks = (
        verify_register(bundle, data, keys, known, witnesses)
        if is_register
        else checks_of(data, keys, known, adapter, witnesses)
    )
    told: list[dict[str, str]] = []
    try:
        for check in checks:
            _tell(told, check.name, "passed" if check.made else "not made", check.said, as_json)
    except NotVerified as error:
        _tell(told, error.check, "failed", str(error), as_json)
    failed = told[-1]["result"] == "failed"
    if as_json:
        typer.echo(json.dumps({"verified": not failed, "checks": told}))
    else:
        typer.echo(f"{bundle}: {'does not verify' if failed else 'verified'}")
    if failed:
        raise typer.Exit(1)


MARKS = {"passed": "✓", "not made": "·", "failed": "✗"}


def _tell(told: list[dict[str, str]], name: str, result: str, detail: str, as_json: bool) -> None:
    told.append({"check": name, "result": result, "detail": detail})
    if not as_json:
        typer.echo(f"{MARKS[result]} {name:<12} {detail}")


def _published(checkpoint: Path | None, proof: Path | None) -> Any:
    """The published checkpoint, and the proof that goes with it."""
    from unlearn.evidence.anchored import Published

    if checkpoint is None:
        if proof is not None:
            raise BadInput("--proof goes with --checkpoint; name the checkpoint that it is for")
        return None
    try:
        note = _bytes(checkpoint, "--checkpoint").decode()
        given = None if proof is None else json.loads(_bytes(proof, "--proof"))
        return Published(note, None if given is None else {str(given["old"]): given["path"]})
    except (ValueError, KeyError, TypeError):
        raise BadInput(
            "--checkpoint is a signed note and --proof JSON with 'old', 'new' and 'path'; one is not"
        ) from None


def _bytes(path: Path, what: str) -> bytes:
    from unlearn.evidence.container import LARGEST_BYTES

    try:
        with path.open("rb") as file:
            return file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{what} '{path}' can't be read ({error.strerror})") from None
