"""Keys: shown once, stored hashed, expiring, revocable; and no company sees another's rows."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from sqlalchemy import text

from unlearn.cases.desk import Desk
from unlearn.cases.desk.keys import RECENT_SECONDS
from unlearn.cases.rights import OPERATOR, SCOPES, Actor, new_key, parse_scopes
from unlearn.errors import BadInput, NotAllowed, NotFound, Unauthenticated


def test_a_key_lets_its_holder_in_until_it_ends(desk, clock):
    view, token = desk.create_key("tickets", ["requests:write"], expires_at=clock() + timedelta(days=1))
    actor = desk.authenticate(token)
    assert actor == Actor(f"key:{view.id}", OPERATOR.controller, frozenset({"requests:write"}))
    clock.forward(86400)
    with pytest.raises(Unauthenticated, match="expired"):
        desk.authenticate(token)


def test_a_revoked_key_is_refused_and_stays_on_record(desk):
    view, token = desk.create_key("tickets", ["audit"])
    first = desk.revoke_key(view.id)
    assert first.revoked_at is not None
    assert desk.revoke_key(view.id) == first
    with pytest.raises(Unauthenticated, match="revoked"):
        desk.authenticate(token)
    [listed] = desk.keys()
    assert listed == first
    with pytest.raises(NotFound):
        desk.revoke_key("0" * 16)


def test_a_key_is_recognised_for_a_second_unless_it_ends_before(desk, settings, clock, monkeypatch):
    view, token = desk.create_key("tickets", ["audit"], expires_at=clock() + timedelta(days=1))
    assert desk.recognise(token) is None
    actor = desk.authenticate(token)
    assert desk.recognise(token) == actor
    assert desk.recognise(token[:-1] + ("a" if token[-1] != "a" else "b")) is None
    clock.forward(86400)
    assert desk.recognise(token) is None
    clock.forward(-86400)
    other = Desk(settings, clock)  # as another process
    other.revoke_key(view.id)
    other.close()
    began = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: began + RECENT_SECONDS)
    assert desk.recognise(token) is None
    with pytest.raises(Unauthenticated, match="revoked"):
        desk.authenticate(token)


def test_a_key_that_is_revoked_here_is_not_recognised_any_more(desk):
    view, token = desk.create_key("tickets", ["audit"])
    desk.authenticate(token)
    desk.revoke_key(view.id)
    assert desk.recognise(token) is None


def test_only_the_hash_of_a_secret_is_stored(desk):
    _, token = desk.create_key("tickets", ["audit"])
    secret = token.split("_", 2)[2]
    with desk.store.engine.connect() as connection:
        for table in ("api_keys", "ledger"):
            assert secret not in str(connection.execute(text(f"SELECT * FROM {table}")).all())  # noqa: S608


@pytest.mark.parametrize(
    "wrong", ["", "unl_0_x", "Bearer x", "unl_" + "1" * 16 + "_" + "y" * 43, "unl_" + "0" * 16 + "_" + "x" * 43]
)
def test_what_is_no_key_of_ours_is_refused_without_being_repeated(desk, wrong):
    with pytest.raises(Unauthenticated) as refused:
        desk.authenticate(wrong)
    assert not wrong or wrong not in str(refused.value)


def test_another_secret_under_a_good_id_is_refused(desk):
    _, token = desk.create_key("tickets", ["audit"])
    other = new_key().token.split("_", 2)[2]
    with pytest.raises(Unauthenticated):
        desk.authenticate("_".join([*token.split("_", 2)[:2], other]))


@pytest.mark.parametrize("names", [[], ["nothing"], ["audit", "root"]])
def test_scopes_are_named_and_there_is_one_at_least(names):
    with pytest.raises(BadInput, match=r"the scopes are requests:write"):
        parse_scopes(names)


def test_bad_names_and_ends_are_refused(desk, clock):
    for name in ("", " ", "x" * 65, "a\nb"):
        with pytest.raises(BadInput, match="name"):
            desk.create_key(name, ["audit"])
    with pytest.raises(BadInput, match="is over"):
        desk.create_key("late", ["audit"], expires_at=clock())


def acts(desk, adapter, request_id, company, who):
    """Everything the desk does for people, by the scopes that allow it."""
    inputs = {"base": "/x", "adapter": "/x", "train": "/x", "holdout": "/x"}
    read = ("requests:read", "requests:write", "review", "audit")
    return {
        "submit": (("requests:write",), lambda: desk.submit("customer:nobody", by=who)),
        "preview": (("requests:write",), lambda: desk.preview("customer:nobody", who)),
        "cancel": (("requests:write",), lambda: desk.cancel(request_id, who)),
        "request": (read, lambda: desk.request(request_id, who)),
        "requests": (("requests:read", "review", "audit"), lambda: desk.requests(by=who)),
        "job": (read, lambda: desk.job("job_0", who)),
        "export": (("audit",), lambda: desk.export(request_id, who)),
        "hold": (("review",), lambda: desk.put_on_hold(request_id, "x", who)),
        "lift": (("review",), lambda: desk.lift_hold(request_id, who)),
        "extend": (("review",), lambda: desk.extend(request_id, "x", who)),
        "retry": (("review",), lambda: desk.retry(request_id, None, who)),
        "reject": (("review",), lambda: desk.reject(request_id, "legal_claims", "x", who)),
        "release": (("review",), lambda: desk.release_as_it_is(request_id, "x", who)),
        "adapter": (("requests:read", "adapters:write"), lambda: desk.adapter(adapter.name, who)),
        "adapters": (("requests:read", "adapters:write"), lambda: desk.adapters(who)),
        "register": (("adapters:write",), lambda: desk.register_adapter("new", **inputs, by=who)),
        "roll back": (("adapters:write",), lambda: desk.roll_back(adapter.name, 1, by=who)),
        "retire": (("adapters:write",), lambda: desk.retire("none", who)),
        "create key": ((), lambda: desk.create_key("x", ["audit"], by=who)),
        "keys": ((), lambda: desk.keys(who)),
        "revoke": ((), lambda: desk.revoke_key("0" * 16, who)),
    }


@pytest.mark.parametrize("scope", SCOPES)
def test_each_act_needs_its_scope(desk, adapter, company, scope):
    request = desk.submit(company.subject)
    who = Actor("key:1", OPERATOR.controller, frozenset({scope}))
    for name, (scopes, act) in acts(desk, adapter, request.id, company, who).items():
        allowed = scope in (*scopes, "admin")
        try:
            act()
        except NotAllowed as refused:
            assert not allowed, name
            assert scopes == () or scopes[0] in str(refused)
        except Exception as other:
            assert allowed, (name, other)
        else:
            assert allowed, name


def test_no_company_sees_or_touches_anothers_rows(desk, adapter, company):
    _, token = desk.create_key("theirs", list(SCOPES), controller="other")
    them = desk.authenticate(token)
    assert them.controller != OPERATOR.controller
    request = desk.submit(company.subject)
    before = desk.adapter("bot"), desk.request(request.id)
    for name, (_, act) in acts(desk, adapter, request.id, company, them).items():
        if name in (
            "request",
            "cancel",
            "job",
            "export",
            "hold",
            "lift",
            "extend",
            "retry",
            "reject",
            "release",
            "adapter",
            "roll back",
        ):
            with pytest.raises(NotFound):
                act()
    assert desk.requests(by=them) == []
    assert desk.adapters(them) == []
    assert desk.preview(company.subject, them) == []
    assert [key.controller for key in desk.keys(them)] == ["other"]
    assert desk.submit(company.subject, by=them).state == "completed"  # none of their adapters learned of her
    assert (desk.adapter("bot"), desk.request(request.id)) == before


def test_two_companies_may_call_an_adapter_the_same(desk, adapter, inputs):
    _, token = desk.create_key("theirs", ["adapters:write"], controller="other")
    them = desk.authenticate(token)
    theirs = desk.register_adapter("bot", **inputs, by=them)
    assert theirs.id != adapter.id
    assert desk.adapter("bot") == adapter


def test_a_key_makes_keys_for_its_own_company_alone(desk):
    _, token = desk.create_key("theirs", ["admin"], controller="other")
    them = desk.authenticate(token)
    view, _ = desk.create_key("more", ["audit"], by=them)
    assert view.controller == "other"
    assert desk.create_key("more", ["audit"], controller="other", by=them)[0].controller == "other"
    for name in ("default", "a third"):
        with pytest.raises(NotAllowed):
            desk.create_key("more", ["audit"], controller=name, by=them)
    ours, _ = desk.create_key("ours", ["audit"])
    with pytest.raises(NotFound):
        desk.revoke_key(ours.id, them)


def test_the_local_key_is_the_owners_alone_and_made_anew_only_when_it_is_no_good(desk):
    desk.keep_local_key()
    file = desk.settings.local_key_file
    assert file.stat().st_mode & 0o777 == 0o600
    token = file.read_text()
    desk.keep_local_key()
    assert file.read_text() == token
    desk.revoke_key(token.split("_")[1])
    desk.keep_local_key()
    assert file.read_text() != token
    assert "admin" in desk.authenticate(file.read_text().strip()).scopes
