"""Whether witnesses saw the ledger of a bundle: their lines on its checkpoint, or on one that it goes on alike with."""

from __future__ import annotations

from collections.abc import Sequence

from unlearn.evidence.checkpoint import NoteBroken
from unlearn.evidence.cosigning import Cosignature, cosignatures
from unlearn.evidence.refusal import NotVerified
from unlearn.evidence.signing import PublicKey


def check_witnesses(notes: Sequence[str], witnesses: Sequence[PublicKey], last: int) -> str:
    """Check that each witness co-signed one of the notes, and saw the last entry.

    Args:
        notes: the bundle's checkpoint, and the published one, which was found to be of the same ledger.
        witnesses: the keys that are trusted.
        last: number of the last entry that is to be shown.

    Returns:
        Who saw how many entries, and when.

    Raises:
        NotVerified: one did not, or saw too few entries, or the line in his name is wrong.
    """
    told = [_first(notes, witness) for witness in witnesses]
    for one in told:
        if one.size < last:
            raise NotVerified(
                "witness",
                f"'{one.witness.name}' (key {one.witness.key_id.hex()}) saw the ledger when it had {one.size} entries, "
                f"and the last one here is entry {last}: the checkpoint that it co-signed is older than what is to be "
                "shown; ask for an export from after it co-signed, or give a checkpoint that it co-signed later",
            )
    return "; ".join(f"'{one.witness.name}' saw {one.size} entries at {one.at.isoformat()}" for one in told)


def _first(notes: Sequence[str], witness: PublicKey) -> Cosignature:
    for note in notes:
        try:
            found = cosignatures(note, [witness])
        except NoteBroken as error:
            raise NotVerified("witness", str(error)) from None
        if found:
            return found[0]
    raise NotVerified(
        "witness",
        f"'{witness.name}' (key {witness.key_id.hex()}) did not co-sign the checkpoint: ask for an export from after "
        "that, or give the checkpoint that it co-signed with --checkpoint",
    )
