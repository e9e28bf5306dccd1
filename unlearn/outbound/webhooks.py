"""Standard Webhooks: secrets, signatures, and when to try again. Knows no network, no store and no clock.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from random import Random

from standardwebhooks import Webhook

from unlearn.errors import BadInput

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix, not a secret
SECRET_BYTES = 32
FEWEST_SECRET_BYTES, MOST_SECRET_BYTES = 24, 64
"""The specification's bounds."""

FIRST_DELAY = timedelta(seconds=5)
LONGEST_DELAY = timedelta(hours=2)
GIVE_UP_AFTER = timedelta(days=1)

_MESSAGE_ID = re.compile(r"[A-Za-z0-9_-]+")


class Verdict(StrEnum):
    """What an answer means for a delivery."""

    DELIVERED = "delivered"
    AGAIN = "again"
    DISABLE = "disable"
    """Gone: the receiver wants no more messages at this address."""


def new_secret() -> str:
    """A fresh signing secret, as both sides store it."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode("ascii")


def signed_headers(
    signing_secrets: str | Sequence[str], message_id: str, timestamp: datetime, body: bytes
) -> dict[str, str]:
    """The three headers of a signed message.

    Args:
        signing_secrets: `whsec_…`; while secrets rotate, all that are valid: one signature each, in that order.
        message_id: the same on every attempt, so that the receiver can tell a repetition.
        timestamp: of this attempt, with a time zone.
        body: the raw body, UTF-8.

    Raises:
        BadInput: a secret is not one, or there is none.
        ValueError: an id that can't be a header, a timestamp without a time zone, a body that is not UTF-8.
    """
    if not _MESSAGE_ID.fullmatch(message_id):
        raise ValueError(f"message id {message_id!r}: use letters, digits, '_' and '-' alone")
    if timestamp.tzinfo is None:
        raise ValueError("the timestamp has no time zone")
    moment = timestamp.astimezone(UTC).replace(microsecond=0)  # the library would relabel another zone as UTC
    given = [signing_secrets] if isinstance(signing_secrets, str) else signing_secrets
    if not given:
        raise BadInput("a webhook needs at least one signing secret; make one and store it with the endpoint")
    text = body.decode("utf-8")
    signatures = [Webhook(_key(secret)).sign(message_id, moment, text) for secret in given]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def verdict_of(status: int) -> Verdict:
    """Only 2xx is a success, only 410 an end; a redirect is a failure like any other, and is not followed."""
    if 200 <= status < 300:
        return Verdict.DELIVERED
    return Verdict.DISABLE if status == 410 else Verdict.AGAIN


def longest_delay(attempt: int) -> timedelta:
    """Upper bound of the wait after failed attempt number `attempt` (the first is 1), Retry-After left aside."""
    if attempt < 1:
        raise ValueError(f"attempt {attempt}: the first is 1")
    return min(FIRST_DELAY * 2.0 ** min(attempt - 1, 16), LONGEST_DELAY)  # 5 s times 2^11 is already beyond 2 h


def pause(
    attempt: int, random: Random, retry_after_seconds: float | None = None, longest: timedelta = LONGEST_DELAY
) -> timedelta:
    """How long to wait after a failure: exponential backoff with full jitter, no shorter than the receiver asked.

    Args:
        attempt: number of the attempt that just failed; the first is 1.
        random: source of the jitter.
        retry_after_seconds: what the receiver asked for; more than two hours count as two hours.
        longest: bound of the backoff.
    """
    wait = random.random() * min(longest_delay(attempt), longest)
    if retry_after_seconds is not None:
        wait = max(wait, timedelta(seconds=min(retry_after_seconds, LONGEST_DELAY.total_seconds())))
    return wait


def next_attempt(
    first_attempt_at: datetime, attempt: int, now: datetime, random: Random, retry_after_seconds: float | None = None
) -> datetime | None:
    """When to try again after a failure, by `pause`.

    Args:
        first_attempt_at: of this message.
        attempt: number of the attempt that just failed; the first is 1.
        now: when it failed.
        random: source of the jitter.
        retry_after_seconds: what the receiver asked for.

    Returns:
        The moment, or None: it would lie more than a day after the first attempt, so the message is given up.
    """
    at = now + pause(attempt, random, retry_after_seconds)
    return at if at <= first_attempt_at + GIVE_UP_AFTER else None


def _key(secret: str) -> bytes:
    """The key inside `whsec_…`; no message repeats any of it."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(SECRET_PREFIX) or not FEWEST_SECRET_BYTES <= len(key) <= MOST_SECRET_BYTES:
        raise BadInput(
            f"the webhook secret is not '{SECRET_PREFIX}' and the base64 of {FEWEST_SECRET_BYTES} to "
            f"{MOST_SECRET_BYTES} bytes; make a new one and give it to the receiver"
        )
    return key
