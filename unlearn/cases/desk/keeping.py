"""The desk's care that nothing is lost: backups, the journal; and what a restored service awaits before it serves."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from pathlib import Path

from unlearn.cases import journal, withholding
from unlearn.cases.backups.archive import Watch
from unlearn.cases.backups.making import Made, check_outside, make_backup, name_of
from unlearn.cases.backups.placing import left_behind
from unlearn.cases.backups.pruning import clear_away, outdated, take_away
from unlearn.cases.desk.bookkeeping import Bookkeeping
from unlearn.errors import Unavailable
from unlearn.evidence.signing import LedgerKeyError


class Keeping(Bookkeeping):
    """Backups and the journal."""

    def backup(self, into: Path, watch: Watch = lambda count: None) -> Made:
        """Write a backup into a new directory under `into`; see `unlearn.cases.backups`.

        The ledger hears of it before there is a byte of it, and again if nothing comes of it: what lies elsewhere knows
        people who may be forgotten later.
        """
        now = self._clock()
        name = {"backup": name_of(now)}
        check_outside(self.settings, into)
        with self.store.writing() as session:
            self._enter(session, "backup_made", name)
        self._sign()
        try:
            return make_backup(self.store, self.settings, into, now, watch)
        except BaseException:
            with contextlib.suppress(Unavailable), self.store.writing() as session:
                self._enter(session, "backup_disposed", name)
            raise

    def prune_backups(self, into: Path, days: float) -> list[Path]:
        """Take away what is older than so many days: this service's backups under `into`, what restores left.

        Returns:
            What went.
        """
        gone, before = [], self._clock() - timedelta(days=days)
        for path in left_behind(self.settings, before):
            clear_away(path)
            with self.store.writing() as session:
                self._enter(session, "backup_disposed", {"set_aside": path.name})
            gone.append(path)
        for backup in outdated(into, self.settings.identity_hash_key, before):
            take_away(backup)
            said = {"ledger_size": backup.manifest.ledger_size, "ledger_root": backup.manifest.ledger_root}
            with self.store.writing() as session:
                self._enter(session, "backup_disposed", {"backup": backup.path.name, **said})
            gone.append(backup.path)
        return gone

    def _sign(self) -> None:
        """Make a checkpoint, if one can be made: a backup without a new signature is better than none."""
        with contextlib.suppress(LedgerKeyError, Unavailable, OSError):
            self.checkpoint()

    def keep_journal(self) -> int:
        """Write what happened since the last time into the journal; how many entries. Unavailable if that can't be."""
        return journal.keep(self.store, self.settings.effective_journal, self.settings.identity_hash_key)

    def check_serving(self) -> None:
        """Raise Withheld while adapters await that deletions are done again."""
        with self.store.reading() as session:
            found = withholding.awaited(session)
        if found is not None:
            raise withholding.Withheld(str(found))
