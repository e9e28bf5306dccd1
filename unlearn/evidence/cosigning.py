"""Witnesses' lines on a checkpoint: taken from a note once they were verified, put back behind another copy of it.

Format: C2SP tlog-cosignature, "cosignature/v1" (https://github.com/C2SP/C2SP). Knows no file and no database.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from unlearn.evidence.checkpoint import SIGNED, claimed, cosigned_at, open_note, signature_line
from unlearn.evidence.signing import COSIGNATURE, LedgerKeyError, PublicKey


@dataclass(frozen=True)
class Cosignature:
    """One witness's line.

    Attributes:
        size: of the checkpoint.
        witness: the witness's key.
        line: as it stands in the note, with its end.
        at: when the witness saw the checkpoint, by its own clock.
    """

    size: int
    witness: PublicKey
    line: str
    at: datetime


def witness_key(text: str) -> PublicKey:
    """The key of a witness, from a C2SP verifier key.

    Raises:
        LedgerKeyError: it is none, or one that signs a ledger.
    """
    key = PublicKey.from_text(text)
    if key.algorithm != COSIGNATURE:
        raise LedgerKeyError(
            f"'{key.name}' (key {key.key_id.hex()}) signs a ledger and is no witness's key; give the key that the "
            "witness made (`unlearn ledger witness --json` shows it)"
        )
    return key


def cosignatures(note: str, witnesses: Sequence[PublicKey]) -> list[Cosignature]:
    """What these witnesses signed of a note, of each its first line; nothing of who did not.

    Raises:
        NoteBroken: one's line is wrong.
    """
    known = [witness for witness in witnesses if witness.algorithm == COSIGNATURE]
    signed = [witness for witness in known if signature_line(note, witness) is not None]
    if not signed:
        return []
    open_note(note, signed)
    size = claimed(note).size
    return [
        Cosignature(size, one, cast("str", signature_line(note, one)), cast("datetime", cosigned_at(note, one)))
        for one in signed
    ]


def with_lines(note: str, lines: Iterable[str]) -> str:
    """The note with further signature lines behind its own; what it has already is not repeated."""
    there = set(note.splitlines(keepends=True))
    return note + "".join(line for line in lines if line not in there)


def lines_in(answer: str) -> list[str]:
    """The signature lines in what a witness answered; of another answer none."""
    return [f"{line}\n" for line in answer.splitlines() if line.startswith(SIGNED)]
