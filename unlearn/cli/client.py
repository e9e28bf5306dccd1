"""A client of the HTTP API. Turns its problem documents back into our errors; prints nothing."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from unlearn.errors import BadInput, Conflict, NotAllowed, NotFound, Unauthenticated, Unavailable, UnlearnError
from unlearn.settings import Settings

OPEN = frozenset({"pending", "in_progress"})
POLL_SECONDS = 0.25
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
KEY = re.compile(r"[!-~]+")
"""Of an API key, or of an issuer's token."""


class Client:
    """The API at `url`; a context manager.

    Args:
        url: where it answers.
        timeout: of one call, in seconds.
        key: an API key; without, UNLEARN_API_KEY, or the one that a service on this machine keeps under home.
    """

    def __init__(self, url: str, timeout: float = 60.0, key: str | None = None) -> None:
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise BadInput(f"'{url}' is not a URL: {error}") from None
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise BadInput(f"'{url}' is not the URL of a service; give one such as http://127.0.0.1:8000")
        headers = {"Authorization": f"Bearer {_checked(key)}"} if (key := key or _own_key()) else {}
        self._http = httpx.Client(base_url=parsed, timeout=timeout, trust_env=False, headers=headers)
        self.url = url

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        """The JSON at `path`."""
        return self._json(self._send("GET", path, params=_given(params)))

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Send `body` as JSON; the JSON that comes back."""
        return self._json(self._send("POST", path, json=body))

    def download(self, path: str) -> bytes:
        """The bytes at `path`."""
        return self._send("GET", path).content

    def save(self, path: str, out: Path, **params: Any) -> dict[str, str]:
        """Write what is at `path` to the new file `out` as it comes, whole or not at all; its links by relation."""
        draft = out.with_name(f".{out.name}.part")
        try:
            with self._http.stream("GET", path, params=_given(params)) as response, draft.open("wb") as file:
                if not response.is_success:
                    response.read()
                    raise _error(response)
                for chunk in response.iter_bytes():
                    file.write(chunk)
            draft.rename(out)
            return {relation: str(link["url"]) for relation, link in response.links.items() if relation}
        except httpx.HTTPError as error:
            raise self._silent(error) from None
        finally:
            draft.unlink(missing_ok=True)

    def submit(self, subject: str) -> Any:
        """Submit a deletion request for "type:value"."""
        return self.post("/v1/requests", {"subject": parse_subject(subject)})

    def follow(self, request_id: str, patience_seconds: float = 24 * 3600) -> Iterator[Any]:
        """The request again and again until it has ended; the last one is the ended one.

        Raises:
            Unavailable: it did not end in time.
        """
        deadline = time.monotonic() + patience_seconds
        while True:
            request = self.get(f"/v1/requests/{request_id}")
            yield request
            if request["state"] not in OPEN:
                return
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"request {request_id} is still {request['state']} after {patience_seconds:.0f} seconds"
                )
            time.sleep(POLL_SECONDS)

    def _send(self, method: str, path: str, **given: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **given)
        except httpx.HTTPError as error:
            raise self._silent(error) from None
        if not response.is_success:
            raise _error(response)
        return response

    def _json(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError:
            raise BadInput(f"what answers at {self.url} does not speak JSON; is this the service's URL?") from None

    def _silent(self, error: httpx.HTTPError) -> Unavailable:
        return Unavailable(
            f"no service answers at {self.url} ({type(error).__name__}); start one with `unlearn up`, "
            "or name its URL with --url or UNLEARN_URL"
        )


def _given(params: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}


def known_as(text: str) -> str:
    """An id of a request as it was given, which becomes part of an address; BadInput if it is none."""
    if not ID.fullmatch(text):
        raise BadInput("the request's id must be letters, digits, '_' and '-', such as req_0b1c2d3e4f5061728394a5b6")
    return text


def parse_subject(subject: str) -> dict[str, str]:
    """ "type:value" as the API takes it; BadInput if it is spelled otherwise."""
    kind, colon, value = subject.partition(":")
    if not colon or not kind.strip() or not value.strip():
        raise BadInput("the subject must be type:value, such as customer:c-0017")
    return {"type": kind, "value": value}


def _checked(key: str) -> str:
    if not KEY.fullmatch(key):
        raise BadInput("the API key holds characters that no key has; check UNLEARN_API_KEY, or make one anew")
    return key


def _own_key() -> str | None:
    settings = Settings()
    if settings.api_key is not None:
        return settings.api_key.get_secret_value()
    try:
        return settings.local_key_file.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _error(response: httpx.Response) -> UnlearnError:
    try:
        detail = str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"the service answered {response.status_code} without a problem document; is this its URL?"
    if response.status_code == 401:
        return Unauthenticated(detail)
    if response.status_code == 403:
        return NotAllowed(detail)
    if response.status_code == 404:
        return NotFound(detail)
    if response.status_code == 409:
        return Conflict(detail)
    return BadInput(detail) if response.status_code < 500 else Unavailable(detail)
