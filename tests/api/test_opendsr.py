"""The OpenDSR front as a controller meets it, who checks the signature of every answer before reading it."""

from __future__ import annotations

import base64
import json
import logging
import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import rfc8785
from cryptography import x509
from fastapi.testclient import TestClient
from sqlalchemy import text

from api.app import create_app
from crowd import at_once
from outbound.papers import certificate, ec_key, pem, rsa_key
from unlearn.errors import BadInput
from unlearn.outbound import BadSignature, verify
from unlearn.settings import Settings

DOMAIN = "privacy.desk.example"
BASE = "/opendsr/v2"
CANARY = "canary-4711"


class Controller:
    """A controller's tool: finds the certificate, sends requests, believes nothing that is not signed."""

    def __init__(self, client, requests="requests"):
        self.client, self.requests = client, f"{BASE}/{requests}"
        self.certificate = None
        found = client.get(f"{BASE}/discovery", headers={"Authorization": ""})
        self.discovered = found.json()
        place = self.discovered["processor_certificate"].removeprefix(f"https://{DOMAIN}")
        self.certificate = client.get(place, headers={"Authorization": ""}).content
        self.believed(found)

    def believed(self, answer, status=200):
        for old in ("DSR", "GDPR"):
            assert answer.headers[f"x-open{old}-processor-domain"] == DOMAIN
            verify(self.certificate, DOMAIN, answer.content, answer.headers[f"x-open{old}-signature"])
        assert answer.status_code == status, answer.text
        return answer

    def submit(self, body, status=201):
        answer = self.client.post(self.requests, content=body, headers={"content-type": "application/json"})
        return self.believed(answer, status).json()

    def status(self, id_, status=200):
        return self.believed(self.client.get(f"{self.requests}/{id_}"), status).json()

    def cancel(self, id_, status=202):
        return self.believed(self.client.delete(f"{self.requests}/{id_}"), status).json()

    def check_inner_signature(self, told):
        without = {name: value for name, value in told.items() if name != "processor_signature"}
        verify(self.certificate, DOMAIN, rfc8785.dumps(without), told["processor_signature"])


@pytest.fixture
def controller(api):
    return Controller(api)


@pytest.fixture
def person(company):
    return company.subject.partition(":")[2]


def erasure(value, **change):
    """The body of a request, as bytes: what was sent is what comes back encoded."""
    identity = {"identity_type": "controller_customer_id", "identity_value": value, "identity_format": "raw"}
    body = {
        "regulation": "gdpr",
        "subject_request_id": str(uuid.uuid4()),
        "subject_request_type": "erasure",
        "submitted_time": (datetime.now(UTC) - timedelta(days=1)).isoformat(),
        "subject_identities": [identity],
    }
    return json.dumps({name: item for name, item in (body | change).items() if item is not None}).encode()


def id_of(body):
    return json.loads(body)["subject_request_id"]


def fault(error, code=400):
    """The one thing wrong, of an error in its right shape."""
    assert set(error) == {"error"}
    assert set(error["error"]) == {"code", "message", "errors"}
    assert error["error"]["code"] == code
    for one in error["error"]["errors"]:
        assert set(one) == {"domain", "reason", "message"}
        assert all(one.values())
    return error["error"]["errors"][0]


def test_discovery_says_what_is_understood_and_where_the_certificate_is(controller):
    found = controller.discovered
    assert found["api_version"] == "2.0"
    assert found["supported_subject_request_types"] == ["erasure"]
    assert found["processor_certificate"] == f"https://{DOMAIN}{BASE}/certificate.pem"
    kinds = {(one["identity_type"], one["identity_format"]) for one in found["supported_identities"]}
    assert {("controller_customer_id", "raw"), ("email", "raw"), ("roku_publisher_id", "raw")} <= kinds
    assert len(kinds) == 11
    x509.load_pem_x509_certificate(controller.certificate)
    assert controller.believed(controller.client.get(f"{BASE}/status")).json() == {"status": "ok", "api_version": "2.0"}


