"""Callbacks and hooks: planned with the change they tell of, run once at a time, retried, replayed, and sent to nobody wrong."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from by_hand import REFUSED, REPORT, new_version, release, work
from sqlalchemy import text
from standardwebhooks import Webhook, WebhookVerificationError

from crowd import at_once
from errands import run_errands
from outbound.papers import certificate, ec_key, pem
from polling import until
from servers import Answer, Server
from unlearn.cases import telling
from unlearn.cases.desk import Desk
from unlearn.cases.desk.requests import Wish
from unlearn.cases.ids import new_id
from unlearn.cases.sealing import seal, unseal
from unlearn.cases.store.ledger import all_entries, entries_about
from unlearn.deploy import Vllm
from unlearn.errands import Courier, hook_of
from unlearn.errors import BadInput, Conflict, NotFound
from unlearn.outbound import CallbackRefused, verify
from unlearn.settings import Settings

pytestmark = pytest.mark.usefixtures("ticking")


@pytest.fixture
def settings(settings):
    return Settings(**settings.model_dump() | {"callbacks_allow_private": True})


class Hook(Answer):
    """Answers what its server is told to, 200 without; keeps what came."""

    def do_POST(self):
        self.server.came.append((dict(self.headers), self.body()))
        status, headers = self.server.answers.pop(0) if self.server.answers else (200, {})
        self.send(status, headers=headers)


@pytest.fixture
def receiver():
    server = Server(Hook)
    server.came, server.answers = [], []
    yield server
    server.stop()


def test_every_change_of_a_request_is_told_signed_and_names_nobody(desk, settings, adapter, people, receiver):
    view, secret = desk.add_endpoint(receiver.url)
    request = desk.submit(people[0], external_id="ticket-1")
    release(desk, work(desk, request.jobs[0].id))
    assert run_errands(desk, settings) == 3  # two callbacks, and the link
    told = [json.loads(body) for _, body in receiver.came]
    assert [message["type"] for message in told] == ["request.in_progress", "request.completed"]
    assert told[1]["data"] == {
        "request": request.id,
        "external_id": "ticket-1",
        "state": "completed",
        "due_at": request.due_at.isoformat(),
    }
    kept = {message.id: message for message in desk.messages()}
    for headers, body in receiver.came:
        lower = {key.lower(): value for key, value in headers.items()}
        Webhook(secret).verify(body.decode(), lower)
        assert kept[lower["webhook-id"]].target == view.id
        assert people[0].partition(":")[2].encode() not in body
    assert {message.state for message in kept.values()} == {"done"}
    assert run_errands(desk, settings) == 0
    with desk.store.reading() as session:
        arrived = [e.facts for e in entries_about(session, request.id) if e.action == "callback_delivered"]
    assert [(fact["request"], fact["event"]) for fact in arrived] == [
        (request.id, "request.in_progress"),
        (request.id, "request.completed"),
    ]
    assert {fact["message"] for fact in arrived} <= set(kept)
    assert receiver.url not in str(arrived)


def test_the_secret_is_shown_once_and_sealed(desk, receiver):
    view, secret = desk.add_endpoint(receiver.url)
    with desk.store.engine.connect() as connection:
        sealed = connection.execute(text("SELECT sealed_secret FROM endpoints")).scalar_one()
    assert secret not in sealed
    key = desk.settings.identity_hash_key
    assert unseal(key, sealed, view.id) == secret
    with pytest.raises(BadInput, match="put it back"):
        unseal(key, sealed, "end_other")
    with pytest.raises(BadInput):
        unseal(b"x" * 32, seal(key, "a", "b"), "b")


def test_a_new_secret_signs_beside_the_old_one_until_its_time_is_over(desk, settings, adapter, people, receiver, clock):
    view, first = desk.add_endpoint(receiver.url)

    def signed_by():
        desk.cancel(desk.submit(people.pop()).id)
        assert run_errands(desk, settings) == 1
        headers, body = receiver.came[-1]
        headers = {name.lower(): value for name, value in headers.items()}
        return [secret for secret in secrets if verifies(secret, headers, body)]

    secrets = [first]
    assert signed_by() == [first]
    rotated, second = desk.rotate_secret(view.id)
    secrets.append(second)
    assert rotated.old_secret_until - clock() <= timedelta(hours=24)
    assert signed_by() == [first, second]
    clock.forward(23 * 3600)
    assert signed_by() == [first, second]
    clock.forward(3600)
    assert signed_by() == [second]
    assert desk.endpoints()[0].old_secret_until is None
    _, third = desk.rotate_secret(view.id, timedelta())
    secrets.append(third)
    assert signed_by() == [third]
    _, fourth = desk.rotate_secret(view.id)
    _, fifth = desk.rotate_secret(view.id)
    secrets += [fourth, fifth]
    assert signed_by() == [fourth, fifth]
    with desk.store.reading() as session:
        facts = [entry.facts for entry in all_entries(session) if entry.action == "endpoint_secret_rotated"]
    assert [(one["endpoint"], one["by"]) for one in facts] == [(view.id, "operator")] * 4
    assert not [secret for secret in secrets if secret in json.dumps(facts)]


def verifies(secret, headers, body):
    try:
        Webhook(secret).verify(body.decode(), headers)
    except WebhookVerificationError:
        return False
    return True


def test_only_an_address_of_the_company_that_takes_messages_gets_a_new_secret(desk, receiver):
    view, _ = desk.add_endpoint(receiver.url)
    _, token = desk.create_key("theirs", ["admin"], controller="other")
    with pytest.raises(NotFound):
        desk.rotate_secret(view.id, by=desk.authenticate(token))
    desk.disable_endpoint(view.id)
    with pytest.raises(Conflict, match="add it again"):
        desk.rotate_secret(view.id)


def test_what_the_receiver_of_one_company_answers_keeps_no_other_company_or_address_waiting(desk):
    alpha, beta = (
        desk.authenticate(desk.create_key(name, ["requests:write"], controller=name)[1]) for name in ("alpha", "beta")
    )

    def ask(by, place):
        told = (f"https://hooks.saas.example/{place}",)
        desk.submit_once(Wish("email:x@example.org", external_id=new_id("ext"), callback_urls=told), by=by)

    ask(alpha, "wrong")
    failed = desk.take_errand()
    desk.errand_failed(failed, "the receiver answered 404", retry_after=7200)
    assert failed.target.startswith("hooks.saas.example#")
    assert "wrong" not in failed.target
    ask(beta, "wrong")
    ask(alpha, "right")
    ask(alpha, "wrong")
    assert [desk.take_errand().target == failed.target for _ in range(2)] == [True, False]
    assert desk.take_errand() is None


def test_a_failed_message_is_sent_again_under_its_id_and_then_given_up(
    desk, settings, adapter, people, receiver, clock
):
    desk.add_endpoint(receiver.url)
    desk.cancel(desk.submit(people[0]).id)
    receiver.answers = [(500, {}), (302, {"location": "http://127.0.0.1/x"}), (429, {"retry-after": "60"})]
    for _ in range(3):
        clock.forward(3600)
        assert run_errands(desk, settings) == 1
    [message] = desk.messages()
    assert (message.state, message.attempts, message.last_error) == ("waiting", 3, "the receiver answered 429")
    assert message.next_at >= clock() + timedelta(seconds=59)
    assert run_errands(desk, settings) == 0
    receiver.answers = [(500, {})] * 100
    for _ in range(40):
        clock.forward(3600)
        run_errands(desk, settings)
    [message] = desk.messages()
    assert message.state == "failed"
    assert len({headers["webhook-id"] for headers, _ in receiver.came}) == 1
    receiver.answers = []
    assert desk.replay(message.id).state == "waiting"
    run_errands(desk, settings)
    assert desk.messages()[0].state == "done"
    assert len({headers["webhook-id"] for headers, _ in receiver.came}) == 1


def test_a_receiver_that_is_gone_gets_nothing_more(desk, settings, adapter, people, receiver):
    view, _ = desk.add_endpoint(receiver.url)
    receiver.answers = [(410, {})]
    desk.cancel(desk.submit(people[0]).id)
    desk.cancel(desk.submit(people[1]).id)
    run_errands(desk, settings)
    assert len(receiver.came) == 1
    [endpoint] = desk.endpoints()
    assert (endpoint.id, endpoint.disabled_reason) == (view.id, "the receiver answered 410")
    assert [message.state for message in desk.messages()] == ["failed", "failed"]


def test_two_processes_never_make_one_attempt(desk, settings, clock, adapter, people, receiver):
    desk.add_endpoint(receiver.url)
    for person in people[:4]:
        desk.cancel(desk.submit(person).id)
    desks = [Desk(settings, clock) for _ in range(4)]
    at_once(lambda n: run_errands(desks[n], settings), 4)
    for one in desks:
        one.close()
    assert len(receiver.came) == 4
    assert {message.state for message in desk.messages()} == {"done"}


def test_an_attempt_whose_process_died_is_made_again_and_its_late_word_counts_no_more(
    desk, adapter, people, receiver, clock
):
    desk.add_endpoint(receiver.url)
    desk.cancel(desk.submit(people[0]).id)
    first = desk.take_errand()
    assert desk.take_errand() is None
    clock.forward(121)
    second = desk.take_errand()
    assert (second.id, second.attempt) == (first.id, 2)
    desk.errand_done(first)
    assert desk.messages()[0].state == "waiting"
    desk.errand_done(second)
    assert desk.messages()[0].state == "done"


@pytest.mark.parametrize(
    "url", ["http://example.com/x", "https://169.254.169.254/latest", "https://localhost/x", "ftp://x/y"]
)
def test_an_address_that_may_not_be_called_is_refused_when_it_is_added(settings, clock, url):
    strict = Desk(Settings(**settings.model_dump() | {"callbacks_allow_private": False}), clock)
    strict.migrate()
    with pytest.raises(CallbackRefused):
        strict.add_endpoint(url)
    assert strict.endpoints() == []
    strict.close()


def test_there_are_ten_addresses_at_most_and_those_of_one_company(desk, receiver):
    for _ in range(10):
        view, _ = desk.add_endpoint(receiver.url)
    with pytest.raises(Conflict, match="10 addresses"):
        desk.add_endpoint(receiver.url)
    _, token = desk.create_key("theirs", ["admin"], controller="other")
    them = desk.authenticate(token)
    assert desk.endpoints(them) == []
    with pytest.raises(NotFound):
        desk.disable_endpoint(view.id, them)
    desk.disable_endpoint(view.id)
    assert desk.add_endpoint(receiver.url)


def test_what_is_due_soon_and_overdue_is_told_once_each(desk, settings, adapter, people, receiver, clock):
    desk.add_endpoint(receiver.url)
    request = desk.submit(people[0])
    desk.rung([outbox for outbox, _ in desk.doorbells()])
    for _ in range(2):
        clock.now = request.due_at - timedelta(days=6)
        desk.sweep()
    for _ in range(2):
        clock.now = request.due_at + timedelta(seconds=1)
        desk.sweep()
    run_errands(desk, settings)
    assert [json.loads(body)["type"] for _, body in receiver.came] == ["request.due_soon", "request.overdue"]


def reminders(desk, request):
    """What was said of the request's due date, the earliest first."""
    about = [message.event for message in desk.messages(about=request.id)]
    return [event for event in reversed(about) if event in ("request.due_soon", "request.overdue")]


