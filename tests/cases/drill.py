"""What drills of backup and restore share."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

from by_hand import REPORT, new_version, work
from sqlalchemy import select

from unlearn.cases.backups import Asked
from unlearn.cases.desk import Desk
from unlearn.cases.desk.work import NOBODY
from unlearn.cases.store import dump, ledger, salts
from unlearn.cases.tables import Request
from unlearn.cases.views import Claim, Own
from unlearn.settings import Settings

NOTHING = Asked(nothing="a drill")


def beside(home: Path, desk: Desk, company, **more) -> Settings:
    (home / "keys").mkdir(parents=True)
    shutil.copy(desk.settings.home / "keys" / "identity.key", home / "keys" / "identity.key")
    return Settings(home=home, roots=[company.path], **more)


def forget(desk: Desk, person: str):
    """A request from its submission to its completion."""
    request = desk.submit(person)
    finish(desk, work(desk, request.jobs[0].id))
    return desk.request(request.id)


def finish(desk: Desk, claim: Claim, own: Mapping[str, Own] = NOBODY) -> None:
    desk.release(claim, new_version(desk, claim), REPORT, own)


def journal_of(desk: Desk, tmp_path: Path) -> Asked:
    """The journal as somebody kept it on another disk."""
    desk.keep_journal()
    copy = tmp_path / "copied.jsonl"
    shutil.copy(desk.settings.effective_journal, copy)
    return Asked(journal=copy)


def content(desk: Desk) -> dict:
    with desk.store.reading() as session:
        connection = session.connection()
        return {one.name: list(dump.rows(connection, one)) for one in dump.tables(connection)}


def gapless(desk: Desk) -> int:
    """How many requests there are, each of whose entries has the next number."""
    with desk.store.reading() as session:
        ids = list(session.scalars(select(Request.id)))
        for id_ in ids:
            about = ledger.entries_about(session, id_)
            assert [entry.facts["nth"][id_] for entry in about] == list(range(len(about)))
    return len(ids)


def tree(root: Path) -> dict:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def salted(desk: Desk, request) -> str | None:
    with desk.store.reading() as session:
        return salts.known_pseudonym(session, "ctl_default", request.subject_hash)


@contextmanager
def small_files(size):
    """A disk that takes files up to some size alone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
