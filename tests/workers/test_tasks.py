"""The task around a job: what breaks is told before it leaves."""

from __future__ import annotations

import sys
import types

import pytest

from unlearn import logs

CANARY = "canary-4711"


@pytest.fixture
def tasks(home, desk, monkeypatch):
    """The module of the task; no library loses its handlers to it."""
    from workers import tasks

    monkeypatch.setattr(logs, "adopt", lambda: None)
    return tasks


def carrying_out(monkeypatch, act):
    module = types.ModuleType("unlearn.fulfilment")
    module.fulfil = lambda job_id, **_: act()
    monkeypatch.setitem(sys.modules, "unlearn.fulfilment", module)


def test_a_task_that_breaks_says_where_and_not_with_what(tasks, monkeypatch, caplog):
    def breaks():
        raise RuntimeError(CANARY)

    carrying_out(monkeypatch, breaks)
    with pytest.raises(RuntimeError):
        tasks.fulfil("job_1")
    [record] = [r for r in caplog.records if r.name == "workers.tasks"]
    for formatter in (logs.JsonLines(), logs.TextLines()):
        line = formatter.format(record)
        assert "in breaks" in line
        assert "RuntimeError" in line
        assert CANARY not in line
