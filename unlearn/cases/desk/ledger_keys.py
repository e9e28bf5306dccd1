"""The desk's ledger keys: which sign, how one follows another."""

from __future__ import annotations

from sqlalchemy.orm import Session

from unlearn.cases import keyring
from unlearn.cases.desk.core import Core
from unlearn.cases.keyring import LedgerKey
from unlearn.cases.rights import OPERATOR, Actor
from unlearn.cases.store import ledger
from unlearn.errors import NotFound
from unlearn.evidence.checkpoint import Checkpoint
from unlearn.evidence.signing import LedgerKeyError, PublicKey, Signer


class LedgerKeys(Core):
    """Keys of the ledger."""

    def ledger_keys(self, by: Actor = OPERATOR) -> list[LedgerKey]:
        """The keys that sign the ledger or did, from the first."""
        by.check("audit")
        with self.store.reading() as session:
            return keys_in(session)

    def keep_ledger_key(self) -> None:
        """See to it that the ledger names a key; LedgerKeyError if the one here can't be used."""
        with self.store.reading() as session:
            if any(key.retired_at is None for key in keys_in(session)):
                return
        with self.store.writing() as session:
            self._first_key(session)

    def _first_key(self, session: Session) -> None:
        ledger.wait_turn(session)
        known = keys_in(session)
        if all(key.retired_at is not None for key in known):
            origin = keyring.next_origin([key.public for key in known])
            self._add_key(session, keyring.signers(self.settings, origin)[0].public, OPERATOR)

    def rotate_ledger_key(self, by: Actor = OPERATOR) -> PublicKey:
        """Enter a new key, which signs from now on beside the old one.

        Under home it is made; a command or UNLEARN_LEDGER_KEY that the ledger does not know yet is taken as it is.

        Raises:
            LedgerKeyError: the key before the present one was not retired yet.
        """
        by.check("admin")
        self.keep_ledger_key()
        with self.store.writing() as session:
            ledger.wait_turn(session)
            known = [key.public for key in keys_in(session)]
            origin = next(key.public.name for key in keys_in(session) if key.retired_at is None)
            first = keyring.signers(self.settings, origin)[0].public
            if first in known:
                if self.settings.ledger_signers or self.settings.ledger_key is not None:
                    raise LedgerKeyError(
                        f"the ledger knows key {first.key_id.hex()} already; put the new one in "
                        "UNLEARN_LEDGER_KEY, or first in UNLEARN_LEDGER_SIGNERS, and the old one behind it or in "
                        "UNLEARN_LEDGER_KEY_PREVIOUS"
                    )
                keyring.rotate_file(self.settings)
                first = keyring.signers(self.settings, origin)[0].public
            self._add_key(session, first, by)
            return first

    def retire_ledger_key(self, key_id: str, by: Actor = OPERATOR) -> PublicKey:
        """End a key's time; what it signed stays verifiable. A file of it under home is deleted.

        Raises:
            NotFound: no key in force has this id.
            LedgerKeyError: it is the only one.
        """
        by.check("admin")
        with self.store.writing() as session:
            ledger.wait_turn(session)
            in_force = [key.public for key in keys_in(session) if key.retired_at is None]
            found = next((key for key in in_force if key.key_id.hex() == key_id), None)
            if found is None:
                raise NotFound("no key in force has this id; `unlearn ledger key list` shows them")
            if len(in_force) == 1:
                raise LedgerKeyError("this is the only key; add another with `unlearn ledger key rotate` before")
            self._enter(session, "ledger_key_retired", {"ledger_key": found.text, "by": by.name})
        keyring.forget_file(self.settings, found)
        return found

    def _add_key(self, session: Session, key: PublicKey, by: Actor) -> None:
        self._enter(session, "ledger_key_added", {"ledger_key": key.text, "by": by.name})

    def _unsigned(self, session: Session) -> tuple[Checkpoint, list[Signer]]:
        """The checkpoint of the ledger as the session sees it, and all who can sign it."""
        in_force = [key.public for key in keys_in(session) if key.retired_at is None]
        here = keyring.signers(self.settings, in_force[0].name)
        able = [signer for signer in here if signer.public in in_force]
        if not able:
            raise LedgerKeyError(
                f"this machine has key {here[0].public.key_id.hex()}, which is none that signs the ledger; give "
                "it the ledger's key (UNLEARN_LEDGER_KEY or UNLEARN_LEDGER_SIGNERS), or enter this one beside the old "
                "one with `unlearn ledger key rotate`"
            )
        size = ledger.size(session)
        return Checkpoint(in_force[0].name, size, ledger.root(session, size)), able


def keys_in(session: Session) -> list[LedgerKey]:
    """The keys that the ledger names."""
    return keyring.keys_of(ledger.entries_of_keys(session))