def test_a_request_is_submitted_followed_and_cancelled(controller, registered, person):
    body = erasure(person, status_callback_urls=["https://controller.example/told?a=1"])
    before = datetime.now(UTC)
    receipt = controller.submit(body)
    assert set(receipt) == {
        "controller_id",
        "expected_completion_time",
        "received_time",
        "encoded_request",
        "subject_request_id",
        "extensions",
        "processor_signature",
    }
    controller.check_inner_signature(receipt)
    assert (receipt["controller_id"], receipt["subject_request_id"]) == ("default", id_of(body))
    assert base64.b64decode(receipt["encoded_request"]) == body
    assert before - timedelta(seconds=1) <= datetime.fromisoformat(receipt["received_time"]) <= datetime.now(UTC)
    ours = receipt["extensions"][DOMAIN]
    assert (ours["state"], ours["decision"]) == ("pending", None)
    native = controller.client.get(f"/v1/requests/{ours['request']}").json()
    assert native["external_id"] == id_of(body)
    submitted = datetime.fromisoformat(json.loads(body)["submitted_time"])
    assert abs(datetime.fromisoformat(native["received_at"]) - submitted) < timedelta(milliseconds=1)
    assert native["due_at"][:23] == receipt["expected_completion_time"][:23] == ours["due_at"][:23]
    assert controller.status(id_of(body)) == {
        "controller_id": "default",
        "expected_completion_time": receipt["expected_completion_time"],
        "subject_request_id": id_of(body),
        "request_status": "pending",
        "api_version": "2.0",
        "extensions": receipt["extensions"],
    }
    cancelled = controller.cancel(id_of(body))
    controller.check_inner_signature(cancelled)
    assert set(cancelled) == {
        "controller_id",
        "received_time",
        "subject_request_id",
        "api_version",
        "extensions",
        "processor_signature",
    }
    assert cancelled["received_time"] >= receipt["received_time"]
    assert controller.status(id_of(body))["request_status"] == "cancelled"
    assert fault(controller.cancel(id_of(body), 400))["reason"] == "conflict"


def test_names_of_version_1_lead_to_the_same(api, registered, person):
    old, new = Controller(api, "opengdpr_requests"), Controller(api)
    body = erasure(person, api_version="1.0")
    old.submit(body)
    assert old.status(id_of(body)) == new.status(id_of(body))
    old.cancel(id_of(body))
    assert new.status(id_of(body))["request_status"] == "cancelled"


def test_a_changed_answer_is_not_believed(controller):
    answer = controller.client.get(f"{BASE}/status")
    with pytest.raises(BadSignature):
        verify(controller.certificate, DOMAIN, answer.content + b" ", answer.headers["x-opendsr-signature"])


