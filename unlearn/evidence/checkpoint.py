"""Checkpoints: the size and root of a tree in a few lines of text, as a note that log and witnesses sign.

Formats: C2SP signed-note, tlog-checkpoint and tlog-cosignature (https://github.com/C2SP/C2SP), so that public tools
read them. Knows no ledger and no file.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from unlearn.errors import UnlearnError
from unlearn.evidence.merkle import HASH_BYTES
from unlearn.evidence.signing import COSIGNATURE, SIGNATURE_BYTES, PublicKey, Signer

MOST_BYTES, MOST_SIGNATURES = 1_000_000, 100
"""As in the Go implementation, golang.org/x/mod/sumdb/note."""
SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
SIGNED = "\u2014 "
TIME = struct.Struct(">Q")
LATEST = 253_402_300_799
"""The last second of the year 9999, behind which no date can be told."""


class NoteBroken(UnlearnError):
    """A signed note or a checkpoint that is not what it should be, or that no known key signed."""

    kind = "note-broken"
    title = "The checkpoint can't be trusted"


@dataclass(frozen=True)
class Checkpoint:
    """A tree at one moment.

    Attributes:
        origin: which ledger; also the name of its keys.
        size: leaves.
        root: of these leaves, 32 bytes.
        extensions: further lines.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The note's text: what signatures are made over."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode("ascii"), *self.extensions)
        return "".join(f"{line}\n" for line in lines)


def read_checkpoint(text: str) -> Checkpoint:
    """The checkpoint in a note's text.

    Raises:
        NoteBroken: it is none; the message names the line.
    """
    _plain(text)
    origin, *rest = text[:-1].split("\n")
    if not origin or len(rest) < 2:
        raise NoteBroken("a checkpoint has a line each for origin, size and root; this note has not")
    size, encoded, *extensions = rest
    if not SIZE.fullmatch(size):
        raise NoteBroken(f"line 2 of the checkpoint must be the tree's size, not '{size[:40]}'")
    try:
        root = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        root = b""
    if len(root) != HASH_BYTES or base64.b64encode(root).decode("ascii") != encoded:
        raise NoteBroken(f"line 3 of the checkpoint must be the base64 of a root of {HASH_BYTES} bytes")
    if not all(extensions):
        raise NoteBroken("an extension line of the checkpoint is empty")
    return Checkpoint(origin, int(size), root, tuple(extensions))


def sign_note(text: str, signers: Sequence[Signer]) -> str:
    """The text with a signature line of each signer.

    Raises:
        NoteBroken: text that no note can hold.
    """
    _plain(text)
    return text + "\n" + "".join(_line(s.public, s.sign(text.encode())) for s in signers)


def cosign_note(note: str, witness: Signer, at: datetime) -> str:
    """The note with one line more: the witness saw it then (tlog-cosignature, "cosignature/v1").

    Args:
        note: signed by the log; whoever calls this has checked it.
        witness: its public key is of the kind `COSIGNATURE`.
        at: to the second.
    """
    text, _ = _parts(note)
    stamp = int(at.timestamp())
    return note + _line(witness.public, TIME.pack(stamp) + witness.sign(_witnessed(text, stamp)))


def open_note(note: str, keys: Sequence[PublicKey]) -> tuple[str, list[str]]:
    """The text of a note, and the names of the keys that signed it, in the order of their lines.

    Lines of keys that are not among `keys` are passed over. An id has 4 bytes, which two keys of a name may share: a
    line is that of the one under which it holds, and wrong if there is none while one of them has no other.

    Raises:
        NoteBroken: malformed, signed by none of the keys, or a signature in the name of one of them is wrong.
    """
    text, lines = _parts(note)
    named = [[key for key in keys if (key.name, key.key_id) == (name, key_id)] for name, key_id, _ in lines]
    held = [[key for key in known if _holds(key, text, line[2])] for known, line in zip(named, lines, strict=True)]
    verified = list(dict.fromkeys(key for found in held for key in found))
    for (name, key_id, _), known, found in zip(lines, named, held, strict=True):
        if not found and not set(known) <= set(verified):
            raise NoteBroken(
                f"the signature of '{name}' (key {key_id.hex()}) is wrong: the note or the line was changed"
            )
    if not verified:
        signed = ", ".join(f"'{name}' (key {key_id.hex()})" for name, key_id, _ in lines)
        wanted = ", ".join(f"'{key.name}' (key {key.key_id.hex()})" for key in keys) or "no key"
        raise NoteBroken(
            f"the note is signed by {signed}, and to be trusted was {wanted}; give the key that belongs to it"
        )
    return text, [key.name for key in verified]


