"""Whether what is signed is in the ledger: statement, checkpoint, entries, their times and keys, what was published.

The checks that a bundle and a register share. Knows neither what a statement says nor what an entry does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from unlearn.evidence.checkpoint import Checkpoint, NoteBroken, claimed, open_note, read_checkpoint, signed_by, signs
from unlearn.evidence.dsse import unseal
from unlearn.evidence.layout import CHECKPOINT, EARLIER, ENTRIES
from unlearn.evidence.ledger import Entry, entry_leaf
from unlearn.evidence.merkle import ProofBroken, check_consistency, check_inclusion, leaf_hash
from unlearn.evidence.refusal import NotVerified, laid_out
from unlearn.evidence.signing import PublicKey
from unlearn.evidence.spelling import read, read_lines
from unlearn.evidence.statement import STATEMENT_TYPE, spelled
from unlearn.evidence.story import ahead, check_times
from unlearn.evidence.trust import TrustedKey
from unlearn.evidence.witnessed import check_witnesses

Files = Mapping[str, bytes]
"""What the evidence brings of the ledger, by the names of `layout`."""


@dataclass(frozen=True)
class Check:
    """A check that held; or, with `made` false, one that nobody asked for, and what is not known without it."""

    name: str
    said: str
    made: bool = True


@dataclass(frozen=True)
class Published:
    """A checkpoint that was published elsewhere.

    Attributes:
        note: the signed note.
        proof: the consistency proof between it and the bundle's, by the size of the smaller; the bundle has those from
            checkpoints before its own.
    """

    note: str
    proof: Mapping[str, Sequence[str]] | None = None


def origin(files: Files) -> str:
    """The ledger that the evidence says it is of; a name for a key that has none."""
    first = files.get(CHECKPOINT, b"").partition(b"\n")[0].decode(errors="replace")
    return first if first.isprintable() and first and not set(first) & {" ", "+"} else "ledger"


@laid_out("signature")
def signed(envelope: bytes, known: Sequence[PublicKey], kind: str, file: str) -> tuple[dict[str, Any], list[PublicKey]]:
    """The statement in an envelope, of this predicate type, and the keys that signed it; one is known.

    Args:
        envelope: the bytes.
        known: who may have signed.
        kind: the predicate type.
        file: what to call it.
    """
    try:
        payload, signers = unseal(envelope, known)
    except NotVerified as error:
        raise NotVerified(error.check, f"{file}: {error}") from None
    statement: dict[str, Any] = read("statement", "the signed payload", payload, spelled)
    if (statement["_type"], statement["predicateType"]) != (STATEMENT_TYPE, kind):
        raise NotVerified(
            "statement",
            f"it is a statement of the type {statement['predicateType']!r}; this program reads {kind} here",
        )
    return statement, signers


def named(keys: Sequence[PublicKey]) -> str:
    """The keys, for people."""
    return " and ".join(key.text for key in keys)


@laid_out("checkpoint")
def checkpoint_of(
    files: Files, predicate: Mapping[str, Any], known: Sequence[PublicKey]
) -> tuple[Checkpoint, list[PublicKey]]:
    """The checkpoint, which is the one that the statement speaks of, and which of the known keys signed it."""
    checkpoint, signers = _opened(files[CHECKPOINT].decode(), known, "checkpoint")
    said = predicate["ledger"]
    if (said["origin"], said["size"], said["root"]) != (checkpoint.origin, checkpoint.size, checkpoint.root.hex()):
        raise NotVerified("checkpoint", f"{CHECKPOINT} is not the checkpoint that the statement speaks of")
    return checkpoint, signers


def _opened(note: str, known: Sequence[PublicKey], check: str) -> tuple[Checkpoint, list[PublicKey]]:
    """The checkpoint in a signed note, and which keys signed it; its origin must be their name."""
    try:
        text, names = open_note(note, known)
        checkpoint = read_checkpoint(text)
    except NoteBroken as error:
        raise NotVerified(check, str(error)) from None
    if checkpoint.origin not in names:
        raise NotVerified(
            check,
            f"it is of ledger '{checkpoint.origin}', and signed in the name of '{names[0]}': another deployment's",
        )
    return checkpoint, [key for key in known if key.name == checkpoint.origin and signs(note, key)]


@laid_out("inclusion")
def included(files: Files, predicate: Mapping[str, Any], checkpoint: Checkpoint) -> list[Entry]:
    """The entries, which are in the ledger, unchanged, and all that the statement lists."""
    entries: list[Entry] = []
    for data in read_lines("inclusion", ENTRIES, files[ENTRIES]):
        path = [bytes.fromhex(one) for one in data.pop("path")]
        entry = Entry(**data)
        if entries and entry.seq <= entries[-1].seq:
            raise NotVerified("inclusion", f"entry {entry.seq} comes after entry {entries[-1].seq}: entries were moved")
        leaf = leaf_hash(entry_leaf(entry.seq, entry.at, entry.action, entry.facts))
        if leaf.hex() != entry.hash:
            raise NotVerified("inclusion", f"entry {entry.seq} was edited: its content does not have its hash")
        try:
            check_inclusion(entry.seq - 1, checkpoint.size, leaf, path, checkpoint.root)
        except ProofBroken as error:
            raise NotVerified("inclusion", f"entry {entry.seq} is not in the ledger: {error}") from None
        entries.append(entry)
    if [entry.seq for entry in entries] != predicate["ledger"]["entries"]:
        raise NotVerified(
            "inclusion", "the entries are not those that the statement lists: some were left out or added"
        )
    return entries


@laid_out("times")
def timed(entries: Sequence[Entry], now: datetime) -> Check:
    """Check the order of the entries' moments."""
    check_times(entries)
    return Check("times", "no entry is earlier than the ones before it" + ahead(entries, now))