def test_the_new_date_of_an_extended_request_is_told_as_well(desk, adapter, people, receiver, clock):
    desk.add_endpoint(receiver.url)
    request = desk.submit(people[0])
    clock.now = request.due_at - timedelta(days=6)
    desk.sweep()
    extended = desk.extend(request.id, "forty adapters")
    desk.sweep()
    assert reminders(desk, request) == ["request.due_soon"]
    clock.now = extended.due_at - timedelta(days=6)
    desk.sweep()
    assert reminders(desk, request) == ["request.due_soon"] * 2
    clock.now = extended.due_at + timedelta(seconds=1)
    desk.sweep()
    assert reminders(desk, request) == ["request.due_soon"] * 2 + ["request.overdue"]


def test_a_request_that_a_rollback_opens_again_is_reminded_of_again(desk, adapter, people, receiver, clock):
    desk.add_endpoint(receiver.url)
    request = desk.submit(people[0])
    clock.now = request.due_at - timedelta(days=6)
    desk.sweep()
    release(desk, work(desk, request.jobs[0].id))
    desk.roll_back("bot", 1, reopen=True)
    desk.sweep()
    assert reminders(desk, request) == ["request.due_soon"] * 2


def test_the_link_follows_releases_rollbacks_and_retirement(desk, settings, adapter, people):
    link = settings.home / "adapters" / adapter.id / "current"
    request = desk.submit(people[0])
    claim = work(desk, request.jobs[0].id)
    version = new_version(desk, claim)
    desk.release(claim, version, REPORT)
    run_errands(desk, settings)
    assert link.resolve() == version.path
    desk.roll_back("bot", 1, reopen=True)
    run_errands(desk, settings)
    assert link.resolve().name == "v1"
    desk.retire("bot")
    run_errands(desk, settings)
    assert not link.exists()
    assert [m.event for m in desk.messages(about=adapter.id)] == [
        "adapter.withdrawn",
        "adapter.released",
        "adapter.released",
    ]


