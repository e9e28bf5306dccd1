"""`unlearn purge`: says what is due, purges it, and tells by its exit code what could not be."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from unlearn.cases.desk import Desk
from unlearn.cases.rights import HERE
from unlearn.cases.tables import Adapter, AdapterVersion, Job
from unlearn.settings import Settings

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def workshop():
    """What an ended job left behind under home."""
    settings = Settings()
    desk = Desk(settings)
    desk.migrate()
    adapter = {"base": "b", "base_sha256": "0", "policy": {}, "train": "t", "train_sha256": "0", "train_records": 1}
    adapter |= {"holdout": "h", "holdout_sha256": "0", "holdout_records": 1, "created_at": LONG_AGO}
    with desk.store.writing() as session:
        session.add(Adapter(id="adp_1", controller_id=HERE, name="bot", current=2, **adapter))
        session.flush()
        session.add(Job(id="job_1", adapter_id="adp_1", state="failed", created_at=LONG_AGO, finished_at=LONG_AGO))
    desk.close()
    place = settings.home / "jobs" / "job_1"
    (place / "f1").mkdir(parents=True)
    (place / "f1" / "draft").write_bytes(b"weights")
    return place


def test_a_dry_run_says_what_is_due_and_purges_nothing(run, workshop):
    code, out, _ = run("purge", "--dry-run")
    assert (code, out) == (0, "due: what job job_1 left behind\n1 due\n")
    assert (workshop / "f1" / "draft").exists()


def test_what_is_due_is_purged_once(run, workshop):
    code, out, _ = run("purge", "--json")
    assert code == 0
    assert json.loads(out) == {"purged": [{"adapter": "adp_1", "version": None, "job": "job_1"}], "left": 0}
    assert not workshop.exists()
    assert run("purge")[1] == "0 purged\n"


def test_what_can_not_be_purged_is_told_by_the_exit_code(run, workshop):
    desk = Desk(Settings())
    with desk.store.writing() as session:
        version = AdapterVersion(adapter_id="adp_1", number=1, sha256="0", path="/etc", created_at=LONG_AGO)
        version.quarantined_at, version.purge_after = LONG_AGO, LONG_AGO
        session.add(version)
    desk.close()
    code, out, _ = run("purge")
    assert code == 1
    assert out.endswith("1 purged, 1 could not be\n")
