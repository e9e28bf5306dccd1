"""Subjects' salts: under which name the ledger knows a subject, and the end of that name.

Entries can't be changed, so that what they say of a person must come loose from the person: they hold HMAC-SHA-256
(RFC 2104) of the subject's hash under a random salt of 32 bytes. Once the salt is gone, nobody can make the name again.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from unlearn.cases.tables import SubjectSalt

SALT_BYTES = 32
KEY = ["controller_id", "subject_hash"]
KEPT = {"salt": SubjectSalt.salt}
"""A salt that is there stays, and setting it to itself is what makes RETURNING give it."""
GIVEN = SubjectSalt.controller_id, SubjectSalt.subject_hash, SubjectSalt.salt
KEEP_POSTGRESQL = postgresql.insert(SubjectSalt).on_conflict_do_update(index_elements=KEY, set_=KEPT).returning(*GIVEN)
KEEP_SQLITE = sqlite.insert(SubjectSalt).on_conflict_do_update(index_elements=KEY, set_=KEPT).returning(*GIVEN)


def pseudonyms(session: Session, whose: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Each pair of controller and subject with its name in the ledger: 64 hex digits. A new one gets a salt."""
    given = [
        {"controller_id": controller, "subject_hash": subject, "salt": secrets.token_bytes(SALT_BYTES)}
        for controller, subject in sorted(set(whose))  # in one order, so that writers don't wait for each other
    ]
    keep = KEEP_POSTGRESQL if session.get_bind().dialect.name == "postgresql" else KEEP_SQLITE
    rows = session.connection().execute(keep, given)
    return {(controller, subject): name(salt, subject) for controller, subject, salt in rows}


def known_pseudonym(session: Session, controller_id: str, subject_hash: str) -> str | None:
    """The subject's name in the ledger; None if it has none, or its salt was destroyed."""
    salt = _salt(session, controller_id, subject_hash)
    return None if salt is None else name(salt, subject_hash)


def known_pseudonyms(session: Session, controller_id: str, subject_hashes: Iterable[str]) -> dict[str, str]:
    """The names that the ledger has for these subjects, by their hashes; without those whose salt was destroyed."""
    query = select(SubjectSalt.subject_hash, SubjectSalt.salt).where(
        SubjectSalt.controller_id == controller_id, SubjectSalt.subject_hash.in_(set(subject_hashes))
    )
    return {row.subject_hash: name(row.salt, row.subject_hash) for row in session.execute(query)}


def name(salt: bytes, subject_hash: str) -> str:
    """HMAC-SHA-256 of the subject's hash under its salt, in hexadecimal."""
    return hmac.new(salt, subject_hash.encode(), hashlib.sha256).hexdigest()


def nonce(session: Session, controller_id: str, subject_hash: str, what: str) -> bytes | None:
    """A secret of 32 bytes about one thing of the subject's; None once her salt was destroyed.

    It may be shown: HMAC-SHA-256 leads nowhere back to the salt, and `name` asks it for no text that has a blank.
    """
    salt = _salt(session, controller_id, subject_hash)
    return None if salt is None else hmac.new(salt, f"nonce {what}".encode(), hashlib.sha256).digest()


def _salt(session: Session, controller_id: str, subject_hash: str) -> bytes | None:
    return session.scalar(
        select(SubjectSalt.salt).where(
            SubjectSalt.controller_id == controller_id, SubjectSalt.subject_hash == subject_hash
        )
    )


def every(session: Session) -> list[SubjectSalt]:
    """The salts of all subjects."""
    return list(session.scalars(select(SubjectSalt)))


def destroy(session: Session, controller_id: str, subject_hash: str) -> bool:
    """Destroy a subject's salt; whether there was one."""
    gone = delete(SubjectSalt).where(
        SubjectSalt.controller_id == controller_id, SubjectSalt.subject_hash == subject_hash
    )
    return bool(session.connection().execute(gone).rowcount)