def test_a_failing_hook_is_retried_visible_and_never_takes_a_release_back(settings, clock, inputs, people):
    hooked = Settings(**settings.model_dump() | {"hooks": [{"kind": "vllm", "url": "http://127.0.0.1:9"}]})
    desk = Desk(hooked, clock)
    desk.migrate()
    desk.register_adapter("bot", **inputs)
    request = desk.submit(people[0])
    release(desk, work(desk, request.jobs[0].id))
    run_errands(desk, hooked)
    states = {m.target: (m.state, m.attempts) for m in desk.messages()}
    assert states == {"link": ("done", 1), "0:vllm": ("waiting", 1)}
    assert "127.0.0.1:9" in next(m.last_error for m in desk.messages() if m.target == "0:vllm")
    assert desk.request(request.id).state == "completed"
    assert desk.adapter("bot").current.number == 2
    clock.forward(1)
    second = desk.submit(people[1])
    release(desk, work(desk, second.jobs[0].id))
    assert [m.state for m in desk.messages(about=desk.adapter("bot").id) if m.target == "0:vllm"] == [
        "waiting",
        "overtaken",
    ]
    desk.close()


def test_a_request_that_a_person_must_decide_is_told(desk, settings, adapter, people, receiver):
    desk.add_endpoint(receiver.url)
    desk.hold(work(desk, desk.submit(people[0]).jobs[0].id), None, REFUSED)
    run_errands(desk, settings)
    assert json.loads(receiver.came[-1][1])["type"] == "request.needs_review"


