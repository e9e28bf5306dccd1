"""Standard Webhooks: signatures by the library's own verifier, and the schedule's invariants."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta, timezone
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from unlearn.errors import BadInput
from unlearn.outbound.webhooks import (
    GIVE_UP_AFTER,
    LONGEST_DELAY,
    Verdict,
    longest_delay,
    new_secret,
    next_attempt,
    signed_headers,
    verdict_of,
)

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)


def test_the_published_vector_is_reproduced() -> None:
    """Secret, id, timestamp, payload and signature stand in the tests of the reference libraries."""
    headers = signed_headers(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        datetime.fromtimestamp(1614265330, UTC),
        b'{"test": 2432232314}',
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_the_librarys_verifier_accepts_what_is_signed_in_any_time_zone() -> None:
    secret = new_secret()
    local = datetime.now(timezone(timedelta(hours=5, minutes=30)))
    headers = signed_headers(secret, "evt_1", local, '{"name":"Zoë"}'.encode())
    assert Webhook(secret).verify('{"name":"Zoë"}'.encode(), headers) == {"name": "Zoë"}
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(b'{"name":"Zoe"}', headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify('{"name":"Zoë"}'.encode(), headers)


def test_while_secrets_rotate_each_of_them_verifies() -> None:
    old, new = new_secret(), new_secret()
    headers = signed_headers([new, old], "evt_1", datetime.now(UTC), b"{}")
    assert headers["webhook-signature"].count("v1,") == 2
    for secret in (old, new):
        Webhook(secret).verify(b"{}", headers)


def test_a_new_secret_has_32_random_bytes() -> None:
    secret = new_secret()
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert secret != new_secret()


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_c2hvcnQ=",
        "whsec_!!!!",
        "c" * 44,
        "whsec_ü",
        "whsec_" + base64.b64encode(b"x" * 65).decode(),
    ],
)
def test_a_secret_that_is_none_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(BadInput) as refused:
        signed_headers(secret, "evt_1", BEGAN, b"{}")
    assert secret.removeprefix("whsec_") == "" or secret not in str(refused.value)


def test_no_secret_is_refused() -> None:
    with pytest.raises(BadInput, match="at least one"):
        signed_headers([], "evt_1", BEGAN, b"{}")


@pytest.mark.parametrize("message_id", ["", "a.b", "a\r\nX: 1", "a b"])
def test_an_id_that_would_blur_the_signed_text_is_refused(message_id: str) -> None:
    with pytest.raises(ValueError, match="message id"):
        signed_headers(new_secret(), message_id, BEGAN, b"{}")


def test_a_timestamp_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        signed_headers(new_secret(), "evt_1", BEGAN.replace(tzinfo=None), b"{}")


@given(st.integers(100, 599))
def test_only_2xx_is_delivered_and_only_410_ends(status: int) -> None:
    expected = Verdict.DELIVERED if status // 100 == 2 else Verdict.DISABLE if status == 410 else Verdict.AGAIN
    assert verdict_of(status) is expected


def test_the_bound_doubles_from_five_seconds_to_two_hours() -> None:
    """5, 10, 20, …, 5 * 2^10 = 5120, then 5 * 2^11 = 10240 > 7200."""
    seconds = [longest_delay(n).total_seconds() for n in range(1, 14)]
    assert seconds == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 7200, 7200]
    with pytest.raises(ValueError, match="first is 1"):
        longest_delay(0)


@given(st.integers(1, 10**9))
def test_the_bound_never_falls(attempt: int) -> None:
    assert longest_delay(attempt) <= longest_delay(attempt + 1) <= LONGEST_DELAY


retry_afters = st.none() | st.floats(0, 1e6)


@given(st.integers(1, 10**6), st.integers(0, 2**32), retry_afters, st.timedeltas(timedelta(0), timedelta(days=3)))
def test_a_retry_lies_within_its_bounds(attempt: int, seed: int, asked: float | None, since: timedelta) -> None:
    now = BEGAN + since
    at = next_attempt(BEGAN, attempt, now, Random(seed), asked)
    if at is None:  # given up: the last possible moment lies beyond the day
        latest = max(longest_delay(attempt), min(timedelta(seconds=asked or 0), LONGEST_DELAY))
        assert now + latest > BEGAN + GIVE_UP_AFTER
        return
    assert now <= at <= BEGAN + GIVE_UP_AFTER
    assert at - now >= min(timedelta(seconds=asked or 0), LONGEST_DELAY)
    assert at - now <= max(longest_delay(attempt), timedelta(seconds=asked or 0))


@given(st.integers(0, 2**32), retry_afters)
def test_a_message_that_always_fails_is_given_up_within_a_day(seed: int, asked: float | None) -> None:
    random, now, attempt = Random(seed), BEGAN, 1
    while (at := next_attempt(BEGAN, attempt, now, random, asked)) is not None:
        assert at >= now
        now, attempt = at, attempt + 1
        assert attempt < 1000  # calls are made a few dozen times a day, not for ever
    assert now <= BEGAN + GIVE_UP_AFTER
    assert attempt >= 12  # at the very least the two-hourly ones


def test_after_a_day_a_message_is_given_up() -> None:
    assert next_attempt(BEGAN, 3, BEGAN + GIVE_UP_AFTER + timedelta(seconds=1), Random(0)) is None