def test_an_rsa_key_signs_as_well(settings, tmp_path):
    key = rsa_key()
    (tmp_path / "dsr.key").write_bytes(pem(key))
    (tmp_path / "dsr.pem").write_bytes(certificate(key, f"*.{DOMAIN.partition('.')[2]}"))
    with TestClient(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {settings.local_key_file.read_text().strip()}"
        controller = Controller(client)
        controller.check_inner_signature(controller.submit(erasure("nobody")))


def test_a_chain_is_served_and_its_days_left_are_told(settings, tmp_path, caplog):
    key, above, end = ec_key(), ec_key(), datetime.now(UTC) + timedelta(days=9)
    paper = certificate(key, DOMAIN, name="leaf", by=(above, "above")) + certificate(above, name="above", end=end)
    (tmp_path / "dsr.key").write_bytes(pem(key))
    (tmp_path / "dsr.pem").write_bytes(paper)
    with TestClient(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {settings.local_key_file.read_text().strip()}"
        controller = Controller(client)
        assert controller.certificate == paper
        controller.status(str(uuid.uuid4()), 404)
        [line] = re.findall(r"^unlearn_opendsr_certificate_days_left (\S+)$", client.get("/metrics").text, re.MULTILINE)
    assert 8.9 < float(line) < 9
    assert [r.getMessage() for r in caplog.records if "certificate" in r.getMessage()] == [
        "the OpenDSR certificate ends in 8 days; renew it, and start again"
    ]


def test_somebody_unknown_is_completed_at_once_and_can_not_be_cancelled(controller, registered):
    body = erasure("nobody")
    controller.submit(body)
    assert controller.status(id_of(body))["request_status"] == "completed"
    assert "completed" in fault(controller.cancel(id_of(body), 400))["message"]


def test_each_state_has_a_word_of_the_specification(controller, registered, person):
    desk = controller.client.app.state.desk
    body = erasure(person)
    ours = controller.submit(body)["extensions"][DOMAIN]["request"]
    desk.put_on_hold(ours, "because")
    assert controller.status(id_of(body))["request_status"] == "pending"
    desk.lift_hold(ours)
    claim = desk.claim(desk.request(ours).jobs[-1].id, "a worker")
    told = controller.status(id_of(body))
    assert (told["request_status"], told["extensions"][DOMAIN]["state"]) == ("in_progress", "in_progress")
    assert "while it is pending" in fault(controller.cancel(id_of(body), 400))["message"]
    assert desk.request(ours).state == "in_progress"
    desk.fail(claim, "broken", final=True)
    told = controller.status(id_of(body))
    assert (told["request_status"], told["extensions"][DOMAIN]["state"]) == ("in_progress", "needs_review")
    desk.extend(ours, "because")
    assert controller.status(id_of(body))["expected_completion_time"] > told["expected_completion_time"]
    desk.reject(ours, "legal_claims", f"because of {CANARY}")
    told = controller.status(id_of(body))
    assert told["request_status"] == "cancelled"
    assert (told["extensions"][DOMAIN]["state"], told["extensions"][DOMAIN]["decision"]) == ("rejected", "rejected")
    assert CANARY not in json.dumps(told)


def test_the_same_id_and_identity_again_is_the_same_request(controller, registered, person):
    body = erasure(person)
    first = controller.submit(body)
    again = controller.submit(body)
    del first["processor_signature"], again["processor_signature"]  # ECDSA's differ each time
    assert again == first
    callback = {"status_callback_urls": ["https://controller.example/late"], "submitted_time": "2020-01-01T00:00:00Z"}
    spelled_otherwise = json.dumps(json.loads(body) | callback).encode()
    assert controller.submit(spelled_otherwise)["extensions"] == first["extensions"]
    controller.cancel(id_of(body))
    assert controller.submit(body)["extensions"][DOMAIN]["state"] == "cancelled"
    assert len(controller.client.get("/v1/requests").json()["items"]) == 1


def test_the_same_id_with_another_identity_is_a_duplicate(controller, registered, person):
    body = erasure(person)
    controller.submit(body)
    other = erasure(CANARY, subject_request_id=id_of(body))
    found = fault(controller.submit(other, 400))
    assert found["reason"] == "duplicate"
    assert CANARY not in found["message"]


def test_another_id_for_somebody_who_is_being_forgotten_is_told_which_request_it_is(controller, registered, person):
    ours = controller.submit(erasure(person))["extensions"][DOMAIN]["request"]
    found = fault(controller.submit(erasure(person), 400))
    assert found["reason"] == "conflict"
    assert ours in found["message"]


def test_eight_at_once_are_one_request(controller, registered, person):
    body = erasure(person)
    assert len(set(at_once(lambda _: controller.submit(body)["extensions"][DOMAIN]["request"]))) == 1


@pytest.mark.parametrize(
    ("kind", "value", "subject"),
    [
        ("controller_customer_id", "c-17", {"type": "customer", "value": "c-17"}),
        ("email", "Ada@Post.example", {"type": "email", "value": "ada@post.example"}),
        ("android_id", "a:b", {"type": "android_id", "value": "a:b"}),
    ],
)
def test_identities_are_those_of_the_corpora(controller, kind, value, subject):
    identity = {"identity_type": kind, "identity_value": value, "identity_format": "raw"}
    body = erasure("", subject_identities=[identity, identity])  # twice the same is one person
    ours = controller.submit(body)["extensions"][DOMAIN]["request"]
    found = controller.client.post("/v1/requests/search", json={"subject": subject}).json()["items"]
    assert [request["id"] for request in found] == [ours]


def test_callback_addresses_are_kept_once_each(controller):
    urls = ["https://b.example/x?y=1", "https://a.example/", "https://b.example/x?y=1"]
    with_urls, without = erasure("nobody", status_callback_urls=urls), erasure("somebody")
    controller.submit(with_urls)
    controller.submit(without)
    with controller.client.app.state.desk.store.engine.connect() as connection:
        rows = dict(connection.execute(text("SELECT external_id, callback_urls FROM requests")).all())
    assert json.loads(rows[id_of(with_urls)]) == urls[:2]
    assert rows[id_of(without)] is None


def test_what_peers_add_is_let_through(controller):
    theirs = {"other.example": {"a": CANARY}, DOMAIN: {}}
    controller.submit(erasure("nobody", extensions=theirs, property_id=7, regulation=None, api_version="2.0.1"))


IDENTITY = {"identity_type": "email", "identity_value": f"{CANARY}@post.example", "identity_format": "raw"}


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"subject_request_type": "access"}, "unsupported", "'access' requests are not supported; this processor"),
        ({"subject_request_type": "portability"}, "unsupported", "takes 'erasure'"),
        ({"subject_request_type": CANARY}, "bad-input", "subject_request_type"),
        ({"subject_request_id": CANARY}, "bad-input", "subject_request_id"),
        ({"subject_request_id": "A7551968-D5D6-44B2-9831-815AC9017798"}, "bad-input", "subject_request_id"),
        ({"subject_request_id": "a7551968-d5d6-14b2-9831-815ac9017798"}, "bad-input", "subject_request_id"),
        ({"subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798\n"}, "bad-input", "subject_request_id"),
        ({"regulation": CANARY}, "bad-input", "'gdpr' or 'ccpa'"),
        ({"submitted_time": None}, "bad-input", "#/submitted_time: Field required"),
        ({"submitted_time": 1790000000}, "bad-input", "RFC 3339"),
        ({"submitted_time": "2026-03-01"}, "bad-input", "RFC 3339"),
        ({"submitted_time": "2026-03-01T09:30:00"}, "bad-input", "RFC 3339"),
        ({"submitted_time": "2026-13-01T09:30:00Z"}, "bad-input", "submitted_time"),
        ({"submitted_time": "0001-01-01T00:00:00+14:00"}, "bad-input", "1 to 9999"),
        ({"submitted_time": "2001-01-01T00:00:00Z"}, "bad-input", "more than a year ago"),
        ({"submitted_time": "2999-01-01T00:00:00Z"}, "bad-input", "in the future"),
        ({"subject_identities": None}, "bad-input", "#/subject_identities: Field required"),
        ({"subject_identities": []}, "bad-input", "subject_identities"),
        ({"subject_identities": {"email": CANARY}}, "bad-input", "valid list"),
        ({"subject_identities": [CANARY]}, "bad-input", "#/subject_identities/0"),
        ({"subject_identities": [IDENTITY, IDENTITY | {"identity_type": "android_id"}]}, "unsupported", "one identity"),
        ({"subject_identities": [IDENTITY | {"identity_format": "sha256"}]}, "unsupported", "as 'raw'"),
        ({"subject_identities": [IDENTITY | {"identity_format": CANARY}]}, "bad-input", "identity_format"),
        ({"subject_identities": [IDENTITY | {"identity_type": CANARY}]}, "bad-input", "identity_type"),
        ({"subject_identities": [IDENTITY | {"identity_value": " "}]}, "bad-input", "empty"),
        ({"subject_identities": [IDENTITY | {"identity_value": f"{CANARY}\0"}]}, "bad-input", "control characters"),
        ({"subject_identities": [IDENTITY | {"identity_value": f"{CANARY}\ud800"}]}, "bad-input", "identity_value"),
        ({"subject_identities": [IDENTITY | {"identity_value": CANARY * 60}]}, "bad-input", "512 characters"),
        ({"subject_identities": [IDENTITY | {"identity_value": None}]}, "bad-input", "valid string"),
        ({"status_callback_urls": [f"http://c.example/{CANARY}"]}, "callback-refused", "https://"),
        ({"status_callback_urls": ["https://a.example", f"https://127.0.0.1/{CANARY}"]}, "callback-refused", "public"),
        ({"status_callback_urls": [f"https://{CANARY}@c.example/"]}, "callback-refused", "user name"),
        ({"status_callback_urls": f"https://c.example/{CANARY}"}, "bad-input", "valid list"),
        ({"status_callback_urls": ["https://c.example/"] * 11}, "bad-input", "at most 10"),
        ({"api_version": "3.0"}, "bad-input", "api_version"),
        ({"extensions": {DOMAIN: {"adapter": CANARY}}}, "unsupported", "no extensions"),
        ({"extensions": CANARY}, "bad-input", "extensions"),
        ({"extensions": {f"{CANARY}\ud800": 1}, "regulation": 1}, "bad-input", "regulation"),
    ],
)
def test_a_request_that_can_not_be_used_is_an_error_that_says_why(controller, change, reason, words):
    error = controller.submit(erasure(CANARY, **change), 400)
    found = fault(error)
    assert found["reason"] == reason
    assert words in " ".join([error["error"]["message"], *(one["message"] for one in error["error"]["errors"])])
    assert CANARY not in json.dumps(error)
    assert controller.client.get("/v1/requests").json()["items"] == []


