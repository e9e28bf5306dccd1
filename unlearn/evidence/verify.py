"""Verifying a bundle: every check in its order, until the first that fails. No database, network or torch.

    container -> signature -> files -> statement -> checkpoint -> inclusion -> numbers -> times -> key -> consistency
    -> witness -> story -> certificate -> adapter

Whoever verifies brings the key; nothing in the bundle is believed before the signature holds under it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unlearn.evidence.agreement import Files, agreed, reports_of, subjects_of
from unlearn.evidence.certified import WORD, check_certificate
from unlearn.evidence.checkpoint import Checkpoint, NoteBroken, claimed, open_note, read_checkpoint, signed_by
from unlearn.evidence.container import unpack
from unlearn.evidence.dsse import unseal
from unlearn.evidence.layout import CHECKPOINT, EARLIER, ENTRIES, MANIFEST, SCHEMA, STATEMENT
from unlearn.evidence.ledger import Entry, entry_leaf
from unlearn.evidence.merkle import ProofBroken, check_consistency, check_inclusion, leaf_hash
from unlearn.evidence.numbering import about_request, check_numbers
from unlearn.evidence.refusal import NotVerified, laid_out
from unlearn.evidence.signing import PublicKey
from unlearn.evidence.statement import CONFIG, PREDICATE_TYPE, STATEMENT_TYPE
from unlearn.evidence.story import ahead, check_story, check_times
from unlearn.evidence.trust import TrustedKey
from unlearn.evidence.witnessed import check_witnesses

WEIGHTS = "adapter_model.safetensors"
"""PEFT's file of an adapter's weights; its SHA-256 is the version's."""


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


def verify(
    data: bytes,
    keys: Sequence[TrustedKey],
    published: Published | None = None,
    adapter: Path | None = None,
    witnesses: Sequence[PublicKey] = (),
    now: datetime | None = None,
) -> Iterator[Check]:
    """Each check of a bundle as it is made.

    Args:
        data: the bundle's bytes.
        keys: of the ledger, from a place that is trusted.
        published: a checkpoint that was published elsewhere.
        adapter: directory of an adapter that should be the released one.
        witnesses: who must have co-signed the bundle's checkpoint, or the published one.
        now: the moment; entries after it are told. None: this computer's.

    Raises:
        NotVerified: a check failed; what it was, what was found and what to do.
    """
    files = unpack(data)
    yield Check("container", f"{len(files)} files of {sum(map(len, files.values()))} bytes in a plain zip")
    known = [key.named(_origin(files)) for key in keys]
    statement, signer = _signature(files, known)
    yield Check("signature", f"the statement is signed under {signer.text}")
    listed = _files(files, statement)
    yield Check("files", f"{listed} files have the SHA-256 that the signed manifest says, and there is no other")
    predicate = agreed(files, statement)
    request = predicate["request"]
    yield Check("statement", f"request {request['id']}, {request['state']}; it says what the files say")
    checkpoint, noted = _checkpoint(files, predicate, known)
    yield Check("checkpoint", f"ledger {checkpoint.origin} with {checkpoint.size} entries, signed under {noted.text}")
    entries = _inclusion(files, predicate, checkpoint)
    yield Check("inclusion", f"{len(entries)} entries are in that ledger, unchanged and in order")
    yield _numbers(predicate, entries)
    yield _times(entries, now or datetime.now(UTC))
    yield _in_use((signer, noted), keys, entries)
    yield _consistency(files, checkpoint, known, published)
    yield _witness(files[CHECKPOINT].decode(), published, witnesses)
    laid_out("story")(check_story)(predicate, entries, reports_of(files, predicate))
    yield Check("story", _told(predicate, entries))
    drawn, compared = check_certificate(files, predicate, entries, signer)
    yield Check("certificate", drawn, compared)
    yield Check("word", WORD, made=False)
    yield _adapter(predicate, adapter)


def _origin(files: Files) -> str:
    """The ledger that the bundle says it is of; a name for a key that has none."""
    first = files.get(CHECKPOINT, b"").partition(b"\n")[0].decode(errors="replace")
    return first if first.isprintable() and first and not set(first) & {" ", "+"} else "ledger"


