"""The journal: the ledger once more, in a file that outlives the database, one line an entry.

Whoever restores an old backup learns from it what happened since: who asked to be forgotten, who was, and what else was
decided. It holds keyed hashes of subjects, and forgets them with their salts; and keyed fingerprints of what was
erased, 0.7 kB each, since an older database would let it come back.

What decides who is forgotten again stands beside the entries, outside of their hashes. So each line ends in a seal, an
HMAC (RFC 2104) of it and of the seal before under a key that comes from the identity key: without that nobody edits,
drops or swaps one. A tail that is cut off leaves no trace here; a published checkpoint shows it. Speaks no SQL.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import os
import struct
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy.orm import Session

from unlearn import overwriting
from unlearn.cases.store import journal, ledger, salts
from unlearn.cases.store.engine import Store
from unlearn.cases.store.fingerprints import Print
from unlearn.cases.store.journal import Line
from unlearn.errors import BadInput, Unavailable
from unlearn.evidence.ledger import Entry
from unlearn.locks import hold

log = logging.getLogger(__name__)

AT_ONCE = 1000
SEALED = b"\t"
"""Stands between a line and its seal, which JSON can't hold unescaped."""
OTHER = "take another copy of the journal, or move it away if there is none"
TAIL_BYTES = 1 << 16
LOCK_SECONDS = 30.0
HEAD = struct.Struct("<32sd")
"""How a fingerprint is kept: its exact digest and its floor, behind which the sketch follows; in base64."""


def keep(store: Store, path: Path, key: bytes) -> int:
    """Add the entries that the journal does not have yet; how many. Several processes at once take turns.

    A journal of another ledger is moved aside, and one that was cut off in the middle of a line goes on behind the last
    whole one. One of before lines were sealed is written anew. `key` is the identity key.

    Raises:
        Unavailable: it can't be written.
    """
    try:
        with _alone(path):
            return _catch_up(store, path, _derived(key))
    except OSError as error:
        raise Unavailable(f"the journal '{path}' can't be written: {error.strerror}") from None


def _catch_up(store: Store, path: Path, key: bytes) -> int:
    last, count = _last(path), 0
    with store.reading() as session:
        if last is not None:
            found = ledger.entries_after(session, last[0] - 1, 1)
            if not found and _continues(session, path):
                raise Unavailable(
                    f"the database has {ledger.size(session)} entries and its journal '{path}' goes on to {last[0]}: "
                    "the database went back in time, and people who were forgotten since may be known again; stop the "
                    "service and run unlearn restore with a backup and this journal"
                )
            if not found or found[0].hash != last[1]:
                path.rename(_aside(path))
                last = None
            elif not last[2]:
                last = (*last[:2], _renew(session, path, last[0], key))
        after, seal = (0, "") if last is None else (last[0], last[2])
        while some := journal.lines(session, after, AT_ONCE):
            after = some[-1].entry.seq
            count += len(some)
            shredded = {line.entry.facts.get("subject") for line in some if line.entry.action == "subject_shredded"}
            if shredded:  # before these lines are written, so that whoever is killed in between does it again
                seal = _renew(session, path, some[0].entry.seq - 1, key)
                for aside in path.parent.glob(f"{path.name}.*"):
                    with suppress(BadInput):  # set aside since it can't be read
                        _forget(aside, shredded, key)
            seal = _write(path, some, key, seal)
    return count


def _renew(session: Session, path: Path, size: int, key: bytes) -> str:
    """Write the journal's first `size` lines anew, as the database has them: what it forgot is gone, and what somebody
    put into the file. The seal of the last."""
    firsts = range(0, size, AT_ONCE)
    known = (line for after in firsts for line in journal.lines(session, after, min(AT_ONCE, size - after)))
    return _replace(path, known, key)


def _continues(session: Session, path: Path) -> bool:
    """Whether the journal has what the ledger has, and more."""
    size = ledger.size(session)
    if not size:
        return False
    newest = ledger.entries_after(session, size - 1, 1)[0]
    return any(line.entry.hash == newest.hash for line, _, _ in _lines(path) if line.entry.seq == size)


def read(path: Path, key: bytes, *, sealed: bool) -> Iterator[Line]:
    """Every line of a journal; half a line at its end was never written.

    Args:
        path: of the file.
        key: the identity key.
        sealed: whether lines without seals are refused. Journals of before there were any are read with a warning.

    Raises:
        BadInput: it can't be read, or is not what was written.
    """
    for number, line in enumerate(_checked(path, _derived(key), sealed=sealed), 1):
        yield _of_person(line, number, path)


def count(path: Path) -> int:
    """How many lines a journal has, whoever wrote them; BadInput if it can't be read."""
    return sum(1 for _ in _lines(path))


def _checked(path: Path, key: bytes, *, sealed: bool) -> Iterator[Line]:
    """The lines, each once its seal was checked."""
    seal = ""
    for number, (line, text, given) in enumerate(_lines(path), 1):
        if given is None and (sealed or seal):
            raise BadInput(f"line {number} of the journal '{path}' has no seal: it is not what was written; {OTHER}")
        if given is None and number == 1:
            log.warning(
                "the journal '%s' is from before lines were sealed: nobody can tell whether it was edited", path
            )
        if given is not None and not (
            (seal or number == 1) and hmac.compare_digest(given, seal := _seal(key, seal, text))
        ):
            raise BadInput(
                f"line {number} of the journal '{path}' does not fit its seal: it was edited, or lines before it were "
                f"dropped, added or swapped, or it is another service's; {OTHER}"
            )
        yield line


