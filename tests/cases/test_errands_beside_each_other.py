"""Errands beside each other: one at a time for an address, deployments first, nobody waiting for somebody else's server."""

from __future__ import annotations

import threading

import pytest

from crowd import at_once
from polling import until
from servers import Answer, Server
from unlearn.cases.desk import Desk
from unlearn.cases.rights import HERE
from unlearn.cases.tables import Errand
from unlearn.errands import HANDS, Courier
from unlearn.settings import Settings


@pytest.fixture
def settings(settings):
    return Settings(**settings.model_dump() | {"callbacks_allow_private": True})


@pytest.fixture
def planned(desk, clock):
    """Puts an errand into the database."""

    def put(id_, target, kind="deploy"):
        payload = {"type": "t", "timestamp": "t", "data": {}, "status_callback_url": "https://back.example/"}
        given = {"controller_id": HERE, "event": "e", "about": f"adp_{id_}", "payload": payload, "attempts": 0}
        with desk.store.writing() as session:
            session.add(
                Errand(
                    id=id_,
                    kind=kind,
                    target=target,
                    state="waiting",
                    next_at=clock(),
                    created_at=clock(),
                    **given,
                )
            )
        clock.forward(0.001)

    return put


class Receiver(Server):
    """Answers once `open` is set; counts who waits for it, and the most that ever did at once."""

    def __init__(self, *, open_: bool) -> None:
        super().__init__(Late)
        self.open, self.waiting, self.most, self.came = threading.Event(), 0, 0, 0
        if open_:
            self.open.set()


class Late(Answer):
    def do_POST(self):
        self.body()
        self.server.waiting += 1
        self.server.most = max(self.server.most, self.server.waiting)
        self.server.open.wait(30)
        self.server.waiting -= 1
        self.server.came += 1
        self.send(200)


def test_a_receiver_that_is_slow_to_answer_keeps_no_other_waiting_and_gets_one_at_a_time(desk, settings, planned):
    slow, quick = Receiver(open_=False), Receiver(open_=True)
    ends = [desk.add_endpoint(server.url)[0].id for server in (slow, quick)]
    for number in range(6):
        planned(f"msg_slow{number}", ends[0], "callback")
    for number in range(3):
        planned(f"msg_quick{number}", ends[1], "callback")
    courier = Courier(desk, settings, 0.01)
    courier.start()
    try:
        until(lambda: quick.came == 3 and slow.waiting == 1)
        assert slow.came == 0
        slow.open.set()
        until(lambda: len(desk.messages("done")) == 9)
    finally:
        slow.open.set()
        courier.stop()
        for server in (slow, quick):
            server.stop()
    assert (slow.most, slow.came, quick.came) == (1, 6, 3)
    assert HANDS > 1


def test_a_deployment_goes_before_callbacks_that_wait_longer(desk, planned):
    for number in range(3):
        planned(f"msg_{number}", f"host{number}", "opendsr")
    planned("msg_d", "0:vllm")
    assert [desk.take_errand().id for _ in range(4)] == ["msg_d", "msg_0", "msg_1", "msg_2"]


def test_what_else_is_for_an_address_waits_as_long_as_what_failed_there(desk, planned, clock):
    planned("msg_0", "host", "opendsr")
    planned("msg_1", "host", "opendsr")
    planned("msg_2", "other", "opendsr")
    failing = desk.take_errand()
    assert (failing.id, desk.take_errand().id, desk.take_errand()) == ("msg_0", "msg_2", None)
    desk.errand_failed(failing, "the receiver answered 429", retry_after=600)
    clock.forward(599)
    assert [m.id for m in desk.messages("waiting") if m.next_at > clock()] == ["msg_0"]
    assert desk.take_errand().id == "msg_2", "whose lease ran out"
    assert desk.take_errand() is None
    clock.forward(2)
    assert desk.take_errand().id == "msg_1"


def test_an_adapter_that_a_server_refuses_keeps_no_other_adapter_from_it(desk, planned):
    planned("msg_0", "0:vllm")
    planned("msg_1", "0:vllm")
    refused = desk.take_errand()
    assert desk.take_errand() is None, "one at a time"
    desk.errand_failed(refused, "vLLM answered 400")
    assert desk.take_errand().id == "msg_1"


def test_processes_that_look_at_once_take_one_errand_an_address(desk, settings, clock, planned):
    for number in range(12):
        planned(f"msg_{number:02}", f"host{number % 3}", "opendsr")
    desks = [Desk(settings, clock) for _ in range(4)]
    taken = []
    at_once(lambda n: [taken.append(desks[n].take_errand()) for _ in range(3)], 4)
    for one in desks:
        one.close()
    assert sorted(task.target for task in taken if task) == ["host0", "host1", "host2"]


def test_what_fails_shows_at_once_and_the_count_of_failures_never_falls(desk, planned, clock):
    planned("msg_0", "host", "opendsr")
    counts = []

    def seen():
        found = desk.figures()
        counts.append(found.errand_failures.get("opendsr", 0))
        return found.errands_retried.get("opendsr", 0), counts[-1]

    assert seen() == (0, 0)
    first = desk.take_errand()
    assert seen() == (0, 0)
    desk.errand_failed(first, "the receiver answered 500")
    assert seen() == (1, 1)
    clock.forward(3600)
    second = desk.take_errand()
    assert seen() == (1, 1)
    assert desk.figures().errand_seconds["opendsr"] == pytest.approx(3600, abs=1)
    desk.errand_failed(second, "the receiver answered 500")
    assert seen() == (1, 2)
    clock.forward(25 * 3600)
    desk.errand_failed(desk.take_errand(), "the receiver answered 500")
    assert desk.messages("failed")
    assert seen() == (0, 3)
    desk.replay("msg_0")
    assert seen() == (1, 3)
    desk.errand_done(desk.take_errand())
    assert seen() == (0, 3)
    assert counts == sorted(counts)
    assert desk.figures().errand_seconds == {}
