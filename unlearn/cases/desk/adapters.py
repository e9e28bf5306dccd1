"""The desk's adapters: registered, looked at, rolled back, retired."""

from __future__ import annotations

from typing import Any

from sqlalchemy.exc import IntegrityError

from unlearn.cases import lifecycle, registration
from unlearn.cases.desk.core import Core, there
from unlearn.cases.ids import new_id
from unlearn.cases.rights import OPERATOR, Actor
from unlearn.cases.store import adapters, jobs
from unlearn.cases.store.jobs import NewJob
from unlearn.cases.views import AdapterView
from unlearn.storage import Loan


class Adapters(Core):
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
        by: Actor = OPERATOR,
    ) -> AdapterView:
        """Check and register an adapter; its weights are copied, so that later changes to the files do not matter.

        Registering the same thing again gives the same answer.

        Raises:
            BadInput: something can't be used; nothing was changed.
            Conflict: the name belongs to something else.
        """
        by.check("adapters:write")
        with Loan(self.settings) as loan:
            found = registration.examine(
                self.settings,
                loan,
                self._hash,
                name=name,
                base=base,
                adapter=adapter,
                train=train,
                holdout=holdout,
                policy=policy,
            )
            with self.store.reading() as session:
                taken = adapters.by_name(session, by.controller, name)
            if taken is not None:
                return registration.the_same(taken, found)
            return self._add(name, found, by)

    def _add(self, name: str, found: registration.Registration, by: Actor) -> AdapterView:
        """Put the weights into the store, and the adapter into the database; or neither."""
        id_, now = new_id("adp"), self._clock()
        try:
            weights = self.vault.shelve(found.weights, self.vault.place(id_, "v1"))
            with self.store.writing() as session:
                row = {"id": id_, "controller_id": by.controller, **found.row}
                adapters.add(session, row, weights, found.subjects, now)
                facts = {
                    "adapter": id_,
                    "name": name,
                    "sha256": weights.sha256,
                    "base_sha256": found.row["base_sha256"],
                    "train_sha256": found.row["train_sha256"],
                    "holdout_sha256": found.row["holdout_sha256"],
                    "by": by.name,
                }
                self._enter(session, "adapter_registered", facts)
                if found.row["policy"]["targets"]["shadows_at_registration"]:
                    job_id = new_id("job")
                    jobs.add_many(session, [NewJob(job_id, id_, now, "shadows")], now)
                    self._enter(session, "job_planned", {"job": job_id, "adapter": id_, "kind": "shadows"})
                return adapters.by_id(session, id_)
        except IntegrityError:  # somebody else took the name since we looked
            self.vault.discard(self.vault.place(id_))
            return registration.the_same(self.adapter(name, by), found)
        except BaseException:
            self.vault.discard(self.vault.place(id_))
            raise

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
