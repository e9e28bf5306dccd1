"""The desk's ledger: checkpoints and proofs, who reads which entry, and its inspection."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from sqlalchemy.orm import Session

from unlearn.cases.desk.ledger_keys import LedgerKeys, keys_in
from unlearn.cases.rights import OPERATOR, Actor
from unlearn.cases.store import checkpoints, errands, ledger, owners, requests, salts
from unlearn.cases.views import EntryView
from unlearn.errors import BadInput
from unlearn.evidence import checkpoint as notes
from unlearn.evidence.checkpoint import NoteBroken
from unlearn.evidence.cosigning import with_lines
from unlearn.evidence.inspection import Inspected, KnownRoot
from unlearn.evidence.ledger import LedgerBroken
from unlearn.evidence.merkle import consistency_path, inclusion_path
from unlearn.evidence.signing import LedgerKeyError, PublicKey

log = logging.getLogger(__name__)

OPEN = ("ledger_key_added", "ledger_key_retired", "ledger_converted")
"""Actions that are nobody's, and for all to read."""


class Bookkeeping(LedgerKeys):
    """The ledger."""

    def checkpoint(self, by: Actor = OPERATOR) -> str:
        """A signed note of the whole ledger: the newest that is stored, or a new one when the ledger grew.

        Raises:
            LedgerKeyError: no signer here has a key that the ledger names.
            Unavailable: the signing command does not answer.
        """
        by.check("audit")
        self.keep_ledger_key()
        with self.store.reading() as session:
            stored = checkpoints.newest(session)
            if stored is not None and stored.size == ledger.size(session):
                return stored.note
            point, signers = self._unsigned(session)
        note = notes.sign_note(point.text, signers)  # a command may take its time, and no writer waits for it
        with self.store.writing() as session:
            return checkpoints.keep(session, point.size, note, self._clock())

    def covering_checkpoint(self, size: int, session: Session | None = None) -> str:
        """The oldest stored checkpoint of at least `size` entries, or a new one if there is none.

        One that a witness co-signed, whose lines it has, goes before an older one that nobody did.

        Args:
            size: entries that it must cover.
            session: of a writing transaction that may have appended some of them; a new one without.

        Raises:
            BadInput: the ledger has not so many entries.
        """
        if session is None:
            with self.store.reading() as reading:
                stored = checkpoints.covering(reading, size)
            note = self.checkpoint() if stored is None else stored.note
        else:
            stored = checkpoints.covering(session, size)
            note = self._checkpoint_within(session) if stored is None else stored.note
        has = notes.claimed(note).size
        if has < size:
            raise BadInput(f"the ledger has {has} entries, not {size}")
        if session is not None:
            return with_lines(note, checkpoints.lines(session, has))
        with self.store.reading() as reading:
            return with_lines(note, checkpoints.lines(reading, has))

    def _checkpoint_within(self, session: Session) -> str:
        self._first_key(session)
        point, signers = self._unsigned(session)
        return checkpoints.keep(session, point.size, notes.sign_note(point.text, signers), self._clock())

    def inclusion_proof(self, seq: int, size: int, by: Actor = OPERATOR) -> list[bytes]:
        """The hashes from entry `seq` to the root of the first `size` entries; BadInput if there are not so many."""
        by.check("audit")
        with self.store.reading() as session:
            _check_sizes(session, seq, size)
            return ledger.from_tree(session, lambda node: inclusion_path(seq - 1, size, node))

    def consistency_proof(self, old: int, new: int, by: Actor = OPERATOR) -> list[bytes]:
        """What shows that the first `new` entries go on from the first `old`; BadInput if there are not so many."""
        by.check("audit")
        with self.store.reading() as session:
            _check_sizes(session, old, new)
            return ledger.from_tree(session, lambda node: consistency_path(old, new, node))

    def entries(self, after: int = 0, limit: int = 100, by: Actor = OPERATOR) -> list[EntryView]:
        """Up to `limit` entries that follow entry `after`.

        Of another company's entries a key reads the hash alone, which is enough to compute the root; the operator
        reads all.
        """
        by.check("audit")
        with self.store.reading() as session:
            found = ledger.entries_after(session, after, limit)
            whose = {} if by == OPERATOR else owners.of_entries(session, found)
        return [
            EntryView(one.seq, one.hash, one.at, one.action, dict(one.facts))
            if by == OPERATOR or one.action in OPEN or whose.get(one.seq) == by.controller
            else EntryView(one.seq, one.hash)
            for one in found
        ]

    def shred(self, controller: str, subject_hash: str) -> bool:
        """Destroy what links a subject to its entries, which stay as they are; whether there was anything.

        Her requests stay, too, without her hash and what people wrote: all of them have ended. `settle` has SQLite
        give up what it still has of it.
        """
        with self.store.writing() as session:
            name = salts.known_pseudonym(session, controller, subject_hash)
            if name is not None:
                self._enter(session, "subject_shredded", {"subject": name})  # whoever restores a backup does it again
            requests.unlink(session, controller, subject_hash)
            return salts.destroy(session, controller, subject_hash)

    def settle(self) -> None:
        """Let nothing of what was destroyed stay in the database's own log; the next sweep does what this one can't."""
        if not self.store.settle():
            log.info("the database is read just now, and its log keeps what was destroyed until the next sweep")

    def inspect_ledger(
        self,
        published: Sequence[tuple[str, str]] = (),
        keys: Sequence[PublicKey] = (),
        on_entry: Callable[[int], None] = lambda count: None,
    ) -> Inspected:
        """Check every entry, every node, every stored checkpoint and those published.

        Args:
            published: name and signed note of checkpoints from elsewhere.
            keys: who must have signed those; the keys that the ledger names without.
            on_entry: hears how many entries were checked.

        Raises:
            LedgerBroken: something was changed; it says what.
            NoteBroken: a published checkpoint is not by these keys.
        """
        with self.store.reading() as session:
            return inspect_within(session, published, keys, on_entry)

    def ledger_size(self) -> int:
        """How many entries there are."""
        with self.store.reading() as session:
            return ledger.size(session)

    def plan_publication(self) -> int:
        """Make a checkpoint if the ledger grew, and plan that each target gets it; how many will."""
        note = self.checkpoint()
        targets = self.settings.ledger_publish
        about = f"ledger/{notes.claimed(note).size}"
        with self.store.reading() as session:
            left = errands.unpublished(session, about, targets)
        if not left:
            return 0
        with self.store.writing() as session:
            return errands.publish(session, about, errands.unpublished(session, about, targets), note, self._clock())