def _of_person(line: Line, number: int, path: Path) -> Line:
    """The line, once the person of its request was found to be the one of whom the entry speaks."""
    name, one = line.entry.facts.get("subject"), line.request
    if one is None or name is None:
        return line
    if one["salt"] is None:  # which was destroyed: nobody knows whose it is
        return replace(line, request=None)
    fits = salts.name(bytes.fromhex(one["salt"]), one["subject_hash"]) == name
    if not fits or one["id"] != line.entry.facts["request"]:
        raise BadInput(f"line {number} of the journal '{path}' names another person than its entry; {OTHER}")
    return line


def _lines(path: Path) -> Iterator[tuple[Line, bytes, str | None]]:
    """Every line, what is sealed of it, and its seal, which nobody checked."""
    number = 0
    try:
        with path.open("rb") as file:
            for line in file:
                number += 1
                if line.endswith(b"\n"):
                    text, _, seal = line[:-1].partition(SEALED)
                    yield _line(json.loads(text)), text, seal.decode("ascii") or None
    except OSError as error:
        raise BadInput(f"the journal '{path}' can't be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, struct.error):
        raise BadInput(f"line {number} of the journal '{path}' is no entry; was it edited?") from None


def _written(lines: Iterable[Line], key: bytes | None, seal: str) -> Iterator[tuple[bytes, str]]:
    """The lines as they are kept, each with its seal, where `seal` is that of the line before."""
    for line in lines:
        given: dict[str, Any] = line.entry.as_json() | {"about": list(line.about)}
        if line.request is not None:
            given["request"] = dict(line.request)
        for one in line.prints:
            kept = HEAD.pack(bytes.fromhex(one.exact), one.floor) + one.sketch
            given.setdefault("prints", {}).setdefault(one.controller, []).append(base64.b64encode(kept).decode())
        text = json.dumps(given, sort_keys=True, allow_nan=False).encode()
        seal = "" if key is None else _seal(key, seal, text)
        yield text + (SEALED + seal.encode() if seal else b"") + b"\n", seal


def _seal(key: bytes, before: str, text: bytes) -> str:
    return hmac.new(key, before.encode() + b"\n" + text, hashlib.sha256).hexdigest()


def _derived(key: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"unlearn/journal/v1").derive(key)


def _line(given: dict[str, Any]) -> Line:
    entry = Entry(**{name: given[name] for name in ("seq", "at", "action", "facts", "hash")})
    prints = (
        _print(controller, base64.b64decode(kept))
        for controller, some in given.get("prints", {}).items()
        for kept in some
    )
    about = entry.facts.get("nth", given["about"])  # what the entry says itself is in its hash
    return Line(entry, tuple(sorted(about)), given.get("request"), tuple(prints))


def _print(controller: str, kept: bytes) -> Print:
    exact, floor = HEAD.unpack_from(kept)
    return Print(controller, exact.hex(), kept[HEAD.size :], floor)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    held = hold(path.with_name(f".{path.name}.lock"), LOCK_SECONDS, f"another process writes the journal '{path}'")
    try:
        yield
    finally:
        os.close(held)


def _last(path: Path) -> tuple[int, str, str] | None:
    """Number, hash and seal ("" without) of the last whole line, behind which the file now ends."""
    try:
        with path.open("r+b") as file:
            size, back, tail = file.seek(0, os.SEEK_END), 0, b""
            while tail.count(b"\n") < 2 and back < size:
                back = min(size, back + TAIL_BYTES)
                file.seek(size - back)
                tail = file.read(back)
            whole, _, rest = tail.rpartition(b"\n")
            if rest:
                file.truncate(size - len(rest))
            if whole:
                text, _, seal = whole.rpartition(b"\n")[2].partition(SEALED)
                found = _line(json.loads(text)).entry
                return found.seq, found.hash, seal.decode("ascii")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, struct.error):
        path.rename(_aside(path))
    return None


def _write(path: Path, lines: Iterable[Line], key: bytes | None, seal: str) -> str:
    """Add lines behind the one of this seal; that of the last. Without a key they get none."""
    with open(path, "ab", opener=_private) as out:
        for text, last in _written(lines, key, seal):
            out.write(text)
            seal = last
        out.flush()
        os.fsync(out.fileno())
    return seal


def _nameless(lines: Iterable[Line], names: Collection[Any]) -> Iterator[Line]:
    gone: set[str] = set()
    for line in lines:
        if line.entry.facts.get("subject") in names:
            gone |= {*line.about}
        its = gone.isdisjoint(line.about)
        yield line if its else Line(line.entry, line.about)


def _forget(aside: Path, names: Collection[Any], key: bytes) -> None:
    """Take out what says which person a name in the ledger belongs to, and what was erased for her.

    What was not sealed, or was edited, gets no seal.
    """
    try:
        sealed = sum(1 for _ in _checked(aside, key, sealed=True)) > 0
    except BadInput:
        sealed = False
    _replace(aside, _nameless((line for line, _, _ in _lines(aside)), names), key if sealed else None)


def _replace(path: Path, lines: Iterable[Line], key: bytes | None) -> str:
    draft = path.with_name(f".{path.name}.draft")
    overwriting.remove(draft)  # of one that was killed
    seal = _write(draft, lines, key, "")
    overwriting.replace(draft, path)
    return seal


def _aside(path: Path) -> Path:
    """A name beside it that is free."""
    number = 1
    while (place := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    return place


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
