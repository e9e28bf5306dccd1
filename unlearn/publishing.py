"""Publishing checkpoints where the ledger's keeper can't take them back. Knows targets by their spelling, no ledger.

/var/anchor/ledger.txt      a file that only grows; each note once
s3://bucket/ledger          any fsspec URL: one object a checkpoint, named by its size, never written over
https://anchor.example/…    a POST of the note as text, guarded like callbacks
https://…/add-checkpoint    a witness: gets the proof from what it saw last as well, and answers with its signature
                            (https://github.com/C2SP/C2SP/blob/main/tlog-witness.md)

Whatever address answers with signature lines, its answer is handed on; whether they are worth anything is for others.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from unlearn.errors import BadInput, Conflict, Unavailable
from unlearn.evidence.checkpoint import SIZE, claimed
from unlearn.evidence.witness import Submission
from unlearn.outbound import CallbackFailed, Verdict, post, verdict_of

Proof = Callable[[int, int], Sequence[bytes]]
"""The consistency proof between two sizes."""

ADD, CONFLICT = "/add-checkpoint", 409
TEXT = {"content-type": "text/plain; charset=utf-8"}


def publish(note: str, target: str, proof: Proof, *, allow_private: bool = False) -> str:
    """Put a signed checkpoint where `target` says; doing it again changes nothing there.

    Args:
        note: the checkpoint.
        target: a path, an fsspec URL, or an https address.
        proof: what a witness asks for.
        allow_private: whether addresses of the own network may be called.

    Returns:
        What an address answered; nothing of other targets.

    Raises:
        BadInput: the target can't be used.
        Unavailable: it does not take the checkpoint now.
        Conflict: another checkpoint of this size lies there.
    """
    scheme, separator, rest = target.partition("://")
    if not separator or scheme == "file":
        _append(note, Path(rest if separator else target))
    elif scheme in ("http", "https"):
        if target.endswith(ADD):
            return _submit(note, target, proof, allow_private=allow_private)
        return _send(note, target, allow_private=allow_private)
    else:
        _store(note, target, claimed(note).size)
    return ""


def _append(note: str, path: Path) -> None:
    """The file gets the note behind an empty line, unless it has it."""
    if not path.is_absolute():
        raise BadInput(f"checkpoints can't be published to '{path}': give an absolute path or a URL")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644), "r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            before = file.read()
            if note in before:
                return
            file.write(f"\n{note}" if before else note)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise Unavailable(f"'{path}' does not take checkpoints ({error.strerror})") from None


def _store(note: str, target: str, size: int) -> None:
    import fsspec

    place = f"{target.rstrip('/')}/{size:020}.txt"
    try:
        files, path = fsspec.core.url_to_fs(place)
        if files.exists(path):
            if files.cat_file(path) != note.encode():
                raise Conflict(f"'{place}' holds another checkpoint of {size} entries; keep both, and compare them")
            return
        files.pipe_file(path, note.encode())
    except (ValueError, ImportError) as error:
        raise BadInput(f"checkpoints can't be published to '{target}': {error}") from None
    except Conflict:
        raise
    except Exception as error:
        raise Unavailable(f"'{target}' does not take checkpoints ({type(error).__name__})") from error


def _send(note: str, target: str, *, allow_private: bool) -> str:
    answer = post(target, note.encode(), TEXT, allow_private=allow_private)
    if verdict_of(answer.status) is not Verdict.DELIVERED:
        raise CallbackFailed(f"'{target}' answered {answer.status} to a checkpoint")
    return answer.body.decode("utf-8", "replace")


def _submit(note: str, target: str, proof: Proof, *, allow_private: bool) -> str:
    """Ask a witness. It is taken to have seen nothing; one that has says up to where, and is asked again from there."""
    size, seen = claimed(note).size, 0
    for _ in range(2):
        path = tuple(proof(seen, size)) if seen else ()
        answer = post(target, Submission(seen, path, note).text.encode(), TEXT, allow_private=allow_private)
        told = answer.body.decode("utf-8", "replace")
        if answer.status != CONFLICT or not SIZE.fullmatch(told.strip()):
            break
        seen = int(told)
        if seen > size:
            return ""  # it saw a later checkpoint, which goes on from this one
    if answer.status == CONFLICT:
        raise Conflict(
            f"the witness '{target}' says that it saw another ledger; keep both checkpoints, and compare them"
        )
    if verdict_of(answer.status) is not Verdict.DELIVERED:
        raise CallbackFailed(f"the witness '{target}' answered {answer.status} to a checkpoint")
    return told
