"""The desk's register of a period: its rows, its export with an entry in the ledger, and the statement about that."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import IO, Any

from unlearn.cases.desk.core import there
from unlearn.cases.desk.exporting import Exporting, key_texts, proofs
from unlearn.cases.rights import OPERATOR, Actor
from unlearn.cases.store import adapters, ledger, salts
from unlearn.cases.store import register as registers
from unlearn.cases.store.register import Period
from unlearn.cases.tables import Controller
from unlearn.cases.views import as_json, rfc3339
from unlearn.errors import BadInput
from unlearn.evidence.dsse import seal
from unlearn.evidence.register import Format, row, written
from unlearn.evidence.registered import MADE, register_statement
from unlearn.evidence.statement import spelled

PAGE = 500
EARLIEST, LATEST = date(2000, 1, 1), date(9000, 1, 1)
LONGEST_PERIOD = timedelta(days=3660)
IN_MEMORY_BYTES = 8 * 1024 * 1024
"""Of a register; a longer one waits in a temporary file."""


@dataclass(frozen=True)
class Exported:
    """A register that was exported: a file at its beginning, its size, and the number of the ledger's entry."""

    file: IO[bytes]
    size_bytes: int
    entry: int


class Registers(Exporting):
    """Registers of periods."""

    def register(
        self, since: date | None, until: date | None, adapter: str | None = None, by: Actor = OPERATOR
    ) -> Iterator[dict[str, Any]]:
        """A row for each request received from the day `since` to the day `until`, in the order in which they came.

        Args:
            since: without, a year before `until`.
            until: without, today.
            adapter: only requests with a job on the one of this name.
            by: who asks.

        Raises:
            BadInput: the period ends before it begins, or is longer than ten years.
            NotFound: there is no such adapter.
        """
        return self._rows(self._period(since, until, adapter, by), by.controller, self._clock())

    def export_register(
        self,
        since: date | None,
        until: date | None,
        adapter: str | None = None,
        form: Format = "csv",
        by: Actor = OPERATOR,
    ) -> Exported:
        """The register of `register` as a file; the ledger says who took it, of which period, and its SHA-256.

        The same state at the same moment has the same bytes: days of a request that waits run until then.

        Raises:
            BadInput, NotFound: as `register`.
            LedgerKeyError: no signer here has a key that the ledger names.
        """
        period, now = self._period(since, until, adapter, by), self._clock()
        signed_by = key_texts(self._signers())
        file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115
        digest, rows = hashlib.sha256(), 0

        def counted() -> Iterator[dict[str, Any]]:
            nonlocal rows
            for one in self._rows(period, by.controller, now):
                rows += 1
                yield one

        for line in written(counted(), form):
            digest.update(line.encode())
            file.write(line.encode())
        facts = {"by": by.name, "controller": by.controller, "format": form, "rows": rows, "as_of": rfc3339(now)}
        facts |= {"from": str(period.since.date()), "to": str(period.until.date() - timedelta(days=1))}
        with self.store.writing() as session:
            if adapter is not None:
                facts |= {"adapter": self._adapter(session, adapter, by).id, "adapter_name": adapter}
            facts |= {"sha256": digest.hexdigest(), "signed_by": signed_by}
            entry = ledger.append(session, now, MADE, facts)
        size = file.tell()
        file.seek(0)
        return Exported(file, size, entry.seq)

    def register_statement(self, seq: int, by: Actor = OPERATOR) -> bytes:
        """The signed statement about the register that entry `seq` is of: a DSSE envelope.

        Raises:
            NotFound: the company has no such entry.
            LedgerKeyError: no signer here has a key that the ledger names.
            Unavailable: the signing command does not answer.
        """
        by.check("audit")
        with self.store.reading() as session:
            found = [
                one
                for one in ledger.entries_after(session, seq - 1, 1)
                if (one.seq, one.action, one.facts.get("controller")) == (seq, MADE, by.controller)
            ]
            [made] = [there(next(iter(found), None), "register", "the answer that it came with links to its statement")]
        signers = self._signers()
        note = self._signed_checkpoint(seq, signers)
        with self.store.reading() as session:
            company = session.get_one(Controller, by.controller).name
            proved = proofs(session, [made], note)
        said = register_statement(made, company, *proved, [one.public for one in signers])
        return seal(spelled(said), *signers)  # a command may take its time to sign, and no writer waits for it

    def _period(self, since: date | None, until: date | None, adapter: str | None, by: Actor) -> Period:
        by.check("audit")
        until = until or self._clock().date()
        if not EARLIEST <= until <= LATEST:
            raise BadInput(f"a period can't end on {until}; give a day such as {self._clock().date()}")
        since = since or until - timedelta(days=365)
        if not timedelta(0) <= until - since <= LONGEST_PERIOD:
            raise BadInput(
                f"a period from {since} to {until} can't be; give two days in order, ten years apart at most"
            )
        if adapter is not None:
            with self.store.reading() as session:
                there(adapters.by_name(session, by.controller, adapter), "adapter", "GET /v1/adapters lists them")
        start, end = (datetime.combine(day, time(), UTC) for day in (since, until + timedelta(days=1)))
        return Period(start, end, adapter)

    def _rows(self, period: Period, controller: str, now: datetime) -> Iterator[dict[str, Any]]:
        after = None
        while True:
            with self.store.reading() as session:
                page = registers.page(session, controller, period, after, PAGE)
                methods = registers.methods(session, [view.id for view in page])
                names = salts.known_pseudonyms(session, controller, [view.subject_hash for view in page])
            for view in page:
                told = as_json(view)
                jobs = [job | {"method": methods.get(job["id"])} for job in told["jobs"]]
                yield row(told | {"subject": names.get(view.subject_hash)}, jobs, now)
            if len(page) < PAGE:
                return
            after = page[-1]