@laid_out("signature")
def _signature(files: Files, known: Sequence[PublicKey]) -> tuple[dict[str, Any], PublicKey]:
    if STATEMENT not in files:
        raise NotVerified("signature", f"{STATEMENT} is missing, so that nothing in the zip is signed")
    payload, signer = unseal(files[STATEMENT], known)
    statement = json.loads(payload)
    if (statement["_type"], statement["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise NotVerified(
            "statement",
            f"it is a statement of the type {statement['predicateType']!r}; this program reads {PREDICATE_TYPE}",
        )
    return statement, signer


@laid_out("files")
def _files(files: Files, statement: Mapping[str, Any]) -> int:
    if MANIFEST not in files:
        raise NotVerified("files", f"{MANIFEST} is missing")
    if _sha256(files[MANIFEST]) != subjects_of(statement)[MANIFEST]:
        raise NotVerified("files", f"{MANIFEST} is not the one that was signed: its SHA-256 differs")
    manifest = json.loads(files[MANIFEST])
    if manifest["schema"] != SCHEMA:
        raise NotVerified("files", f"the manifest is of the schema {manifest['schema']!r}; this program reads {SCHEMA}")
    listed = {one["path"]: (one["sha256"], one["bytes"]) for one in manifest["files"]}
    there = set(files) - {MANIFEST, STATEMENT}
    for name in sorted(set(listed) - there):
        raise NotVerified("files", f"'{name}' is missing; the manifest lists it")
    for name in sorted(there - set(listed)):
        raise NotVerified("files", f"'{name}' is in the zip, and the manifest does not list it: somebody added it")
    for name, (digest, size) in listed.items():
        if (_sha256(files[name]), len(files[name])) != (digest, size):
            raise NotVerified("files", f"'{name}' was changed: it does not have the SHA-256 and size that were signed")
    return len(listed)


@laid_out("checkpoint")
def _checkpoint(files: Files, predicate: Mapping[str, Any], known: Sequence[PublicKey]) -> tuple[Checkpoint, PublicKey]:
    checkpoint, signer = _opened(files[CHECKPOINT].decode(), known, "checkpoint")
    said = predicate["ledger"]
    if (said["origin"], said["size"], said["root"]) != (checkpoint.origin, checkpoint.size, checkpoint.root.hex()):
        raise NotVerified("checkpoint", f"{CHECKPOINT} is not the checkpoint that the statement speaks of")
    return checkpoint, signer


def _opened(note: str, known: Sequence[PublicKey], check: str) -> tuple[Checkpoint, PublicKey]:
    """The checkpoint in a signed note, and which key signed it; its origin must be the key's name."""
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
    for key in known:  # several keys of one ledger: which of them
        if key.name == checkpoint.origin and _signs(note, key):
            return checkpoint, key
    raise NotVerified(check, f"no key of ledger '{checkpoint.origin}' signed the checkpoint")


def _signs(note: str, key: PublicKey) -> bool:
    try:
        open_note(note, [key])
    except NoteBroken:
        return False
    return True


@laid_out("inclusion")
def _inclusion(files: Files, predicate: Mapping[str, Any], checkpoint: Checkpoint) -> list[Entry]:
    entries: list[Entry] = []
    for line in files[ENTRIES].decode().splitlines():
        data = json.loads(line)
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


@laid_out("numbers")
def _numbers(predicate: Mapping[str, Any], entries: Sequence[Entry]) -> Check:
    about = about_request(entries)
    if check_numbers(predicate["request"]["id"], about, predicate["ledger"].get("about_request")):
        return Check("numbers", f"{len(about)} entries about the request, by their numbers without a gap")
    unknown = "the entries are from before they were numbered: whether one between them was left out is not known"
    return Check("numbers", unknown, made=False)


@laid_out("times")
def _times(entries: Sequence[Entry], now: datetime) -> Check:
    check_times(entries)
    return Check("times", "no entry is earlier than the ones before it" + ahead(entries, now))


@laid_out("key")
def _in_use(signers: Sequence[PublicKey], keys: Sequence[TrustedKey], entries: Sequence[Entry]) -> Check:
    """Check that no entry is later than the end of a key that signed, as you know it or as the ledger does.

    Args:
        signers: of the statement, and of the checkpoint, which the ledger must have taken into use.
        keys: as they are trusted.
        entries: in the bundle.
    """
    if not any(e.action == "ledger_key_added" and e.facts["ledger_key"] == signers[-1].text for e in entries):
        raise NotVerified(
            "key", f"there is no entry by which the ledger took the key into use that signed it, {signers[-1].text}"
        )
    last = max(entries, key=lambda entry: datetime.fromisoformat(entry.at))
    for signer in signers:
        for entry in entries:
            if entry.action == "ledger_key_retired" and entry.facts["ledger_key"] == signer.text:
                raise NotVerified(
                    "key",
                    f"the key {signer.text} signed what holds entry {entry.seq} of {entry.at}, which retires it: "
                    "ask for an export under the key that followed",
                )
        ends = [key.until for key in keys if key.raw == signer.raw and key.until is not None]
        if ends and datetime.fromisoformat(last.at) > min(ends):
            raise NotVerified(
                "key",
                f"the key {signer.text} was retired at {min(ends).isoformat()}, and entry {last.seq} is of {last.at}: "
                "it was signed with a key out of use; ask for an export under the key that followed",
            )
    return Check("key", "the key was in use until the last entry")


@laid_out("consistency")
def _consistency(
    files: Files, checkpoint: Checkpoint, known: Sequence[PublicKey], published: Published | None
) -> Check:
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
    return Check("consistency", f"the same ledger as the published checkpoint of {other.size} entries")


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
def _witness(note: str, published: Published | None, witnesses: Sequence[PublicKey]) -> Check:
    if witnesses:
        notes = [note] if published is None else [note, published.note]
        return Check("witness", check_witnesses(notes, witnesses))
    unknown = "no witness's key was given: whether anybody else saw this ledger is not known"
    others = sorted({f"'{name}'" for name in signed_by(note)} - {f"'{claimed(note).origin}'"})
    hint = f"; the checkpoint has a line in the name of {', '.join(others)}" if others else ""
    return Check("witness", unknown + hint, made=False)


def _told(predicate: Mapping[str, Any], entries: Sequence[Entry]) -> str:
    released = [f"{job['adapter']} version {job['after']['number']}" for job in predicate["jobs"] if job["after"]]
    told = f"accepted, judged, {'released ' + ', '.join(released) if released else 'nothing released'}, in this order"
    whose = about_request(entries)[0].facts.get("controller")
    return told if whose else f"{told}; whose request it is, its first entry is too old to say"


@laid_out("adapter")
def _adapter(predicate: Mapping[str, Any], folder: Path | None) -> Check:
    if folder is None:
        return Check("adapter", "no adapter was given: whether the released version serves is not known", made=False)
    path = folder / WEIGHTS
    if not path.is_file():
        raise NotVerified("adapter", f"'{folder}' has no {WEIGHTS}; name the directory of the adapter that serves")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    for when in ("after", "before"):
        for job in predicate["jobs"]:
            if job[when] is None or job[when]["sha256"] != digest:
                continue
            found = f"'{folder}' is version {job[when]['number']} of {job['adapter']}"
            if when == "after":
                return Check("adapter", f"{found}, as released{_config(folder, job[when].get('config_sha256'))}")
            raise NotVerified("adapter", f"{found}: the one from before, which still knows the person")
    raise NotVerified("adapter", f"'{folder}' has SHA-256 {digest}, which is none of the versions in the bundle")


def _config(folder: Path, noted: str | None) -> str:
    """What is to be added of the adapter's config, which says how the weights are scaled and where they go."""
    if noted is None:
        return f"; its {CONFIG} was not noted then: whether that is as released is not known"
    path = folder / CONFIG
    if not path.is_file() or _sha256(path.read_bytes()) != noted:
        raise NotVerified(
            "adapter",
            f"'{folder}' has the weights that were released, and not their {CONFIG}, which scales them and says where "
            "they go; put the released one back",
        )
    return ""


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