def _check_sizes(session: Session, part: int, whole: int) -> None:
    has = ledger.size(session)
    if not 0 <= part <= whole <= has:
        raise BadInput(f"there is no proof from {part} to {whole}: the ledger has {has} entries, and the first is 1")


def inspect_within(
    session: Session,
    published: Sequence[tuple[str, str]] = (),
    keys: Sequence[PublicKey] = (),
    on_entry: Callable[[int], None] = lambda count: None,
) -> Inspected:
    """`Bookkeeping.inspect_ledger` of the ledger as the session sees it."""
    try:
        own = [key.public for key in keys_in(session)]
    except LedgerKeyError:  # the entry of a key was changed, and is found below
        own = []
    known = [_stored(size, note, own) for size, note in checkpoints.every(session)]
    for size, witness, line in checkpoints.every_line(session):
        _check_cosigned(size, checkpoints.of_size(session, size) or "", witness, line)
    known += [_known(name, note, keys or own) for name, note in published]
    found = ledger.inspected(session, known, on_entry)
    if known and not own:
        raise LedgerBroken("the ledger names no key, so that nobody signed its checkpoints", "checkpoint")
    return found


def _stored(size: int, note: str, keys: Sequence[PublicKey]) -> KnownRoot:
    source = f"the stored checkpoint of {size} entries"
    try:
        found = _known(source, note, keys)
    except NoteBroken as error:
        raise LedgerBroken(f"{source} was changed: {error}", "checkpoint") from None
    if found.size != size:
        raise LedgerBroken(f"{source} is one of {found.size}", "checkpoint")
    return found


def _check_cosigned(size: int, note: str, witness: str, line: str) -> None:
    try:
        notes.open_note(with_lines(note, [line]), [PublicKey.from_text(witness)])
    except (NoteBroken, LedgerKeyError) as error:
        raise LedgerBroken(f"a stored cosignature of {size} entries was changed: {error}", "checkpoint") from None


def _known(source: str, note: str, keys: Sequence[PublicKey]) -> KnownRoot:
    """The root in a note; without a key to check it by, what it claims must hold as well."""
    try:
        point = notes.read_checkpoint(notes.open_note(note, keys)[0]) if keys else notes.claimed(note)
    except NoteBroken as error:
        raise NoteBroken(f"{source}: {error}") from None
    return KnownRoot(point.size, point.root, source)
