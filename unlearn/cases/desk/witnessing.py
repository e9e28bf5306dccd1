"""The desk's witnesses: which are trusted, and the lines that they put under checkpoints that were issued here."""

from __future__ import annotations

from collections.abc import Sequence

from unlearn.cases.desk.bookkeeping import Bookkeeping
from unlearn.cases.desk.ledger_keys import keys_in
from unlearn.cases.rights import OPERATOR, Actor
from unlearn.cases.store import checkpoints
from unlearn.errors import BadInput
from unlearn.evidence.checkpoint import NoteBroken, claimed
from unlearn.evidence.cosigning import Cosignature, cosignatures, lines_in, with_lines, witness_key
from unlearn.evidence.signing import PublicKey


class Witnessing(Bookkeeping):
    """Cosignatures."""

    def witnesses(self) -> list[PublicKey]:
        """The keys of UNLEARN_LEDGER_WITNESSES; LedgerKeyError for what is none of a witness."""
        return [witness_key(one) for one in self.settings.ledger_witnesses]

    def keep_cosignatures(
        self, note: str, witnesses: Sequence[PublicKey] = (), by: Actor = OPERATOR
    ) -> list[Cosignature]:
        """Store what witnesses signed of a checkpoint that was issued here; doing it again changes nothing.

        Args:
            note: the checkpoint with their lines.
            witnesses: trusted besides those of UNLEARN_LEDGER_WITNESSES.
            by: who hands it in.

        Raises:
            BadInput: no witness is known, or no such checkpoint was issued here.
            NoteBroken: it is none, it was altered, or none of the witnesses signed it.
        """
        by.check("audit")
        trusted = list(dict.fromkeys([*witnesses, *self.witnesses()]))
        if not trusted:
            raise BadInput("no witness is trusted here: name its key with --witness, or in UNLEARN_LEDGER_WITNESSES")
        self._check_issued(note)
        found = cosignatures(note, trusted)
        if not found:
            names = ", ".join(f"'{key.name}' (key {key.key_id.hex()})" for key in trusted)
            raise NoteBroken(f"no witness who is trusted here signed this checkpoint; trusted are {names}")
        with self.store.writing() as session:
            checkpoints.cosign(session, found, self._clock())
        return found

    def keep_answer(self, note: str, answer: str) -> list[Cosignature]:
        """`keep_cosignatures` of what an address answered to the checkpoint, if there are lines of trusted witnesses.

        Raises:
            NoteBroken: one of them is wrong.
        """
        lines = lines_in(answer)
        whole = with_lines(note, lines)
        return self.keep_cosignatures(whole) if lines and cosignatures(whole, self.witnesses()) else []

    def _check_issued(self, note: str) -> None:
        """Check that the note's text is that of a checkpoint which is stored."""
        given = claimed(note)
        with self.store.reading() as session:
            stored = checkpoints.of_size(session, given.size)
            origins = {key.public.name for key in keys_in(session)}
        if given.origin not in origins:
            ours = " or ".join(f"'{one}'" for one in sorted(origins)) or "without a name yet"
            raise BadInput(f"the checkpoint is of ledger '{given.origin}', and this one is {ours}")
        if stored is None:
            raise BadInput(f"no checkpoint of {given.size} entries was issued here")
        if claimed(stored) != given:
            raise NoteBroken(
                f"the checkpoint of {given.size} entries that was issued here is another: its text was altered, or "
                "somebody shows another ledger under this name; keep both, and run `unlearn ledger check --checkpoint`"
            )
