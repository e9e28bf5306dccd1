"""The desk's adapters: registered, looked at, rolled back, retired."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from unlearn.cases import lifecycle, registration, resurrection
from unlearn.cases.corpora import Kept
from unlearn.cases.desk.core import there
from unlearn.cases.desk.data import Data
from unlearn.cases.ids import new_id
from unlearn.cases.registration import Registration
from unlearn.cases.resurrection import Admission, Return
from unlearn.cases.rights import OPERATOR, Actor
from unlearn.cases.store import adapters, fingerprints, jobs
from unlearn.cases.store import corpora as stored
from unlearn.cases.store.jobs import NewJob
from unlearn.cases.views import AdapterView
from unlearn.errors import Unavailable
from unlearn.storage import Loan
from unlearn.weights import AdapterFiles

UNFINISHED = "unfinished"
"""A file on the shelf of an adapter that is being registered; one that stays shows that nothing came of it."""


class Adapters(Data):
    """Adapters and their versions."""

    def register_adapter(
        self,
        name: str,
        base: str,
        adapter: str,
        train: str,
        holdout: str,
        policy: dict[str, Any] | None = None,
        *,
        recipe: Mapping[str, Any] | None = None,
        allow_erased: Admission | None = None,
        by: Actor = OPERATOR,
    ) -> AdapterView:
        """Check and register an adapter; weights and corpora are copied: later changes to the files do not matter.

        Registering the same thing again gives the same answer. `recipe` says how the adapter was trained, in the place
        of the file beside its weights; it is kept with the first version. `allow_erased` lets records in that were
        erased before, or name somebody whose deletion was completed.

        Raises:
            BadInput: something can't be used; nothing was changed.
            Conflict: the name belongs to something else.
            ErasedRecords: a corpus holds such records, and nobody says on which ground.
        """
        by.check("adapters:write")
        if allow_erased is not None:
            by.check("review")
        with Loan(self.settings) as loan:
            found = registration.examine(
                self.settings,
                loan,
                self._hash,
                controller=by.controller,
                name=name,
                base=base,
                adapter=adapter,
                train=train,
                holdout=holdout,
                policy=policy,
                recipe=recipe,
            )
            with self.store.reading() as session:
                taken = adapters.by_name(session, by.controller, name)
            if taken is not None:
                return registration.the_same(taken, found)
            id_ = new_id("adp")
            try:
                return self._add(id_, found, allow_erased, by)
            except IntegrityError:  # somebody else took the name since we looked
                self.vault.discard(self.vault.place(id_))
                return registration.the_same(self.adapter(name, by), found)
            except Unavailable:  # which says nothing of what the database took
                raise
            except BaseException:
                self.vault.discard(self.vault.place(id_))
                raise

    def _add(self, id_: str, found: Registration, admission: Admission | None, by: Actor) -> AdapterView:
        guard = self._guard(found, by)
        mark = Path(self.vault.place(id_, UNFINISHED)) if self.vault.is_local else None
        if mark is not None:
            mark.parent.mkdir(parents=True)
            mark.touch()
        weights = self.vault.shelve(found.weights, self.vault.place(id_, "v1"))
        records = {kind: len(corpus.records) for kind, corpus in found.corpora.items()}
        kept = self._keep(id_, found.contents(), records)
        view = self._enroll(id_, found, guard, weights, kept, admission, by)
        if mark is not None:
            mark.unlink()
        return view

    def _enroll(
        self,
        id_: str,
        found: Registration,
        guard: Callable[[Session], Return],
        weights: AdapterFiles,
        kept: list[Kept],
        admission: Admission | None,
        by: Actor,
    ) -> AdapterView:
        now = self._clock()
        with self.store.writing() as session:
            fingerprints.take_turns(session)
            back = guard(session)
            if back and admission is None:
                resurrection.refuse(back)
            row = {"id": id_, "controller_id": by.controller, **found.row}
            if back and admission is not None:
                row["admitted"] = resurrection.admitted(back, admission, by, now)
            adapters.add(session, row, weights, found.subjects, now)
            stored.add(session, kept, now)
            facts = {
                "adapter": id_,
                "name": found.row["name"],
                "sha256": weights.sha256,
                "config_sha256": weights.config_sha256,
                "base_sha256": found.row["base_sha256"],
                "train_sha256": found.row["train_sha256"],
                "holdout_sha256": found.row["holdout_sha256"],
                "by": by.name,
            }
            self._enter(session, "adapter_registered", facts)
            if back and admission is not None:
                came: dict[str, Any] = {kind: len(getattr(back, kind)) for kind in ("exact", "near", "named")}
                came |= {"ground": admission.ground, "by": by.name}
                of_jobs = {request.id for job_id in back.jobs for request in jobs.requests_of(session, job_id)}
                about = sorted(of_jobs | back.requests)
                self._enter(session, "erased_records_admitted", {"adapter": id_, **came}, about)
            if found.row["policy"]["targets"]["shadows_at_registration"]:
                job_id = new_id("job")
                jobs.add_many(session, [NewJob(job_id, id_, now, "shadows")], now)
                self._enter(session, "job_planned", {"job": job_id, "adapter": id_, "kind": "shadows"})
            return adapters.by_id(session, id_)

    def _guard(self, found: Registration, by: Actor) -> Callable[[Session], Return]:
        """Asks which records come back; the time that this takes is spent before the transaction."""
        records = [record for corpus in found.corpora.values() for record in corpus.records]
        ids = [record.id for record in records]
        prints = cache(lambda: self._fingerprinter(by.controller).looked_for(records))

        def about(asked: Collection[str]) -> list[str]:
            return [record.id for record in records if any(self._hash(subject) in asked for subject in record.subjects)]

        def guard(session: Session) -> Return:
            named = resurrection.naming(session, by.controller, found.subjects.keys(), about)
            if not fingerprints.any_of(session, by.controller):
                return named
            back = resurrection.returning(session, by.controller, ids, prints())
            others = tuple(id_ for id_ in named.named if id_ not in {*back.exact, *back.near})
            return replace(back, named=others, requests=named.requests)

        with self.store.reading() as session:
            guard(session)
        return guard

    def adapter(self, name: str, by: Actor = OPERATOR) -> AdapterView:
        """The adapter called `name`; NotFound if there is none."""
        by.check("requests:read", "adapters:write")
        with self.store.reading() as session:
            found = adapters.by_name(session, by.controller, name)
        return there(found, "adapter", "GET /v1/adapters lists them")

    def adapters(self, by: Actor = OPERATOR) -> list[AdapterView]:
        """All adapters by name."""
        by.check("requests:read", "adapters:write")
        with self.store.reading() as session:
            return adapters.every(session, by.controller)

    def roll_back(self, name: str, number: int, *, reopen: bool = False, by: Actor = OPERATOR) -> AdapterView:
        """Let an earlier version of an adapter serve again.

        Args:
            name: the adapter's.
            number: of the version.
            reopen: whether requests that a later version fulfilled are opened again; an earlier one knows them.
            by: who does it.

        Raises:
            NotFound: no such adapter or version.
            Conflict: a job runs on it, or somebody was erased since and `reopen` does not say so.
        """
        by.check("adapters:write")
        with self.store.writing() as session:
            adapter = self._adapter(session, name, by)
            lifecycle.roll_back(session, adapter, number, by, self._clock(), self._hooks, reopen=reopen)
            return there(adapters.by_name(session, by.controller, name), "adapter")

    def retire(self, name: str, by: Actor = OPERATOR) -> AdapterView:
        """Take an adapter out of service for good: its jobs end, and no request waits for it."""
        by.check("adapters:write")
        with self.store.writing() as session:
            lifecycle.retire(session, self._adapter(session, name, by), by, self._clock(), self._hooks)
            return there(adapters.by_name(session, by.controller, name), "adapter")
