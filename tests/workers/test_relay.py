"""The relay: what lies in the outbox reaches the broker, sooner or later, and nothing is lost on the way."""

from __future__ import annotations

import base64
import json

import pytest
from polling import until

from unlearn.cases.desk import Desk
from unlearn.settings import Settings
from workers.queue import Bell
from workers.relay import Relay


@pytest.fixture
def desk(tmp_path, company):
    desk = Desk(Settings(home=tmp_path / "home", roots=[company.path]))
    desk.migrate()
    files = (
        str(company.base),
        str(company.adapter),
        str(company.path / "train.jsonl"),
        str(company.path / "holdout.jsonl"),
    )
    desk.register_adapter("bot", *files)
    yield desk
    desk.close()


def test_a_doorbell_rings_once(desk, company, broker):
    request = desk.submit(company.subject)
    bell = Bell(desk.settings)
    relay = Relay(desk, bell, 60)
    assert relay.round() == 1
    assert relay.round() == 0
    assert broker.client.llen("unlearn:gpu") == 1
    message = json.loads(broker.client.lindex("unlearn:gpu", 0))
    assert request.jobs[0].id.encode() in base64.b64decode(message["body"])
    bell.close()


def test_a_broker_outage_only_delays(desk, company, broker):
    broker.stop()
    bell = Bell(desk.settings)
    relay = Relay(desk, bell, 0.05)
    relay.start()
    try:
        desk.submit(company.subject)
        relay.nudge()
        assert len(desk.doorbells()) == 1
        broker.start()
        until(lambda: desk.doorbells() == [])
        assert broker.client.llen("unlearn:gpu") == 1
    finally:
        relay.stop()
        bell.close()


def test_a_nudge_begins_a_round_at_once(desk, company):
    rung = []
    relay = Relay(desk, rung.append, 3600)
    relay.start()
    try:
        request = desk.submit(company.subject)
        relay.nudge()
        until(lambda: rung == [request.jobs[0].id])
    finally:
        relay.stop()