@laid_out("key")
def in_use(
    statement: Sequence[PublicKey],
    checkpoint: Sequence[PublicKey],
    keys: Sequence[TrustedKey],
    entries: Sequence[Entry],
) -> Check:
    """Check that no entry is later than the end of a key that signed, as you know it or as the ledger does.

    Of several keys that signed the same, one that was in use is enough.

    Args:
        statement: keys of yours that signed it.
        checkpoint: keys of yours that signed it; the ledger must have taken them into use.
        keys: as they are trusted.
        entries: of the evidence.
    """
    taken = {entry.facts["ledger_key"] for entry in entries if entry.action == "ledger_key_added"}
    for signers, known in ((statement, {key.text for key in statement}), (checkpoint, taken)):
        faults = [_out_of_use(one, known, keys, entries) for one in signers]
        if all(faults):
            raise NotVerified("key", str(faults[0]))
    return Check("key", "the key was in use until the last entry")


def _out_of_use(signer: PublicKey, taken: Set[str], keys: Sequence[TrustedKey], entries: Sequence[Entry]) -> str | None:
    """What is wrong with a key, or None."""
    if signer.text not in taken:
        return f"there is no entry by which the ledger took the key into use that signed it, {signer.text}"
    for entry in entries:
        if entry.action == "ledger_key_retired" and entry.facts["ledger_key"] == signer.text:
            return (
                f"the key {signer.text} signed what holds entry {entry.seq} of {entry.at}, which retires it: ask for "
                "an export under the key that followed"
            )
    ends = [key.until for key in keys if key.raw == signer.raw and key.until is not None]
    last = max(entries, key=lambda entry: datetime.fromisoformat(entry.at))
    if ends and datetime.fromisoformat(last.at) > min(ends):
        return (
            f"the key {signer.text} was retired at {min(ends).isoformat()}, and entry {last.seq} is of {last.at}: it "
            "was signed with a key out of use; ask for an export under the key that followed"
        )
    return None


@laid_out("consistency")
def consistent(
    files: Files,
    checkpoint: Checkpoint,
    known: Sequence[PublicKey],
    published: Published | None,
    entries: Sequence[Entry],
) -> Check:
    """Check that the ledger goes on from the published checkpoint, or before it; tell which entries that one lacks."""
    if published is None:
        unknown = (
            "no published checkpoint was given: whether the keeper of the key rewrote the whole ledger is not known"
        )
        return Check("consistency", unknown, made=False)
    other, _ = _opened(published.note, known, "consistency")
    if other.origin != checkpoint.origin:
        raise NotVerified(
            "consistency",
            f"the published checkpoint is of ledger '{other.origin}', the bundle of '{checkpoint.origin}'",
        )
    old, new = sorted((other, checkpoint), key=lambda one: one.size)
    path = _path(files, old.size, new.size, other, published.proof)
    try:
        check_consistency(old.size, new.size, old.root, new.root, path)
    except ProofBroken as error:
        raise NotVerified("consistency", f"the ledger was rewritten, or there are two of it: {error}") from None
    newer = [entry.seq for entry in entries if entry.seq > other.size]
    if not newer:
        return Check("consistency", f"the same ledger as the published checkpoint of {other.size} entries")
    which = f"entries {newer[0]} to {newer[-1]} are" if len(newer) > 1 else f"entry {newer[0]} is"
    late = (
        f"the published checkpoint, of {other.size} entries, is older than what is to be shown: {which} newer than it, "
        "and whether the keeper of the key rewrote them is not known; give one that was published later"
    )
    return Check("consistency", late, made=False)


def _path(
    files: Files, old: int, new: int, other: Checkpoint, proof: Mapping[str, Sequence[str]] | None
) -> list[bytes]:
    if old == new:
        return []
    given = {**json.loads(files[EARLIER]), **(proof or {})}
    if str(old) in given:
        return [bytes.fromhex(one) for one in given[str(old)]]
    how = f"ask the service for the proof from {old} to {new} entries and give it with --proof"
    if other.size == old:
        raise NotVerified(
            "consistency",
            f"the published checkpoint, of {old} entries, is older than the bundle's, of {new}, and the bundle has no "
            f"proof between them: {how}, or give a checkpoint that was published later",
        )
    raise NotVerified(
        "consistency", f"the published checkpoint, of {new} entries, is later than the bundle's, of {old}: {how}"
    )


@laid_out("witness")
def witnessed(
    note: str, published: Published | None, witnesses: Sequence[PublicKey], entries: Sequence[Entry]
) -> Check:
    """Check that each witness signed the checkpoint, or the published one if that has the last of the entries."""
    if witnesses:
        notes = [note] if published is None else [note, published.note]
        return Check("witness", check_witnesses(notes, witnesses, entries[-1].seq))
    unknown = "no witness's key was given: whether anybody else saw this ledger is not known"
    others = sorted({f"'{name}'" for name in signed_by(note)} - {f"'{claimed(note).origin}'"})
    hint = f"; the checkpoint has a line in the name of {', '.join(others)}" if others else ""
    return Check("witness", unknown + hint, made=False)
