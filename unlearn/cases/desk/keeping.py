"""The desk's care that nothing is lost: backups, the journal; and what a restored service awaits before it serves."""

from __future__ import annotations

import contextlib
from pathlib import Path

from unlearn.cases import journal, withholding
from unlearn.cases.backups.archive import Watch
from unlearn.cases.backups.making import Made, make_backup
from unlearn.cases.desk.bookkeeping import Bookkeeping
from unlearn.errors import Unavailable
from unlearn.evidence.signing import LedgerKeyError


class Keeping(Bookkeeping):
    """Backups and the journal."""

    def backup(self, into: Path, watch: Watch = lambda count: None) -> Made:
        """Write a backup into a new directory under `into`; see `unlearn.cases.backups`."""
        with contextlib.suppress(
            LedgerKeyError, Unavailable, OSError
        ):  # a backup without a new signature is better than none
            self.checkpoint()
        return make_backup(self.store, self.settings, into, self._clock(), watch)

    def keep_journal(self) -> int:
        """Write what happened since the last time into the journal; how many entries. Unavailable if that can't be."""
        return journal.keep(self.store, self.settings.effective_journal)

    def check_serving(self) -> None:
        """Raise Withheld while adapters await that deletions are done again."""
        with self.store.reading() as session:
            found = withholding.awaited(session)
        if found is not None:
            raise withholding.Withheld(str(found))
