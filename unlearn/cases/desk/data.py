"""The desk's data: the corpora that it keeps of adapters, renewed with each release, and fingerprints of the erased."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from unlearn.cases import corpora
from unlearn.cases.corpora import KINDS, Kept, Rewritten
from unlearn.cases.desk.core import Core
from unlearn.cases.store import adapters, fingerprints, ledger
from unlearn.cases.store import corpora as stored
from unlearn.cases.tables import Adapter, Job
from unlearn.cases.views import AdapterView, CorpusKind
from unlearn.corpus.fingerprints import Fingerprint, Fingerprinter, floors
from unlearn.corpus.jsonl import parse_corpus
from unlearn.corpus.records import Corpus
from unlearn.errors import Unavailable
from unlearn.storage import Loan

T = TypeVar("T")


@dataclass(frozen=True)
class Renewal:
    """The corpora of the version `number` to come, and fingerprints of what is in them no more, each with its floor."""

    number: int
    gone: frozenset[str]
    rewritten: Rewritten
    prints: Sequence[tuple[Fingerprint, float]]

    @property
    def is_empty(self) -> bool:
        """Whether no record went."""
        return not any(self.rewritten.erased.values())


class Data(Core):
    """Corpora and fingerprints."""

    def corpus(self, adapter: AdapterView, kind: CorpusKind) -> Corpus:
        """The corpus that belongs to the version that serves.

        Raises:
            CorpusError: its file is gone or was changed.
        """
        return parse_corpus(self._content(adapter, kind), Path(f"{kind} corpus of adapter '{adapter.name}'"))

    def _content(self, adapter: AdapterView, kind: CorpusKind) -> bytes:
        with self.store.reading() as session:
            kept = {one.kind: one for one in stored.of_version(session, adapter.id, adapter.current.number)}
        if kind in kept:
            return corpora.opened(self.settings.identity_hash_key, kept[kind])
        # Registered before corpora were kept: the client's file, if it is still the same.
        source = (adapter.train, adapter.train_sha256) if kind == "train" else (adapter.holdout, adapter.holdout_sha256)
        with Loan(self.settings) as loan:
            return corpora.registered(loan.corpus(source[0]), source[1])

    def _keep(
        self, adapter_id: str, contents: Mapping[CorpusKind, bytes], records: Mapping[CorpusKind, int]
    ) -> list[Kept]:
        """Seal the corpora of a first version."""
        key = self.settings.identity_hash_key
        return [
            corpora.keep(key, self.vault, (adapter_id, 1, 1), kind, contents[kind], records[kind]) for kind in KINDS
        ]

    def _renewed(self, adapter: AdapterView, number: int, gone: frozenset[str]) -> Renewal:
        """Write the corpora of version `number`, without whoever has one of these hashes; outside of a transaction.

        It may be the version that serves, from whose corpora somebody is to go.
        """

        @cache
        def is_gone(subject: str) -> bool:
            return self._hash(subject) in gone

        contents = {kind: self._content(adapter, kind) for kind in KINDS}
        key = self.settings.identity_hash_key
        with self.store.reading() as session:
            controller = session.get_one(Adapter, adapter.id).controller_id
            edition = stored.newest_edition(session, adapter.id, number) + 1
        rewritten = corpora.rewrite(key, self.vault, (adapter.id, number, edition), contents, is_gone)
        erased = [record for taken in rewritten.erased.values() for record in taken]
        make = self._fingerprinter(controller)
        gone_prints = list(chain(*make.kept(erased, rewritten.stay)))
        told = zip(gone_prints, floors(gone_prints, make.of_those_who_stay(erased, rewritten.stay)), strict=True)
        return Renewal(number, gone, rewritten, [(one, floor) for one, floor in told if floor is not None])

    def _renewing(
        self, adapter: AdapterView, number: int, gone: frozenset[str], end: Callable[[Renewal], T | None]
    ) -> T:
        """Write the corpora of version `number` without `gone` and whoever was erased before, and `end` with them.

        Args:
            adapter: as it is now.
            number: of the version.
            gone: hashes of subjects.
            end: a transaction; None if somebody was erased since the corpora were written, which are then written anew.
        """
        while True:
            with self.store.reading() as session:
                before = adapters.erased_hashes(session, adapter.id)
            renewal = self._renewed(adapter, number, gone | before)
            try:
                ended = end(renewal)
            except Unavailable:  # which says nothing of what the database took
                raise
            except BaseException:
                self._discard(renewal)
                raise
            if ended is not None:
                return ended
            self._discard(renewal)

    def _discard(self, renewal: Renewal) -> None:
        """Take away the corpora of a version of which nothing came."""
        renewal.rewritten.discard(self.vault)

    def _fingerprinter(self, controller: str) -> Fingerprinter:
        return Fingerprinter(self.settings.identity_hash_key, controller)

    def _fits(self, session: Session, job: Job, renewal: Renewal) -> bool:
        """Is it still what the version needs: nobody else was erased since, and nobody wrote its corpora meanwhile?"""
        [edition] = {one.edition for one in renewal.rewritten.kept}
        newest = stored.newest_edition(session, job.adapter_id, renewal.number)
        return edition == newest + 1 and adapters.erased_hashes(session, job.adapter_id) <= renewal.gone

    def _renew(self, session: Session, job: Job, renewal: Renewal, about: Sequence[str], now: datetime) -> None:
        """Let the renewed corpora be those of the version that serves; what they replace goes into quarantine."""
        adapter = session.get_one(Adapter, job.adapter_id)
        rewritten = renewal.rewritten
        purge_after = stored.replace(session, adapter, renewal.number, now)
        stored.add(session, rewritten.kept, now)
        kept = fingerprints.add(session, adapter.controller_id, job.id, renewal.prints, now)
        before = job.erased or {}
        job.erased = {kind: [*before.get(kind, ()), *(r.id for r in went)] for kind, went in rewritten.erased.items()}
        facts: dict[str, Any] = {"job": job.id, "adapter": adapter.id, "version": renewal.number, "fingerprints": kept}
        for one in rewritten.kept:
            facts |= {
                f"{one.kind}_records_erased": len(rewritten.erased[one.kind]),
                f"{one.kind}_records_left": one.records,
                f"{one.kind}_before_sha256": rewritten.before[one.kind],
                f"{one.kind}_after_sha256": one.sha256,
            }
        ledger.append(session, now, "data_erased", facts | {"purge_after": purge_after.isoformat()}, about)