def test_the_fields_of_the_native_api_are_not_named(controller):
    error = controller.submit(erasure("nobody", submitted_time="2001-01-01T00:00:00Z"), 400)
    assert "received_at" not in json.dumps(error)


@pytest.mark.parametrize(
    ("method", "path", "more", "status", "reason"),
    [
        ("POST", "/requests", {"content": b"{"}, 400, "not-json"),
        ("POST", "/requests", {"content": b'{"a": "\xff"}'}, 400, "not-json"),
        ("POST", "/requests", {"content": b""}, 400, "bad-input"),
        ("POST", "/requests", {"content": b"[]"}, 400, "bad-input"),
        ("POST", "/requests", {"content": b"a=b", "headers": {"content-type": "text/plain"}}, 415, None),
        ("POST", "/requests", {"content": b" " * 300_000}, 413, "body-too-large"),
        ("POST", "/requests", {"headers": {"Authorization": f"Bearer {CANARY}"}}, 401, "unauthenticated"),
        ("PUT", "/requests", {}, 405, "method-not-allowed"),
        ("GET", "/nothing", {}, 404, "not-found"),
        ("GET", f"/requests/{uuid.UUID(int=0x4 << 76 | 0x8 << 60)}", {}, 404, "not-found"),
        ("DELETE", f"/requests/{uuid.UUID(int=0x4 << 76 | 0x8 << 60)}", {}, 404, "not-found"),
        ("GET", f"/requests/{CANARY}", {}, 400, "bad-input"),
        ("DELETE", "/requests/%00", {}, 400, "bad-input"),
    ],
)
def test_whatever_is_refused_is_a_signed_error(controller, method, path, more, status, reason):
    headers = {"content-type": "application/json"} | more.pop("headers", {})
    given = {"content": erasure(CANARY)} | more if method == "POST" else {}
    answer = controller.client.request(method, BASE + path, headers=headers, **given)
    controller.believed(answer, status)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"]
    found = fault(answer.json(), status)
    assert found["reason"] == (reason or "unsupported-media-type")
    assert CANARY not in answer.text
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
    if status == 405:
        assert answer.headers["allow"] == "POST"