def test_a_retry_is_never_before_the_receiver_asked(clock):
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert telling.next_attempt(moment, 1, moment, Random(0), 60) >= moment + timedelta(seconds=60)


def test_an_opendsr_controller_is_told_at_the_addresses_that_came_with_the_request(
    desk, settings, adapter, people, receiver, tmp_path
):
    key, domain = ec_key(), "privacy.desk.example"
    paper = certificate(key, domain)
    (tmp_path / "key.pem").write_bytes(pem(key))
    (tmp_path / "certificate.pem").write_bytes(paper)
    signing = {f"opendsr_{name}_file": tmp_path / f"{name}.pem" for name in ("key", "certificate")}
    signs = Settings(**settings.model_dump() | {"opendsr_domain": domain} | signing)
    id_ = "5f0c8a1e-7c1b-4c37-9a55-0d6a2f1f7a11"
    request = desk.submit(people[0], external_id=id_, callback_urls=(receiver.url,))
    desk.cancel(request.id)
    assert run_errands(desk, signs) == 1
    [(headers, body)] = receiver.came
    lower = {name.lower(): value for name, value in headers.items()}
    verify(paper, lower["x-opendsr-processor-domain"], body, lower["x-opendsr-signature"])
    told = json.loads(body)
    assert (told["subject_request_id"], told["request_status"]) == (id_, "cancelled")
    assert (told["controller_id"], told["status_callback_url"]) == ("default", receiver.url)
    desk.cancel(desk.submit(people[1], external_id="t-2", callback_urls=(receiver.url,)).id)
    run_errands(desk, settings)  # the front is closed by now
    assert "not set up" in next(m.last_error for m in desk.messages() if m.state == "waiting")