def signs(note: str, key: PublicKey) -> bool:
    """Whether the key signed the note."""
    try:
        open_note(note, [key])
    except NoteBroken:
        return False
    return True


def split_notes(text: str) -> list[str]:
    """The signed notes of a file that has them one after another, with or without empty lines between."""
    notes: list[list[str]] = [[]]
    for line in text.splitlines(keepends=True):
        if notes[-1] and notes[-1][-1].startswith(SIGNED) and not line.startswith(SIGNED):
            notes.append([])
        if notes[-1] or line.strip():
            notes[-1].append(line)
    return ["".join(lines) for lines in notes if lines]


def claimed(note: str) -> Checkpoint:
    """The checkpoint that a note claims, whoever signed it; NoteBroken if it is none."""
    return read_checkpoint(_parts(note)[0])


def cosigned_at(note: str, witness: PublicKey) -> datetime | None:
    """When the witness saw the note, by its own clock; None if it did not sign. `open_note` checks the signature.

    Raises:
        NoteBroken: its time is after the year 9999.
    """
    signature = _signature_of(note, witness)
    if signature is None or len(signature) != TIME.size + SIGNATURE_BYTES:
        return None
    stamp = TIME.unpack_from(signature)[0]
    if stamp > LATEST:
        raise NoteBroken(
            f"'{witness.name}' (key {witness.key_id.hex()}) signed as of {stamp} seconds, which is after the year "
            "9999: its clock is wrong; ask it for another cosignature"
        )
    return datetime.fromtimestamp(stamp, UTC)


def signature_line(note: str, key: PublicKey) -> str | None:
    """The key's line in a note, the first if it has several; None if it did not sign. `open_note` checks it."""
    signature = _signature_of(note, key)
    return None if signature is None else _line(key, signature)


def signed_by(note: str) -> list[str]:
    """In whose names a note is signed; whether they did, `open_note` says."""
    return [name for name, _, _ in _parts(note)[1]]


def _signature_of(note: str, key: PublicKey) -> bytes | None:
    """The first signature in the key's name and id, or the first that holds if another key may have the same."""
    text, lines = _parts(note)
    named = [signature for name, key_id, signature in lines if (name, key_id) == (key.name, key.key_id)]
    return next((one for one in named if _holds(key, text, one)), named[0] if named else None)


def _holds(key: PublicKey, text: str, signature: bytes) -> bool:
    if key.algorithm != COSIGNATURE:
        return key.verify(text.encode(), signature)
    if len(signature) != TIME.size + SIGNATURE_BYTES:
        return False
    return key.verify(_witnessed(text, TIME.unpack_from(signature)[0]), signature[TIME.size :])


def _witnessed(text: str, stamp: int) -> bytes:
    return f"cosignature/v1\ntime {stamp}\n{text}".encode()


def _line(key: PublicKey, signature: bytes) -> str:
    return f"{SIGNED}{key.name} {base64.b64encode(key.key_id + signature).decode('ascii')}\n"


def _parts(note: str) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """Text, and of each signature line name, key id and signature."""
    if len(note) > MOST_BYTES:
        raise NoteBroken(f"the note has {len(note)} characters; {MOST_BYTES} are the most")
    body, gap, signatures = note.rpartition("\n\n")
    if not gap or not signatures.endswith("\n"):
        raise NoteBroken("a signed note is text, an empty line, and lines of signatures; this is none, or was cut off")
    text = body + "\n"
    _plain(text)
    lines = signatures[:-1].split("\n")
    if len(lines) > MOST_SIGNATURES:
        raise NoteBroken(f"the note has {len(lines)} signatures; {MOST_SIGNATURES} are the most")
    return text, [_signature(line) for line in lines]


def _signature(line: str) -> tuple[str, bytes, bytes]:
    name, _, encoded = line.removeprefix(SIGNED).partition(" ")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    spelled = base64.b64encode(raw).decode("ascii") == encoded  # one spelling, so that no change goes unnoticed
    if not line.startswith(SIGNED) or not name or "+" in name or not spelled or len(raw) < 5:
        raise NoteBroken(f"a signature line is a dash, a name and base64; '{line[:40]}' is none")
    return name, raw[:4], raw[4:]


def _plain(text: str) -> None:
    if not text.endswith("\n") or any(ord(character) < 32 and character != "\n" for character in text):
        raise NoteBroken("a note's text is lines without control characters, each with its end")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NoteBroken("a note's text is not UTF-8") from None
