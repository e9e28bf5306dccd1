"""The relay: what lies in the outbox reaches the broker, sooner or later, and nothing is lost on the way."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from api.app import create_app
from polling import until
from unlearn.cases import withholding
from unlearn.cases.identity import subject_hash
from unlearn.cases.store import ledger
from unlearn.cases.tables import Adapter, AdapterSubject, AdapterVersion
from unlearn.errors import Unavailable
from workers.queue import Bell
from workers.relay import Relay

NOW = datetime.now(UTC)


@pytest.fixture
def bell(settings):
    bell = Bell(settings)
    yield bell
    bell.close()


def test_a_doorbell_rings_once(broker, desk, bell, queued):
    queued("job_1")
    relay = Relay(desk, bell, seconds=60)
    relay.turn()
    relay.turn()
    assert broker.client.llen("unlearn:gpu") == 1


def test_doorbells_ring_in_the_order_in_which_they_were_put(desk, queued):
    rung = []
    for number in range(3):
        queued(f"job_{number}")
    Relay(desk, rung.append, seconds=60).turn()
    assert rung == ["job_0", "job_1", "job_2"]


def test_one_that_could_not_be_rung_stays_and_those_before_it_do_not_ring_twice(desk, queued):
    rung, broken = [], [True]

    def ring(job_id):
        if job_id == "job_1" and broken:
            raise Unavailable("the broker is away")
        rung.append(job_id)

    for number in range(3):
        queued(f"job_{number}")
    relay = Relay(desk, ring, seconds=60)
    with pytest.raises(Unavailable):
        relay.turn()
    broken.clear()
    relay.turn()
    assert rung == ["job_0", "job_1", "job_2"]


def test_a_broker_outage_only_delays_and_is_logged_once(broker, desk, bell, queued, caplog):
    relay = Relay(desk, bell, seconds=0.05)
    relay.start()
    try:
        broker.kill()
        queued("job_1")
        until(lambda: "doorbells wait" in caplog.text)
        broker.start()
        until(lambda: broker.client.llen("unlearn:gpu") == 1)
        until(lambda: not desk.doorbells())
    finally:
        relay.stop()
    assert caplog.text.count("doorbells wait") == 1


def test_it_goes_on_after_an_error_that_nobody_foresaw(desk, queued):
    rung, errors = [], [OSError("disk"), ValueError("odd")]

    def ring(job_id):
        if errors:
            raise errors.pop()
        rung.append(job_id)

    relay = Relay(desk, ring, seconds=0.01)
    relay.start()
    try:
        queued("job_1")
        until(lambda: rung)
    finally:
        relay.stop()


def test_a_nudge_begins_a_round_at_once_and_stopping_waits_for_no_pause(desk, queued):
    rung = []
    relay = Relay(desk, rung.append, seconds=3600)
    relay.start()
    try:
        queued("job_1")
        relay.nudge()
        until(lambda: rung == ["job_1"])
    finally:
        relay.stop()


def test_a_nudge_only_rings_so_that_many_who_submit_bring_no_sweeps(desk, queued, monkeypatch):
    sweeps, rung, sweep = [], [], desk.sweep
    monkeypatch.setattr(desk, "sweep", lambda: sweeps.append(sweep()))
    relay = Relay(desk, rung.append, seconds=3600)
    relay.start()
    try:
        for number in range(3):
            queued(f"job_{number}")
            relay.nudge()
            until(lambda: len(rung) > number)  # noqa: B023 - called before the next turn
    finally:
        relay.stop()
    assert len(sweeps) == 1


def test_what_happened_is_journaled_and_a_journal_that_cannot_be_written_keeps_no_bell_from_ringing(
    settings, desk, queued, caplog
):
    with desk.store.writing() as session:
        ledger.append(session, NOW, "shadows_made", {"job": "job_1"})
    settings.effective_journal.mkdir()
    rung = []
    relay = Relay(desk, rung.append, seconds=0.01)
    relay.start()
    try:
        queued("job_1")
        until(lambda: rung == ["job_1"])
        until(lambda: "not journaled" in caplog.text)
        settings.effective_journal.rmdir()
        until(lambda: settings.effective_journal.is_file() and "shadows_made" in settings.effective_journal.read_text())
    finally:
        relay.stop()
    assert caplog.text.count("not journaled") == 1


def test_the_service_is_not_ready_while_an_adapter_is_withheld(settings, broker, desk, queued):
    queued("job_1")
    with desk.store.writing() as session:
        adapter_id = session.scalars(select(Adapter.id)).one()
        known = subject_hash(settings.identity_hash_key, "customer:c-1")
        session.add(AdapterSubject(subject_hash=known, adapter_id=adapter_id, records=1))
        version = {"adapter_id": adapter_id, "number": 1, "sha256": "0" * 64, "path": "/v1", "created_at": NOW}
        session.add(AdapterVersion(**version))
    request = desk.submit("customer:c-1")
    with TestClient(create_app(settings)) as api:
        assert api.get("/readyz").status_code == 200
        with desk.store.writing() as session:
            withholding.withhold(session, session.get_one(Adapter, adapter_id), [request.id], [], NOW)
        answer = api.get("/readyz")
        assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (503, "withheld")
        desk.cancel(request.id)
        until(lambda: api.get("/readyz").status_code == 200)
