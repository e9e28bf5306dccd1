"""A small request with all that is recorded of it, on a real tree under a real key; and a zip that is changed at will."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from dataclasses import replace
from typing import Any

from unlearn.evidence import merkle
from unlearn.evidence.bundle import build_bundle
from unlearn.evidence.checkpoint import Checkpoint, sign_note
from unlearn.evidence.container import pack, unpack
from unlearn.evidence.dossier import Dossier, Work
from unlearn.evidence.dsse import seal
from unlearn.evidence.ledger import Entry, entry_leaf
from unlearn.evidence.registered import register_statement
from unlearn.evidence.rendered import pretty
from unlearn.evidence.signing import signer_of
from unlearn.evidence.statement import spelled
from unlearn.evidence.trust import TrustedKey

ORIGIN = "desk.example/ledger"
OLD, NEW = "a" * 64, "b" * 64
FINDINGS = [
    {
        "gate": "membership",
        "outcome": "pass",
        "figure": 0.4,
        "interval": [-1.0, 1.8],
        "threshold": [-3.0, 3.0],
        "sentence": "The people lie +0.4 standard deviations from never-seen people.",
    },
    {
        "gate": "retain_drift",
        "outcome": "pass",
        "figure": 0.01,
        "interval": None,
        "threshold": [None, 0.05],
        "sentence": "x",
    },
]
REPORT: dict[str, Any] = {
    "schema": "unlearn/report/v1",
    "verdict": "released",
    "method": "calibrated",
    "findings": FINDINGS,
    "seed": 7,
    "before": {"forget_nll_nats": 1.0, "membership": {"loss": {"auc": 0.9, "interval_90": [0.8, 0.95]}}},
    "after": {"forget_nll_nats": 2.0, "membership": {"loss": {"auc": 0.5, "interval_90": None}}},
    "trace": [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.4}],
    "adapter": {"before_sha256": OLD, "after_sha256": NEW},
    "versions": {"unlearn": "0.1.0", "python": "3.11"},
    "policy": {"seed": 7},
}
JOB = {"id": "job_1", "adapter": "bot", "state": "done", "attempt": 1, "mlflow_run_id": "run1", "report": REPORT}
REQUEST: dict[str, Any] = {
    "id": "req_1",
    "state": "completed",
    "subject": "c" * 64,
    "controller": {"id": "ctl_1", "name": "Example"},
    "regulation": "gdpr",
    "submitted_by": "key:1",
    "received_at": "2026-03-01T10:00:00.000Z",
    "due_at": "2026-04-01T10:00:00.000Z",
    "completed_at": "2026-03-01T10:08:00.000Z",
    "decision": None,
    "jobs": [{"id": "job_1", "adapter": "bot", "state": "done", "verdict": "released", "records": 3}],
}
FACTS: list[tuple[str, dict[str, Any]]] = [
    ("ledger_key_added", {"ledger_key": "the signer's"}),
    ("adapter_registered", {"adapter": "adp_1", "sha256": OLD}),
    ("request_accepted", {"request": "req_1", "subject": "c" * 64, "by": "key:1", "controller": "ctl_1"}),
    ("job_planned", {"job": "job_1", "requests": ["req_1"]}),
    ("key_created", {"key": "2"}),
    ("attempt_started", {"job": "job_1", "attempt": 1}),
    (
        "verdict",
        {
            "job": "job_1",
            "verdict": "released",
            "method": "calibrated",
            "findings": {"membership": "pass", "retain_drift": "pass"},
        },
    ),
    ("version_released", {"job": "job_1", "adapter": "adp_1", "version": 2, "sha256": NEW}),
    ("request_completed", {"request": "req_1"}),
    ("key_created", {"key": "3"}),
]
ABOUT = (3, 4, 6, 7, 8, 9)


def signer(seed: bytes = b"k", name: str = ORIGIN):
    return signer_of(base64.b64encode((seed * 32)[:32]).decode(), name)


def trusted(who=None) -> list[TrustedKey]:
    key = (who or signer()).public
    return [TrustedKey(key.name, key.raw)]


def _entry(seq: int, at: str, action: str, facts: dict[str, Any]) -> Entry:
    return Entry(seq, at, action, facts, merkle.leaf_hash(entry_leaf(seq, at, action, facts)).hex())


class Ledger:
    """The entries of a ledger, its tree and its checkpoints."""

    def __init__(self, facts=FACTS, times=None, who=None, about=ABOUT) -> None:
        self.signer = who or signer()
        told = [seq for seq in about if seq <= len(facts) and not facts[seq - 1][0].startswith("ledger_")]
        facts = [
            (action, one | {"nth": {"req_1": told.index(seq)}} if seq in told else one)
            for seq, (action, one) in enumerate(facts, 1)
        ]
        times = times or [f"2026-03-01T10:{i:02}:00.000Z" for i in range(len(facts))]
        facts = [
            (action, one | {"ledger_key": self.signer.public.text}) if one == FACTS[0][1] else (action, one)
            for action, one in facts
        ]
        self.entries: list[Entry] = [_entry(i + 1, times[i], *one) for i, one in enumerate(facts)]
        self.leaves = [bytes.fromhex(entry.hash) for entry in self.entries]

    def node(self, level: int, index: int) -> bytes:
        return merkle.root(self.leaves[index << level : (index + 1) << level])

    def checkpoint(self, size: int) -> str:
        text = Checkpoint(self.signer.public.name, size, merkle.root(self.leaves[:size])).text
        return sign_note(text, [self.signer])

    def path(self, seq: int, size: int) -> list[bytes]:
        return merkle.inclusion_path(seq - 1, size, self.node)

    def since(self, old: int, size: int) -> list[bytes]:
        return merkle.consistency_path(old, size, self.node)


def dossier(ledger: Ledger | None = None, size: int = 9, about=ABOUT, request=REQUEST, job=JOB, **more: Any) -> Dossier:
    ledger = ledger or Ledger(about=about)
    work = Work(job, {"number": 1, "sha256": OLD}, {"number": 2, "sha256": NEW})
    made = Dossier(
        request,
        [work],
        [ledger.entries[seq - 1] for seq in (1, *about)],
        {seq: ledger.path(seq, size) for seq in (1, *about)},
        ledger.checkpoint(size),
        {old: ledger.since(old, size) for old in (2, 5) if old < size},
        [ledger.signer.public],
    )
    return replace(made, **more)


def bundle(made: Dossier | None = None, *who) -> bytes:
    return build_bundle(made or dossier(), *(who or [signer()]))


def resigned(files: dict[str, bytes], who=None, **said: Any) -> bytes:
    """The bundle of these files as whoever has the key would sign it: manifest and statement made anew.

    `said` replaces fields of the predicate.
    """
    files = dict(files)
    envelope = json.loads(files.pop("statement.dsse.json"))
    statement = json.loads(base64.b64decode(envelope["payload"]))
    files.pop("manifest.json", None)
    listed = [
        {"path": name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in sorted(files.items())
    ]
    manifest = pretty({"schema": "unlearn/manifest/v1", "files": listed})
    for subject in statement["subject"]:
        if subject["name"] == "manifest.json":
            subject["digest"]["sha256"] = hashlib.sha256(manifest).hexdigest()
    statement["predicate"] |= said
    sealed = seal(spelled(statement), who or signer())
    return pack(files | {"manifest.json": manifest, "statement.dsse.json": sealed})


def edited(data: bytes, name: str, change) -> dict[str, bytes]:
    """The files of a bundle, one of them changed."""
    files = unpack(data)
    return files | {name: change(files[name])}


def predicate_of(data: bytes) -> dict[str, Any]:
    envelope = json.loads(unpack(data)["statement.dsse.json"])
    return json.loads(base64.b64decode(envelope["payload"]))["predicate"]


REGISTER = b"request,subject\nreq_1,cccc\nreq_2,dddd\n"
TAKEN: dict[str, Any] = {
    "by": "key:1",
    "controller": "ctl_1",
    "format": "csv",
    "rows": 2,
    "from": "2026-01-01",
    "to": "2026-12-31",
    "as_of": "2026-03-01T10:10:00Z",
    "sha256": hashlib.sha256(REGISTER).hexdigest(),
}


def sealed_register(facts=TAKEN, who=None, size: int = 11, entries=None, change=lambda statement: statement) -> bytes:
    """The statement about a register whose export is entry 11; `facts` are that entry's."""
    who = who or signer()
    ledger = Ledger([*FACTS, ("register_made", facts), ("key_created", {"key": "4"})], about=ABOUT)
    told = [ledger.entries[seq - 1] for seq in entries or (1, 11)]
    paths = {entry.seq: ledger.path(entry.seq, size) for entry in told}
    earlier = {old: ledger.since(old, size) for old in (2, 5)}
    made = register_statement(
        ledger.entries[10], "Example", told, paths, ledger.checkpoint(size), earlier, [who.public]
    )
    return seal(spelled(change(made)), who)


def zipped(entries, compression=zipfile.ZIP_STORED) -> bytes:
    """A zip as other programs write it; `entries` are (name or ZipInfo, bytes)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return out.getvalue()
