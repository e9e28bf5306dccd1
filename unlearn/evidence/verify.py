"""Verifying a bundle: every check in its order, until the first that fails. No database, network or torch.

    container -> signature -> files -> statement -> checkpoint -> inclusion -> numbers -> times -> key -> consistency
    -> witness -> story -> certificate -> adapter

Whoever verifies brings the key; nothing in the bundle is believed before the signature holds under it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unlearn.evidence.agreement import Files, agreed, reports_of, subjects_of, unlisted
from unlearn.evidence.anchored import (
    Check,
    Published,
    checkpoint_of,
    consistent,
    in_use,
    included,
    named,
    origin,
    signed,
    timed,
    witnessed,
)
from unlearn.evidence.certified import WORD, check_certificate
from unlearn.evidence.checkpoint import signs
from unlearn.evidence.container import unpack
from unlearn.evidence.layout import CHECKPOINT, MANIFEST, SCHEMA, STATEMENT, key_files
from unlearn.evidence.ledger import Entry
from unlearn.evidence.numbering import about_request, check_numbers
from unlearn.evidence.refusal import NotVerified, laid_out
from unlearn.evidence.rendered import pretty
from unlearn.evidence.signing import LedgerKeyError, PublicKey
from unlearn.evidence.spelling import read
from unlearn.evidence.statement import CONFIG, PREDICATE_TYPE
from unlearn.evidence.story import DIGESTS, check_story, lost, unproved, untold
from unlearn.evidence.trust import TrustedKey

WEIGHTS = "adapter_model.safetensors"
"""PEFT's file of an adapter's weights; its SHA-256 is the version's."""


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
    known = [key.named(origin(files)) for key in keys]
    if STATEMENT not in files:
        raise NotVerified("signature", f"{STATEMENT} is missing, so that nothing in the zip is signed")
    statement, signers = signed(files[STATEMENT], known, PREDICATE_TYPE, STATEMENT)
    own = [one for one in signers if one in known]
    yield Check("signature", f"the statement is signed under {named(own)}")
    listed = _files(files, statement)
    yield Check("files", f"{listed} files have the SHA-256 that the signed manifest says, and there is no other")
    predicate = agreed(files, statement)
    request = predicate["request"]
    yield Check(
        "statement",
        f"request {request['id']}, {request['state']}; it says what the files say{unlisted(files, predicate)}",
    )
    checkpoint, noted = checkpoint_of(files, predicate, known)
    yield Check("checkpoint", f"ledger {checkpoint.origin} with {checkpoint.size} entries, signed under {named(noted)}")
    entries = included(files, predicate, checkpoint)
    yield Check("inclusion", f"{len(entries)} entries are in that ledger, unchanged and in order")
    yield _numbers(predicate, entries)
    yield timed(entries, now or datetime.now(UTC))
    used = in_use(own, noted, keys, entries)
    _same_keys(files, signers, entries)
    yield used
    yield consistent(files, checkpoint, known, published, entries)
    yield witnessed(files[CHECKPOINT].decode(), published, witnesses, entries)
    laid_out("story")(check_story)(predicate, entries, reports_of(files, predicate))
    yield Check("story", _told(predicate, entries))
    drawn, compared = check_certificate(files, predicate, entries, signers)
    yield Check("certificate", drawn, compared)
    yield Check("word", WORD, made=False)
    yield _adapter(predicate, adapter)


@laid_out("files")
def _files(files: Files, statement: Mapping[str, Any]) -> int:
    if MANIFEST not in files:
        raise NotVerified("files", f"{MANIFEST} is missing")
    if _sha256(files[MANIFEST]) != subjects_of(statement)[MANIFEST]:
        raise NotVerified("files", f"{MANIFEST} is not the one that was signed: its SHA-256 differs")
    manifest = read("files", MANIFEST, files[MANIFEST], pretty)
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


@laid_out("numbers")
def _numbers(predicate: Mapping[str, Any], entries: Sequence[Entry]) -> Check:
    about = about_request(entries)
    if check_numbers(predicate["request"]["id"], about, predicate["ledger"].get("about_request")):
        return Check("numbers", f"{len(about)} entries about the request, by their numbers without a gap")
    unknown = "the entries are from before they were numbered: whether one between them was left out is not known"
    return Check("numbers", unknown, made=False)


@laid_out("key")
def _same_keys(files: Files, signers: Sequence[PublicKey], entries: Sequence[Entry]) -> None:
    """Check that the keys in the bundle are those of the ledger that signed statement or checkpoint, and no other."""
    note = files[CHECKPOINT].decode()
    try:
        of_ledger = [PublicKey.from_text(e.facts["ledger_key"]) for e in entries if e.action == "ledger_key_added"]
    except LedgerKeyError as error:
        raise NotVerified("key", str(error)) from None
    made = key_files([key for key in of_ledger if key in signers or signs(note, key)])
    there = {name: data for name, data in files.items() if name.startswith("keys/")}
    for name in sorted(made.keys() | there.keys()):
        if made.get(name) != there.get(name):
            raise NotVerified("key", f"'{name}' is not what the keys of the ledger make that signed")


def _told(predicate: Mapping[str, Any], entries: Sequence[Entry]) -> str:
    released = [f"{job['adapter']} version {job['after']['number']}" for job in predicate["jobs"] if job["after"]]
    told = f"accepted, judged, {'released ' + ', '.join(released) if released else 'nothing released'}, in this order"
    about = about_request(entries)
    if gone := sorted({*lost(about)} - {job["id"] for job in predicate["jobs"]}):
        told += f"; of {', '.join(gone)} the ledger alone tells, as the database was restored since"
    if silent := ", ".join(map(str, untold(predicate["decisions"]))):
        told += f"; the reasons of entries {silent} are not in the bundle"
    if plain := ", ".join(map(str, unproved(predicate["decisions"]))):
        told += f"; by the service's word alone: the reasons of entries {plain}"
    bare = [str(one.seq) for one in about if one.action in DIGESTS and DIGESTS[one.action] not in one.facts]
    if bare:
        told += f"; by the service's word alone: what entries {', '.join(bare)} are too old to have the digest of"
    whose = about[0].facts.get("controller")
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
