"""Backups: the service's state as a directory of plain files, and the way back.

    archive    the directory: manifest, digests, seal; knows no table
    making     what goes in
    pruning    taking away those that are too old
    since      what happened between a backup and a loss, from wherever it is known
    replay     making it true again in what was restored
    placing    what is in the way there, and moving in
    restoring  from a directory to a service, all or nothing

Holds no key. An old backup knows people who were forgotten since: restoring it has them forgotten again, and keeps
their adapters from serving until then.
"""

from __future__ import annotations

from unlearn.cases.backups.archive import Archive, BackupBroken, Manifest
from unlearn.cases.backups.making import Made, make_backup
from unlearn.cases.backups.restoring import Restored, restore
from unlearn.cases.backups.since import Asked

__all__ = ["Archive", "Asked", "BackupBroken", "Made", "Manifest", "Restored", "make_backup", "restore"]
