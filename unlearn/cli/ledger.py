"""`unlearn ledger`: checkpoints, their publication, keys, the inspection; and a witness, who needs no database."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from unlearn.cli.keys import the_desk
from unlearn.durable import write_whole
from unlearn.errors import BadInput

app = typer.Typer(help="The ledger: checkpoints, keys, witnessing, inspection.", no_args_is_help=True)
keys = typer.Typer(help="The keys that sign the ledger.", no_args_is_help=True)
app.add_typer(keys, name="key")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@app.command()
def checkpoint(
    since: Annotated[
        int | None, typer.Option(min=0, help="Size that a witness knows: adds the proof from there.")
    ] = None,
) -> None:
    """Print a signed checkpoint; with --since, what a witness is handed (C2SP tlog-witness)."""
    from unlearn.evidence.checkpoint import claimed
    from unlearn.evidence.witness import Submission

    with the_desk() as desk:
        note = desk.checkpoint()
        if since is not None:
            path = tuple(desk.consistency_proof(since, claimed(note).size))
            note = Submission(since, path, note).text
    typer.echo(note, nl=False)


@app.command()
def publish(
    to: Annotated[list[str] | None, typer.Option(help="Where to; repeatable, UNLEARN_LEDGER_PUBLISH without.")] = None,
    as_json: AsJson = False,
) -> None:
    """Publish a checkpoint now, whether or not its time has come."""
    from unlearn.evidence.checkpoint import claimed
    from unlearn.publishing import publish as put

    with the_desk() as desk:
        targets = to or desk.settings.ledger_publish
        if not targets:
            raise BadInput("nowhere to publish: give --to, or set UNLEARN_LEDGER_PUBLISH")
        note = desk.checkpoint()
        found = []
        for target in targets:
            answer = put(note, target, desk.consistency_proof, allow_private=desk.settings.callbacks_allow_private)
            found += desk.keep_answer(note, answer)
    size, names = claimed(note).size, [one.witness.name for one in found]
    if as_json:
        typer.echo(json.dumps({"size": size, "published": targets, "cosigned": names}))
        return
    typer.echo(f"{size} entries: {', '.join(targets)}{'; co-signed by ' if names else ''}{', '.join(names)}")


@app.command()
def cosigned(
    file: Annotated[Path, typer.Argument(help="What witnesses co-signed; a file may have many checkpoints.")],
    witness: Annotated[
        list[str] | None,
        typer.Option(
            help="A witness's key (verifier key or file with it); repeatable, besides UNLEARN_LEDGER_WITNESSES."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Keep witnesses' cosignatures of checkpoints that were issued here: exports have them from then on."""
    from unlearn.evidence.checkpoint import split_notes
    from unlearn.evidence.cosigning import witness_key

    trusted = [witness_key(_text(Path(one)) if Path(one).is_file() else one) for one in witness or ()]
    notes = split_notes(_text(file))
    if not notes:
        raise BadInput(f"'{file}' holds no checkpoint")
    with the_desk() as desk:
        found = [one for note in notes for one in desk.keep_cosignatures(note, trusted)]
    told = [{"size": one.size, "witness": one.witness.text, "at": one.at.isoformat()} for one in found]
    if as_json:
        typer.echo(json.dumps(told))
        return
    for one in found:
        typer.echo(f"{one.size} entries: co-signed by {one.witness.name} at {one.at.isoformat()}")


