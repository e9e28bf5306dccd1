"""The register of a period as evidence: a signed statement beside the file, in-toto in DSSE, and verifying the two.

The statement repeats the ledger's entry of the export, which has the SHA-256 of the register's bytes, and brings that
entry's path to a signed checkpoint. Knows the register's bytes and rows, and nothing of what a row says.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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
from unlearn.evidence.checkpoint import claimed
from unlearn.evidence.layout import CHECKPOINT, EARLIER, ENTRIES
from unlearn.evidence.ledger import Action, Entry
from unlearn.evidence.refusal import NotVerified, laid_out
from unlearn.evidence.signing import PublicKey
from unlearn.evidence.spelling import line
from unlearn.evidence.statement import STATEMENT_TYPE, issue
from unlearn.evidence.trust import TrustedKey

REGISTER_TYPE = "https://unlearn-service/register/v1"
"""Raise the version when a field changes its meaning; verification goes by it."""

MADE: Action = "register_made"
"""The entry of an export."""

WORD = (
    "by the service's word alone: what the rows say, whose requests have their bundles, that the period had no other "
    "request, and what the company calls itself"
)


def beside(register: Path) -> Path:
    """Where the statement of a register lies."""
    return register.with_name(f"{register.name}.dsse.json")


def register_statement(
    made: Entry,
    company: str,
    entries: Sequence[Entry],
    paths: Mapping[int, Sequence[bytes]],
    checkpoint: str,
    earlier: Mapping[int, Sequence[bytes]],
    signers: Sequence[PublicKey],
) -> dict[str, Any]:
    """The statement about a register.

    Args:
        made: the entry of its export.
        company: what the one whose requests it has calls itself.
        entries: `made`, and those of the ledger's keys, in order.
        paths: of each, by seq, the inclusion path up to the checkpoint's root.
        checkpoint: the signed note.
        earlier: by the size of a checkpoint published before, the consistency path from it to this one.
        signers: who are going to sign it.
    """
    point = claimed(checkpoint)
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": f"register.{made.facts['format']}", "digest": {"sha256": made.facts["sha256"]}}],
        "predicateType": REGISTER_TYPE,
        "predicate": {
            "register": dict(made.facts),
            "company": company,
            "issued": issue(point.origin, made.at, signers),
            "ledger": {
                "origin": point.origin,
                "size": point.size,
                "root": point.root.hex(),
                "entries": [one.seq for one in entries],
            },
            "proof": {
                "checkpoint": checkpoint,
                "entries": [one.as_json() | {"path": [each.hex() for each in paths[one.seq]]} for one in entries],
                "earlier": {str(size): [each.hex() for each in path] for size, path in earlier.items()},
            },
        },
    }


def verify_register(
    register: Path,
    envelope: bytes,
    keys: Sequence[TrustedKey],
    published: Published | None = None,
    witnesses: Sequence[PublicKey] = (),
    now: datetime | None = None,
) -> Iterator[Check]:
    """Each check of a register as it is made; the arguments are those of `verify.verify`, with the statement beside it.

    Raises:
        NotVerified: a check failed; what it was, what was found and what to do.
        OSError: the register can't be read.
    """
    known = [key.named(_origin(envelope)) for key in keys]
    statement, signers = signed(envelope, known, REGISTER_TYPE, beside(register).name)
    own = [one for one in signers if one in known]
    yield Check("signature", f"the statement is signed under {named(own)}")
    yield _file(register, statement)
    predicate = statement["predicate"]
    files = _files(predicate)
    checkpoint, noted = checkpoint_of(files, predicate, known)
    yield Check("checkpoint", f"ledger {checkpoint.origin} with {checkpoint.size} entries, signed under {named(noted)}")
    entries = included(files, predicate, checkpoint)
    yield Check("inclusion", f"{len(entries)} entries are in that ledger, unchanged and in order")
    yield timed(entries, now or datetime.now(UTC))
    yield in_use(own, noted, keys, entries)
    yield consistent(files, checkpoint, known, published, entries)
    yield witnessed(files[CHECKPOINT].decode(), published, witnesses, entries)
    yield _entered(predicate, entries, signers)
    yield Check("word", WORD, made=False)


def _origin(envelope: bytes) -> str:
    """The ledger that the statement says it is of: as its keyid does, before anything is believed."""
    try:
        name = str(json.loads(envelope)["signatures"][0]["keyid"]).partition("+")[0]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        name = ""
    return origin({CHECKPOINT: name.encode()})


@laid_out("register")
def _file(register: Path, statement: Mapping[str, Any]) -> Check:
    """Check that the register is the one that was signed."""
    said = statement["predicate"]["register"]
    subjects = [(one["name"], one["digest"]) for one in statement["subject"]]
    if subjects != [(f"register.{said['format']}", {"sha256": said["sha256"]})]:
        raise NotVerified("register", "the statement's subject is not the register that it speaks of")
    with register.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != said["sha256"]:
        raise NotVerified(
            "register",
            f"'{register}' has SHA-256 {digest}, and the one that was signed {said['sha256']}: it was changed, "
            "or saved anew by a spreadsheet, or is another; take it as it was downloaded",
        )
    with register.open(encoding="utf-8", newline="") as text:
        rows = sum(1 for _ in csv.reader(text)) - 1 if said["format"] == "csv" else sum(1 for _ in text)
    if rows != said["rows"]:
        raise NotVerified("register", f"'{register}' has {rows} rows, and the statement says {said['rows']}")
    which = f", adapter '{said['adapter_name']}' alone" if "adapter_name" in said else ""
    told = f"requests received from {said['from']} to {said['to']}{which}, as of {said['as_of']}"
    return Check("register", f"{rows} {told}: the bytes that were signed")


@laid_out("inclusion")
def _files(predicate: Mapping[str, Any]) -> dict[str, bytes]:
    """What the statement brings of the ledger, under the names that it has in a bundle."""
    proof = predicate["proof"]
    return {
        CHECKPOINT: proof["checkpoint"].encode(),
        ENTRIES: b"".join(map(line, proof["entries"])),
        EARLIER: json.dumps(proof["earlier"]).encode(),
    }


@laid_out("entry")
def _entered(predicate: Mapping[str, Any], entries: Sequence[Entry], signers: Sequence[PublicKey]) -> Check:
    """Check that the ledger took the export down as the statement tells it."""
    made = [entry for entry in entries if not entry.action.startswith("ledger_")]
    if [entry.action for entry in made] != [MADE]:
        raise NotVerified("entry", "there is no entry by which the ledger took this export down, or another beside it")
    if dict(made[0].facts) != predicate["register"]:
        raise NotVerified("entry", f"entry {made[0].seq} is of another register than the one that was signed")
    if predicate["issued"] != issue(predicate["ledger"]["origin"], made[0].at, signers):
        raise NotVerified("entry", "it is not issued by this ledger under the keys that signed, as of its entry")
    by, whose = made[0].facts["by"], made[0].facts["controller"]
    return Check("entry", f"entry {made[0].seq} of {made[0].at}: exported by {by}, of company {whose}")