def test_a_hook_that_is_configured_no_more_is_told_as_it_is(desk, settings):
    hooked = Settings(**settings.model_dump() | {"hooks": [{"kind": "vllm", "url": "http://127.0.0.1:9"}]})
    assert isinstance(hook_of(hooked, "0:vllm"), Vllm)
    for name in ("0:mlflow", "1:vllm"):
        with pytest.raises(BadInput, match="UNLEARN_HOOKS"):
            hook_of(hooked, name)


def test_what_waits_for_an_address_ends_with_it_and_is_not_replayed(desk, settings, adapter, people, receiver):
    view, _ = desk.add_endpoint(receiver.url)
    for person in people[:3]:
        desk.cancel(desk.submit(person).id)
    desk.disable_endpoint(view.id)
    assert {message.state for message in desk.messages()} == {"failed"}
    with pytest.raises(Conflict, match="taken away"):
        desk.replay(desk.messages()[0].id)
    assert run_errands(desk, settings) == 0
    assert receiver.came == []


def test_a_courier_says_once_that_the_database_is_away_and_goes_on_when_it_is_back(
    settings, clock, caplog, monkeypatch
):
    unprepared = settings.model_copy(update={"database_url": f"sqlite:///{settings.home / 'away.db'}"})
    desk, looks = Desk(unprepared, clock), []
    look = desk.take_errand
    monkeypatch.setattr(desk, "take_errand", lambda: looks.append(1) or look())
    courier = Courier(desk, settings, 0.01)
    courier.start()
    try:
        until(lambda: len(looks) > 3)
        desk.migrate()
        seen = len(looks)
        until(lambda: len(looks) > seen + 2)
    finally:
        courier.stop()
        desk.close()
    assert [r.levelname for r in caplog.records if "errands wait" in r.message] == ["WARNING"]


def test_a_deployment_is_told_again_only_while_it_is_true(desk, settings, adapter, people):
    release(desk, work(desk, desk.submit(people[0]).jobs[0].id))
    run_errands(desk, settings)
    first = desk.messages(about=adapter.id)[-1]
    assert desk.replay(first.id).state == "waiting"
    run_errands(desk, settings)
    release(desk, work(desk, desk.submit(people[1]).jobs[0].id))
    run_errands(desk, settings)
    with pytest.raises(Conflict, match="changed since"):
        desk.replay(first.id)
    desk.retire("bot")
    run_errands(desk, settings)
    for message in desk.messages(about=adapter.id):
        if message.event == "adapter.released":
            with pytest.raises(Conflict, match="changed since"):
                desk.replay(message.id)
