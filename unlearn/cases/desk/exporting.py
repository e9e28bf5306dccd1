"""The desk's evidence: the signed bundle of one request."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from unlearn.cases import review
from unlearn.cases.desk.bookkeeping import Bookkeeping
from unlearn.cases.desk.core import there
from unlearn.cases.desk.ledger_keys import keys_in
from unlearn.cases.rights import OPERATOR, Actor
from unlearn.cases.store import adapters, checkpoints, jobs, ledger, requests
from unlearn.cases.tables import Controller, Request
from unlearn.cases.views import AdapterView, JobView, RequestView, VersionView, as_json
from unlearn.errors import Conflict
from unlearn.evidence.agreement import LISTED
from unlearn.evidence.bundle import build_bundle
from unlearn.evidence.checkpoint import claimed, sign_note, signature_line, signs
from unlearn.evidence.cosigning import lines_in, with_lines
from unlearn.evidence.dossier import Dossier, Work
from unlearn.evidence.ledger import REASON, Entry, LedgerBroken, reason_digest
from unlearn.evidence.merkle import consistency_path, inclusion_path
from unlearn.evidence.signing import PublicKey, Signer
from unlearn.evidence.statement import reasons, searched

MOST_EARLIER = 64
"""Checkpoints before a bundle's own, the newest of them, from which it proves that the ledger goes on."""


@dataclass(frozen=True)
class _Case:
    """A request, whose it is, its jobs with the versions before and after each, its entries, and the nonces of reasons
    by entry; all at one moment.
    """

    request: RequestView
    controller: dict[str, str]
    works: tuple[tuple[JobView, dict[str, Any] | None, dict[str, Any] | None], ...]
    entries: tuple[Entry, ...]
    nonces: dict[str, str]


