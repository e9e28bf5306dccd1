"""The serving side: adapters of several companies beside each other on one server, and hooks that are told until they hear."""

from __future__ import annotations

import pytest
from test_desk import REPORT, new_version, work

from like_vllm import LikeVllm
from unlearn.errands import run_errands
from unlearn.settings import Settings

pytestmark = pytest.mark.usefixtures("ticking")


@pytest.fixture
def server():
    server = LikeVllm()
    yield server
    server.stop()


@pytest.fixture
def settings(settings, server):
    return Settings(**settings.model_dump() | {"hooks": [{"kind": "vllm", "url": server.url}]})


@pytest.fixture
def people(company):
    return sorted({r.subjects[0] for r in company.world.train if len(r.subjects) == 1})


def release(desk, settings, person, by):
    request = desk.submit(person, by=by)
    claim = work(desk, request.jobs[0].id)
    desk.release(claim, new_version(desk, claim), REPORT)
    run_errands(desk, settings)
    return str(desk.adapter("bot", by).current.path)


@pytest.fixture
def them(desk):
    _, token = desk.create_key("theirs", ["admin"], controller="other company")
    return desk.authenticate(token)


@pytest.fixture
def us(desk):
    _, token = desk.create_key("ours", ["admin"])
    return desk.authenticate(token)


def test_two_companies_with_an_adapter_of_one_name_serve_beside_each_other(
    desk, settings, inputs, people, server, us, them
):
    for one in (us, them):
        desk.register_adapter("bot", **inputs, by=one)
    ours = release(desk, settings, people[0], us)
    theirs = release(desk, settings, people[0], them)
    assert (desk.adapter("bot", us).served_as, desk.adapter("bot", them).served_as) == ("bot", f"{them.controller}.bot")
    assert server.loaded == {"bot": ours, f"{them.controller}.bot": theirs}
    desk.retire("bot", them)
    run_errands(desk, settings)
    assert server.loaded == {"bot": ours}
    assert {message.state for message in desk.messages(by=us) + desk.messages(by=them)} == {"done"}
