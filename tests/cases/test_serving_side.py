"""The serving side: adapters of several companies beside each other on one server, and hooks that are told until they hear."""

from __future__ import annotations

import pytest
from by_hand import REPORT, new_version, work

from errands import run_errands
from like_vllm import LikeVllm
from unlearn.cases.desk import Desk
from unlearn.cases.store.ledger import all_entries, entries_about
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


def deployed(desk, about=None):
    """What the ledger says of hooks that heard; of one request, or of all."""
    with desk.store.reading() as session:
        entries = all_entries(session) if about is None else entries_about(session, about)
        return [(e.facts["hook"], e.facts["version"]) for e in entries if e.action == "deployment_done"]


def test_a_server_that_is_away_for_a_weekend_changes_over_when_it_is_back(
    desk, settings, adapter, people, server, clock, us
):
    release(desk, settings, people[0], us)
    server.fail = 1000
    path = release(desk, settings, people[1], us)
    for _ in range(72):
        clock.forward(3601)
        run_errands(desk, settings)
    [waiting] = desk.messages("waiting")
    assert (waiting.target, waiting.attempts) == ("0:vllm", 73), "each pause is an hour at most"
    assert server.loaded["bot"] != path
    server.fail = 0
    clock.forward(3601)
    run_errands(desk, settings)
    assert server.loaded["bot"] == path
    assert desk.messages("waiting") == desk.messages("failed") == []


def test_that_a_server_changed_over_is_a_fact_about_everybody_whom_it_does_not_know_any_more(
    desk, settings, adapter, people, server, clock, us
):
    server.fail = 1
    first = desk.submit(people[0])
    claim = work(desk, first.jobs[0].id)
    desk.release(claim, new_version(desk, claim), REPORT)
    run_errands(desk, settings)
    assert deployed(desk, first.id) == [("link", 2)]
    second = desk.submit(people[1])
    claim = work(desk, second.jobs[0].id)
    desk.release(claim, new_version(desk, claim), REPORT)
    run_errands(desk, settings)
    assert sorted(deployed(desk, first.id)) == [("0:vllm", 3), ("link", 2)]
    assert sorted(deployed(desk, second.id)) == [("0:vllm", 3), ("link", 3)]
    desk.retire("bot")
    run_errands(desk, settings)
    assert len(deployed(desk)) == 5
    assert len(deployed(desk, first.id) + deployed(desk, second.id)) == 4


def test_what_was_to_be_told_to_a_hook_that_is_configured_no_more_is_given_up_after_a_day(
    desk, settings, adapter, people, server, clock, us
):
    server.fail = 1000
    release(desk, settings, people[0], us)
    without = Desk(settings.model_copy(update={"hooks": []}), clock)
    for _ in range(30):
        clock.forward(3600)
        run_errands(without, without.settings)
    without.close()
    assert [message.state for message in desk.messages() if message.target == "0:vllm"] == ["failed"]