def test_a_crash_is_a_signed_error_without_a_trace(controller, monkeypatch):
    def crash(*_a, **_k):
        raise RuntimeError(CANARY)

    monkeypatch.setattr(controller.client.app.state.desk, "submit_once", crash)
    found = fault(controller.submit(erasure("nobody"), 500), 500)
    assert (found["domain"], found["reason"]) == ("Service", "error")
    assert CANARY not in found["message"]


def test_the_identity_is_kept_nowhere(controller, registered, settings, caplog):
    caplog.set_level(logging.DEBUG)
    body = erasure(CANARY)
    controller.submit(body)
    controller.submit(body[:-1], 400)
    encoded = base64.b64encode(body)
    written = b"".join(file.read_bytes() for file in settings.home.glob("unlearn.db*"))
    assert CANARY not in caplog.text
    for secret in (CANARY.encode(), encoded, encoded[40:80]):
        assert secret not in written
        assert secret.decode() not in caplog.text
    assert id_of(body).encode() in written


def test_a_key_of_another_company_sees_nothing_and_may_use_the_same_id(controller, registered, person):
    body = erasure(person)
    controller.submit(body)
    _, token = controller.client.app.state.desk.create_key("theirs", ["requests:write"], controller="other")
    controller.client.headers["Authorization"] = f"Bearer {token}"
    assert fault(controller.status(id_of(body), 404), 404)["reason"] == "not-found"
    theirs = controller.submit(erasure("nobody", subject_request_id=id_of(body)))
    assert theirs["controller_id"] == "other"
    assert controller.status(id_of(body))["request_status"] == "completed"