@app.command()
def check(
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="Published checkpoints that must hold; repeatable. A file may have many.")
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(help="Key that must have signed them (verifier key or file); the ledger's without."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute every hash; find any edit, deletion, reordering, truncation or fork."""
    from unlearn.cli.render import progress
    from unlearn.evidence.checkpoint import split_notes
    from unlearn.evidence.ledger import LedgerBroken

    published = [(str(path), note) for path in checkpoint or () for note in split_notes(_text(path))]
    trusted = [_public_key(one) for one in key or ()]
    with the_desk() as desk, progress(silent=as_json) as bar:
        task = bar.add_task("entries", total=desk.ledger_size())
        try:
            found = desk.inspect_ledger(published, trusted, lambda count: bar.update(task, completed=count))
        except LedgerBroken as broken:
            if not as_json:
                raise
            typer.echo(json.dumps({"holds": False, "fault": broken.fault, "entry": broken.seq, "detail": str(broken)}))
            raise typer.Exit(broken.exit_code) from None
    told = {"holds": True, "entries": found.entries, "nodes": found.nodes, "checkpoints": found.roots}
    if as_json:
        typer.echo(json.dumps(told | {"root": found.root.hex()}))
    else:
        typer.echo(f"the ledger holds: {found.entries} entries, {found.nodes} nodes, {found.roots} checkpoints")
        if not published:
            typer.echo("no published checkpoint was compared: whoever holds the key could have rewritten it all")


@app.command()
def witness(
    key: Annotated[Path, typer.Option(help="The witness's key; made if there is none.")],
    checkpoint: Annotated[
        str, typer.Option(help="What `unlearn ledger checkpoint` printed, or the URL of the service.")
    ],
    state: Annotated[Path, typer.Option(help="What the witness signed last; made the first time.")],
    log_key: Annotated[list[str], typer.Option(help="Key of the ledger (verifier key or file with it); repeatable.")],
    name: Annotated[str, typer.Option(help="The witness's name, in its signatures.")] = "witness",
    as_json: AsJson = False,
) -> None:
    """Co-sign a checkpoint, if the ledger goes on from the one seen last.

    Prints the co-signed note. Needs no database; of a service, only an API key with the scope `audit`.
    """
    from unlearn.evidence.checkpoint import claimed
    from unlearn.evidence.signing import COSIGNATURE, make_key_file, read_key_file, signer_of
    from unlearn.evidence.witness import cosign, read_submission, seen_size

    trusted = [_public_key(one) for one in log_key]
    if not key.exists():
        make_key_file(key)
    signer = signer_of(read_key_file(key), name, COSIGNATURE)
    with _alone(state):
        seen = _text(state) if state.exists() else None
        old = seen_size(seen, signer.public)
        given = _fetch(checkpoint, old) if "://" in checkpoint else read_submission(_text(Path(checkpoint)))
        note = cosign(given, trusted, signer, seen, datetime.now(UTC))
        write_whole(state, note.encode())
    told = {"size": claimed(note).size, "seen": old, "witness": signer.public.text, "note": note}
    typer.echo(json.dumps(told) if as_json else note, nl=as_json)


@keys.command("list")
def key_list(as_json: AsJson = False) -> None:
    """List the ledger's keys, from the first."""
    with the_desk() as desk:
        desk.keep_ledger_key()
        found = desk.ledger_keys()
    if as_json:
        typer.echo(
            json.dumps([{**_shown(one.public), "added": one.added_at, "retired": one.retired_at} for one in found])
        )
        return
    for one in found:
        typer.echo(f"{one.public.text}  {'signs' if one.retired_at is None else f'retired {one.retired_at}'}")


@keys.command("show")
def key_show(pem: Annotated[bool, typer.Option("--pem", help="As PEM, for openssl.")] = False) -> None:
    """Print the newest public key: for auditors and witnesses."""
    with the_desk() as desk:
        desk.keep_ledger_key()
        key = [one.public for one in desk.ledger_keys() if one.retired_at is None][-1]
    typer.echo(key.pem if pem else key.text, nl=not pem)


@keys.command()
def rotate(as_json: AsJson = False) -> None:
    """Enter a new key, which signs beside the old one until that is retired."""
    with the_desk() as desk:
        key = desk.rotate_ledger_key()
        desk.checkpoint()
    typer.echo(json.dumps(_shown(key)) if as_json else key.text)


@keys.command()
def retire(key: Annotated[str, typer.Argument(help="The key's id, 8 hex digits.")], as_json: AsJson = False) -> None:
    """End a key's time; what it signed stays verifiable."""
    with the_desk() as desk:
        found = desk.retire_ledger_key(key)
        desk.checkpoint()
    typer.echo(json.dumps(_shown(found)) if as_json else f"{found.text} retired")


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Two witnesses with one memory could sign both sides of a fork."""
    from unlearn.locks import hold

    held = hold(state.with_name(f"{state.name}.lock"), 10, f"another witness works with '{state}'; wait for it")
    try:
        yield
    finally:
        os.close(held)


def _shown(key: Any) -> dict[str, str]:
    return {"id": key.key_id.hex(), "key": key.text, "pem": key.pem}


def _public_key(given: str) -> Any:
    from unlearn.evidence.signing import PublicKey

    return PublicKey.from_text(_text(Path(given)) if Path(given).is_file() else given)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"'{path}' can't be read as text ({error})") from None


def _fetch(url: str, old: int) -> Any:
    """The service's checkpoint and the proof from `old`."""
    from unlearn.cli.client import Client
    from unlearn.evidence.checkpoint import claimed
    from unlearn.evidence.witness import Submission

    with Client(url) as client:
        note = client.download("/v1/ledger/checkpoint").decode("utf-8", "replace")
        new = claimed(note).size
        path = client.get("/v1/ledger/consistency", old=old, new=new)["path"] if old < new else []
    return Submission(old, tuple(bytes.fromhex(one) for one in path), note)
