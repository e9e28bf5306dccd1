"""A witness: somebody with a key of his own who co-signs a ledger's checkpoints as long as each goes on from the last.

His memory is the note that he co-signed last. What he is handed is C2SP tlog-witness's add-checkpoint body: the size he
knows, a consistency proof from there, an empty line, the signed note. Knows no file and no service.

Source: https://github.com/C2SP/C2SP/blob/main/tlog-witness.md
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from unlearn.evidence.checkpoint import Checkpoint, NoteBroken, cosign_note, open_note, read_checkpoint
from unlearn.evidence.ledger import LedgerBroken
from unlearn.evidence.merkle import ProofBroken, check_consistency
from unlearn.evidence.signing import PublicKey, Signer

OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True)
class Submission:
    """What a witness is handed.

    Attributes:
        old: size that the proof goes on from.
        path: the consistency proof.
        note: the checkpoint, signed by the log.
    """

    old: int
    path: tuple[bytes, ...]
    note: str

    @property
    def text(self) -> str:
        """The body of add-checkpoint."""
        hashes = "".join(f"{base64.b64encode(one).decode('ascii')}\n" for one in self.path)
        return f"old {self.old}\n{hashes}\n{self.note}"


def read_submission(text: str) -> Submission:
    """What a text hands to a witness; a note alone is one without a proof, such as the first.

    Raises:
        NoteBroken: it is neither.
    """
    head, gap, note = text.partition("\n\n")
    first, *hashes = head.split("\n")
    old = OLD.fullmatch(first)
    if old is None:
        return Submission(0, (), text)
    try:
        path = tuple(base64.b64decode(one, validate=True) for one in hashes)
    except binascii.Error:
        raise NoteBroken("a line of the consistency proof is not base64") from None
    if not gap:
        raise NoteBroken("the consistency proof has no checkpoint behind it")
    return Submission(int(old[1]), path, note)


def seen_size(seen: str | None, witness: PublicKey) -> int:
    """How many entries the witness has seen, by the note that he co-signed last; NoteBroken if he did not."""
    return 0 if seen is None else _remembered(seen, witness).size


def cosign(given: Submission, log: Sequence[PublicKey], witness: Signer, seen: str | None, at: datetime) -> str:
    """Co-sign a checkpoint that goes on from the one seen last.

    Args:
        given: the checkpoint and its proof.
        log: keys of the ledger, one of which must have signed.
        witness: who co-signs.
        seen: the note that he co-signed last; None the first time, when any checkpoint is believed.
        at: now.

    Raises:
        NoteBroken: the checkpoint is not the ledger's, or the memory was changed.
        ProofBroken: the proof is not from the size that was seen.
        LedgerBroken: the ledger does not go on from what was seen.
    """
    text, names = open_note(given.note, log)
    new = read_checkpoint(text)
    if new.origin not in names:
        raise NoteBroken(
            f"the checkpoint is of '{new.origin}', and signed in the name of '{names[0]}': a ledger's key signs under "
            "the ledger's own name; it is not co-signed"
        )
    if seen is not None:
        _check_goes_on(_remembered(seen, witness.public), new, given)
    return cosign_note(given.note, witness, at)


def _remembered(seen: str, witness: PublicKey) -> Checkpoint:
    try:
        return read_checkpoint(open_note(seen, [witness])[0])
    except NoteBroken as error:
        raise NoteBroken(f"the witness's memory does not hold what he signed: {error}") from None


def _check_goes_on(old: Checkpoint, new: Checkpoint, given: Submission) -> None:
    if new.origin != old.origin:
        raise NoteBroken(f"the checkpoint is of '{new.origin}', and the witness follows '{old.origin}'")
    if new.size < old.size:
        raise LedgerBroken(
            f"the ledger shows {new.size} entries where {old.size} were seen: it was cut off or is an older copy; keep "
            "both checkpoints",
            "cut off",
            new.size + 1,
        )
    if new.size == old.size:
        if new.root != old.root:
            raise LedgerBroken(_fork(old, new), "forked", 1)
        return
    if old.size and given.old != old.size:
        raise ProofBroken(
            f"the proof goes on from {given.old} entries, and {old.size} were seen; ask for one from there"
        )
    try:
        check_consistency(old.size, new.size, old.root, new.root, given.path)
    except ProofBroken as error:
        raise LedgerBroken(f"{_fork(old, new)} ({error})", "forked", 1) from None


def _fork(old: Checkpoint, new: Checkpoint) -> str:
    return (
        f"the ledger of {new.size} entries does not go on from the {old.size} that were seen: it was rewritten, or "
        "there are two; it is not co-signed, keep both checkpoints"
    )