class Exporting(Bookkeeping):
    """Bundles."""

    def export(self, request_id: str, by: Actor = OPERATOR) -> bytes:
        """The request's signed bundle; the same bytes as long as nothing more happens to the request.

        Raises:
            NotFound: no such request.
            Conflict: it has not ended.
            LedgerKeyError: no signer here has a key that the ledger names.
        """
        by.check("audit")
        signers = self._signers()
        case, note = self._covered(request_id, signers, by)
        works = [self._work(*work) for work in case.works]
        with self.store.reading() as session:
            dossier = _dossier(session, case, works, note, [one.public for one in signers])
        bundle = build_bundle(dossier, *signers)  # a command may take its time to sign, and no writer waits for it
        facts = {"request": request_id, "by": by.name, "sha256": hashlib.sha256(bundle).hexdigest()}
        with self.store.writing() as session:
            self._enter(session, "export_made", facts | {"signed_by": key_texts(signers)})
        return bundle

    def _covered(self, request_id: str, signers: Sequence[Signer], by: Actor) -> tuple[_Case, str]:
        """The case, and a checkpoint whose tree has no other entry about it than those."""
        while True:
            case = self._case(request_id, by)
            last = case.entries[-1].seq
            note = self._signed_checkpoint(last, signers)
            with self.store.reading() as session:
                entries = ledger.entries_about(session, request_id)
            if not any(last < entry.seq <= claimed(note).size for entry in entries):
                return case, note

    def _case(self, request_id: str, by: Actor) -> _Case:
        with self.store.reading() as session:
            request = there(requests.by_id(session, by.controller, request_id), "request")
            if request.state not in requests.ENDED:
                raise Conflict(f"request {request_id} is {request.state}; its export is made once it has ended")
            entries = tuple(ledger.entries_about(session, request_id))
            whose = session.get_one(Controller, by.controller)
            controller = {"id": whose.id, "name": whose.name}
            nonces = _nonces(
                session, there(requests.seen(session, by.controller, request_id), "request"), request, entries
            )
            views = [there(jobs.view(session, by.controller, job.id), "job") for job in request.jobs]
            found = {name: adapters.by_name(session, by.controller, name) for name in {view.adapter for view in views}}
        works = [(view, *_versions(view, there(found[view.adapter], "adapter"), entries)) for view in views]
        return _Case(request, controller, tuple(works), entries, nonces)

    def _work(self, job: JobView, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> Work:
        """The job with what MLflow has of its run."""
        if job.mlflow_run_id is None:
            return Work(as_json(job), before, after)
        from unlearn.tracking.recorded import recorded  # MLflow takes seconds to import

        found = recorded(self.settings.effective_mlflow_uri, job.mlflow_run_id)
        if found is None:
            return Work(as_json(job), before, after)
        return Work(as_json(job), before, after, found.run, found.figures)

    def _signers(self) -> list[Signer]:
        """All who can sign in the name of a key in force, the newest first."""
        self.keep_ledger_key()
        with self.store.reading() as session:
            able = {signer.public: signer for signer in self._unsigned(session)[1]}
            return [able[key.public] for key in reversed(keys_in(session)) if key.public in able]

    def _signed_checkpoint(self, size: int, signers: Sequence[Signer]) -> str:
        """The `covering_checkpoint` that has the entries of the signers' keys too, with a line of each.

        So it is the same whichever of them one trusts, and from the same state: Ed25519 signs the same the same way.

        Raises:
            LedgerBroken: the one that is stored is not of this ledger, and nobody signs it.
        """
        with self.store.reading() as session:
            keys = {signer.public.text for signer in signers}
            added = [e for e in ledger.entries_of_keys(session) if e.action == "ledger_key_added"]
        since = max(entry.seq for entry in added if entry.facts["ledger_key"] in keys)
        note = self.covering_checkpoint(max(size, since))
        point = claimed(note)
        missing = [signer for signer in signers if signature_line(note, signer.public) is None]
        with self.store.reading() as session:
            if missing and point.root != ledger.root(session, point.size):
                raise LedgerBroken(
                    f"the stored checkpoint of {point.size} entries does not have the ledger's root: nobody signs it; "
                    "`unlearn ledger check` says what was changed",
                    "checkpoint",
                )
        return with_lines(note, lines_in(sign_note(point.text, missing)))


def _versions(
    job: JobView, adapter: AdapterView, entries: Sequence[Entry]
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Number and digest of the version that the job's last attempt began with, and of the one that it released."""
    begun = [e.facts["version"] for e in entries if e.action == "attempt_started" and e.facts["job"] == job.id]
    told = {version.number: _digests(version) for version in adapter.versions}
    made = [told[version.number] for version in adapter.versions if version.job_id == job.id]
    return (told.get(begun[-1]) if begun else None), (made[-1] if made else None)


def _digests(version: VersionView) -> dict[str, Any]:
    """A version by its digests; that of its config is left out where none was noted."""
    noted = {} if version.config_sha256 is None else {"config_sha256": version.config_sha256}
    return {"number": version.number, "sha256": version.sha256, **noted}


def _dossier(session: Session, case: _Case, works: Sequence[Work], note: str, signers: Sequence[PublicKey]) -> Dossier:
    """All that is recorded of the request, proved to be in the tree of the checkpoint."""
    keys = [key.public for key in keys_in(session)]
    entries, paths, _, earlier = proofs(session, case.entries, note)
    return Dossier(
        request=_request(case),
        works=works,
        entries=entries,
        paths=paths,
        checkpoint=note,
        earlier=earlier,
        keys=[key for key in keys if key in signers or signs(note, key)],
        searched=_searched(session, case.entries),
    )


def _searched(session: Session, entries: Sequence[Entry]) -> bytes | None:
    """The list of the adapters that were searched, where the entries have its digest alone."""
    digest = (searched(entries) or {}).get(LISTED)
    listed = None if digest is None else adapters.kept_list(session, digest)
    return None if listed is None else listed.encode()


def proofs(
    session: Session, about: Sequence[Entry], note: str
) -> tuple[list[Entry], dict[int, list[bytes]], str, dict[int, list[bytes]]]:
    """The entries and those of the keys, their paths to the note, the note, and the paths from older notes."""
    size = claimed(note).size
    of_keys = [entry for entry in ledger.entries_of_keys(session) if entry.seq <= size]
    entries = sorted({entry.seq: entry for entry in [*about, *of_keys]}.values(), key=lambda entry: entry.seq)
    older = [old for old, _ in checkpoints.every(session) if 0 < old < size][-MOST_EARLIER:]
    paths = {entry.seq: _inclusion(session, entry.seq, size) for entry in entries}
    return entries, paths, note, {old: _consistency(session, old, size) for old in older}


def _request(case: _Case) -> dict[str, Any]:
    """The request under the subject's name in the ledger, which is nobody's once its salt is destroyed."""
    told = as_json(case.request)
    del told["subject_hash"]
    facts = case.entries[0].facts
    subject = facts.get("subject") or facts.get("subject_hash")
    return told | {"subject": subject, "controller": case.controller, "nonces": case.nonces}


def _nonces(session: Session, row: Request, request: RequestView, entries: Sequence[Entry]) -> dict[str, str]:
    """Nonces of the reasons that are still the ones of their entries: a restored backup may have lost their text."""
    told, found = reasons(entries, as_json(request)), {}
    for entry in entries:
        if REASON in entry.facts and entry.seq in told:
            nonce = review.nonce_of(session, row, entry.action, entry.facts)
            if nonce is not None and reason_digest(told[entry.seq], nonce) == entry.facts[REASON]:
                found[str(entry.seq)] = nonce.hex()
    return found


def _inclusion(session: Session, seq: int, size: int) -> list[bytes]:
    return ledger.from_tree(session, lambda node: inclusion_path(seq - 1, size, node))


def _consistency(session: Session, old: int, new: int) -> list[bytes]:
    return ledger.from_tree(session, lambda node: consistency_path(old, new, node))


def key_texts(signers: Sequence[Signer]) -> str:
    """The keys as an entry names them; their texts have no blanks."""
    return " ".join(signer.public.text for signer in signers)