@pytest.mark.parametrize("path", ["", "/", "/v2/discovery", "/v2/requests", "/v2/certificate.pem", "/nothing"])
def test_without_its_settings_the_front_is_closed_and_names_them(tmp_path, path):
    with TestClient(create_app(Settings(home=tmp_path / "home"))) as client:
        for method in ("GET", "POST", "DELETE"):
            answer = client.request(method, f"/opendsr{path}", content=b"{")
            assert answer.status_code == 404
            assert answer.headers["content-type"] == "application/problem+json"
            for name in ("DOMAIN", "KEY_FILE", "CERTIFICATE_FILE"):
                assert f"UNLEARN_OPENDSR_{name}" in answer.json()["detail"]
            assert "x-opendsr-signature" not in answer.headers
        assert client.get("/opendsrx").json()["type"] == "/problems/not-found"


def test_other_answers_are_not_signed(api):
    assert "x-opendsr-signature" not in api.get("/healthz").headers


def test_what_can_not_sign_is_refused_at_the_start(settings, tmp_path):
    def start(**change):
        create_app(Settings(**settings.model_dump() | change))

    start()
    (tmp_path / "other.key").write_bytes(pem(ec_key()))
    (tmp_path / "both.pem").write_bytes((tmp_path / "dsr.pem").read_bytes() + (tmp_path / "dsr.key").read_bytes())
    with pytest.raises(BadInput, match="don't belong together"):
        start(opendsr_key_file=tmp_path / "other.key")
    with pytest.raises(BadInput, match="does not name"):
        start(opendsr_domain="elsewhere.example")
    with pytest.raises(BadInput, match=r"UNLEARN_OPENDSR_KEY_FILE: .*can't be read"):
        start(opendsr_key_file=tmp_path / "none.key")
    with pytest.raises(BadInput, match="holds a private key") as refused:
        start(opendsr_certificate_file=tmp_path / "both.pem")
    assert "BEGIN" not in str(refused.value)
    with pytest.raises(BadInput, match="a domain alone"):
        start(opendsr_domain="https://privacy.desk.example")


def test_part_of_the_settings_is_refused_and_the_missing_named(tmp_path):
    with pytest.raises(BadInput, match="set UNLEARN_OPENDSR_KEY_FILE and UNLEARN_OPENDSR_CERTIFICATE_FILE as well"):
        Settings(home=tmp_path, opendsr_domain=DOMAIN)
    with pytest.raises(BadInput, match="set UNLEARN_OPENDSR_DOMAIN as well"):
        Settings(home=tmp_path, opendsr_key_file="a", opendsr_certificate_file="b", opendsr_domain="")
    assert Settings(opendsr_domain="", opendsr_key_file="", opendsr_certificate_file="").opendsr_key_file is None
