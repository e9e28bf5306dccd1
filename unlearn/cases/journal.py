"""The journal: the ledger once more, in a file that outlives the database, one line an entry.

Whoever restores an old backup learns from it what happened since: who asked to be forgotten, who was, and what else was
decided. It holds keyed hashes of subjects, and forgets them with their salts; and keyed fingerprints of what was
erased, 0.7 kB each, since an older database would let it come back. Writes a file; speaks no SQL.
"""

from __future__ import annotations

import base64
import json
import os
import struct
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from unlearn.cases.store import journal, ledger
from unlearn.cases.store.engine import Store
from unlearn.cases.store.fingerprints import Print
from unlearn.cases.store.journal import Line
from unlearn.errors import BadInput, Unavailable
from unlearn.evidence.ledger import Entry
from unlearn.locks import hold

AT_ONCE = 1000
TAIL_BYTES = 1 << 16
LOCK_SECONDS = 30.0
HEAD = struct.Struct("<32sd")
"""How a fingerprint is kept: its exact digest and its floor, behind which the sketch follows; in base64."""


def keep(store: Store, path: Path) -> int:
    """Add the entries that the journal does not have yet; how many. Several processes at once take turns.

    A journal of another ledger is moved aside, and one that was cut off in the middle of a line goes on behind the last
    whole one.

    Raises:
        Unavailable: it can't be written.
    """
    try:
        with _alone(path):
            return _catch_up(store, path)
    except OSError as error:
        raise Unavailable(f"the journal '{path}' can't be written: {error.strerror}") from None


def _catch_up(store: Store, path: Path) -> int:
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
        after = 0 if last is None else last[0]
        while some := journal.lines(session, after, AT_ONCE):
            after = some[-1].entry.seq
            count += len(some)
            shredded = {line.entry.facts.get("subject") for line in some if line.entry.action == "subject_shredded"}
            if shredded:  # before these lines are written, so that whoever is killed in between does it again
                _forget(path, shredded)
                for aside in path.parent.glob(f"{path.name}.*"):
                    with suppress(BadInput):  # set aside since it can't be read
                        _forget(aside, shredded)
            _write(path, [_nameless(line, shredded) for line in some])
    return count


def _continues(session: Session, path: Path) -> bool:
    """Whether the journal has what the ledger has, and more."""
    size = ledger.size(session)
    if not size:
        return False
    newest = ledger.entries_after(session, size - 1, 1)[0]
    return any(line.entry.hash == newest.hash for line in read(path) if line.entry.seq == size)


def read(path: Path) -> Iterator[Line]:
    """Every line of a journal; half a line at its end was never written.

    Raises:
        BadInput: it can't be read.
    """
    number = 0
    try:
        with path.open("rb") as file:
            for line in file:
                number += 1
                if line.endswith(b"\n"):
                    yield _line(json.loads(line))
    except OSError as error:
        raise BadInput(f"the journal '{path}' can't be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, struct.error):
        raise BadInput(f"line {number} of the journal '{path}' is no entry; was it edited?") from None


def written(lines: Iterable[Line]) -> Iterator[bytes]:
    """The lines as they are kept."""
    for line in lines:
        given: dict[str, Any] = line.entry.as_json() | {"about": list(line.about)}
        if line.request is not None:
            given["request"] = dict(line.request)
        for one in line.prints:
            kept = HEAD.pack(bytes.fromhex(one.exact), one.floor) + one.sketch
            given.setdefault("prints", {}).setdefault(one.controller, []).append(base64.b64encode(kept).decode())
        yield json.dumps(given, sort_keys=True, allow_nan=False).encode() + b"\n"


def _line(given: dict[str, Any]) -> Line:
    entry = Entry(**{name: given[name] for name in ("seq", "at", "action", "facts", "hash")})
    prints = (
        _print(controller, base64.b64decode(kept))
        for controller, some in given.get("prints", {}).items()
        for kept in some
    )
    return Line(entry, tuple(given["about"]), given.get("request"), tuple(prints))


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


def _last(path: Path) -> tuple[int, str] | None:
    """Number and hash of the last whole line, behind which the file now ends."""
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
                found = _line(json.loads(whole.rpartition(b"\n")[2])).entry
                return found.seq, found.hash
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, struct.error):
        path.rename(_aside(path))
    return None


def _write(path: Path, lines: Sequence[Line]) -> None:
    with open(path, "ab", opener=_private) as out:
        for line in written(lines):
            out.write(line)
        out.flush()
        os.fsync(out.fileno())


def _nameless(line: Line, names: Collection[Any]) -> Line:
    return Line(line.entry, line.about) if line.entry.facts.get("subject") in names else line


def _forget(path: Path, names: Collection[Any]) -> None:
    """Take out what says which person a name in the ledger belongs to, once nothing may say so any more."""
    if not path.exists():
        return
    kept = (_nameless(one, names) for one in read(path))
    draft = path.with_name(f".{path.name}.draft")
    with open(draft, "wb", opener=_private) as out:
        for line in written(kept):
            out.write(line)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(path)


def _aside(path: Path) -> Path:
    """A name beside it that is free."""
    number = 1
    while (place := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    return place


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
