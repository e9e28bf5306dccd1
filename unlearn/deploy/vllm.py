"""vLLM's dynamic LoRA API: swap the weights behind a name while the server runs. Knows HTTP; keeps no state of its own.

What a server serves is asked of the server, at `/v1/models`, before and after each change. The server must run with
`--enable-lora` and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, and see a version's directory at the same path. An adapter
is loaded into the process that answers: behind a load balancer, or with several API server processes, give each its
own hook.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
from pydantic import SecretStr

from unlearn.deploy.base import HookFailed, Release, number_of
from unlearn.errors import BadInput

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 30.0
MOST_CHARS_QUOTED = 200
"""Of what a server answered, in a message."""

ALREADY_LOADED = "already been loaded"
"""How vLLM says in its 400 that the name is taken; other 400s are about the adapter itself."""

VISIBLE = re.compile(r"[\x21-\x7e]+")

PrefixCache = Literal["reset", "try", "off"]


@dataclass(frozen=True)
class Vllm:
    """Loads a release under the adapter's own name, so that clients need no change.

    Attributes:
        url: the server's, without a path such as /v1.
        api_key: sent as bearer token; None sends none.
        inplace: swap the weights of a loaded name without a gap (`load_inplace`); a server too old to know it, or
            False, means unloading first, and clients get 404 until the new weights are there. Some releases of vLLM
            go on reading an adapter that was loaded in place from disk at every step; there, False is faster.
        prefix_cache: vLLM keys cached prefixes by the adapter's name, so that what the old weights computed is used
            on under the new ones. It empties that cache when asked to, on a route that is only there with
            VLLM_SERVER_DEV_MODE=1, and does not say whether it did. "reset" fails without that route; "try" leaves a
            warning in the log; "off" does not ask. Sure is only a server without such a cache
            (--no-enable-prefix-caching), with "off" here.
        directory: where versions that live in an object store are put for the server, which reads directories alone:
            writable here, and seen by the server at the same path. What it does not serve any more is taken away.
    """

    url: str
    api_key: SecretStr | None = None
    inplace: bool = True
    prefix_cache: PrefixCache = "try"
    directory: Path | None = None

    def __post_init__(self) -> None:
        """Check URL and key, and take a slash off the URL's end.

        Raises:
            BadInput: it is not the URL of a server, or holds a password; or the key can't be sent.
        """
        try:
            url = httpx.URL(self.url)
        except httpx.InvalidURL:
            raise BadInput("url: not a URL; give one such as http://127.0.0.1:8000") from None
        if url.userinfo or url.query or url.fragment:  # would be in every message and log
            raise BadInput("url: no user, password, query or fragment can be in it; give the API key as api_key")
        if url.scheme not in ("http", "https") or not url.host:
            raise BadInput(f"url: '{self.url}' is not the URL of a server; give one such as http://127.0.0.1:8000")
        if url.path.rstrip("/").endswith("/v1"):
            raise BadInput(f"url: '{self.url}' ends in /v1; leave that part away")
        if self.api_key is not None and not VISIBLE.fullmatch(self.api_key.get_secret_value()):
            raise BadInput("api_key: can't be sent in a header; it may have visible ASCII characters only, no spaces")
        object.__setattr__(self, "url", self.url.rstrip("/"))

    def __call__(self, release: Release) -> None:
        """Load the release, unless a newer one is loaded; then have the prefix cache emptied."""
        with self._client() as client:
            path = self._path(release)
            roots = self._roots(client, release)
            self._refuse_anothers(release, roots)
            newer = [root for root in roots if not release.may_replace(_number_beside(root, path))]
            if newer:
                log.info("vLLM at %s serves '%s' from '%s' already", self.url, release.adapter, newer[0])
                return
            if str(path) not in roots:
                self._load(client, release, path, loaded=bool(roots))
                if str(path) not in self._roots(client, release):
                    raise self._failed(
                        f"took version {release.number} of '{release.adapter}', but does not list it",
                        "see that the URL is that of one server, not of several behind it",
                    )
            self._empty_prefix_cache(client, release)

    def withdraw(self, release: Release) -> None:
        """Unload the adapter; a server that has none of the name, or another adapter, is as it should be."""
        with self._client() as client:
            roots = self._roots(client, release)
            if any(release.is_beside(Path(root)) for root in roots):
                log.warning("vLLM at %s serves another adapter as '%s'; it is left there", self.url, release.adapter)
                return
            if not roots:
                return
            self._unload(client, release)
            if self._roots(client, release):
                raise self._failed(
                    f"still serves '{release.adapter}'",
                    "start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, or stop it",
                )

    @contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        key = self.api_key
        headers = {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}
        with httpx.Client(
            base_url=self.url, headers=headers, timeout=TIMEOUT_SECONDS, follow_redirects=False, trust_env=False
        ) as client:
            yield client

    def _roots(self, client: httpx.Client, release: Release) -> list[str]:
        """The paths that the server has the adapter's name from; none when it serves no such name."""
        response = self._send(client, "GET", "/v1/models")
        if response.status_code != httpx.codes.OK:
            raise self._refused(response, "/v1/models")
        try:
            cards = response.json()["data"]
            return [str(card.get("root")) for card in cards if card["id"] == release.adapter]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._failed("does not list models as vLLM does", "see that the URL is that of vLLM") from None

    def _refuse_anothers(self, release: Release, roots: list[str]) -> None:
        """Two services that share a server may have one name for two adapters; in one service no two have."""
        for root in roots:
            if release.is_beside(Path(root)):
                raise self._failed(
                    f"serves '{release.adapter}' from '{root}', which is another adapter's ('{release.adapter_id}' "
                    "was released)",
                    "unload that one if nobody needs it any more, or give one of the two a server of its own",
                )

    def _path(self, release: Release) -> Path:
        if release.path is None:
            raise self._failed(
                f"reads directories, and version {release.number} of '{release.adapter}' is at '{release.url}'",
                "give the hook a `directory` that this process may write to and the server sees at the same path",
            )
        return release.path

    def _load(self, client: httpx.Client, release: Release, path: Path, *, loaded: bool) -> None:
        """Load the release under a name that is `loaded`, or is not."""
        body: dict[str, Any] = {"lora_name": release.adapter, "lora_path": str(path)}
        response = self._send(
            client, "POST", "/v1/load_lora_adapter", body | ({"load_inplace": True} if loaded and self.inplace else {})
        )
        if response.status_code == httpx.codes.BAD_REQUEST and ALREADY_LOADED in response.text:
            self._unload(client, release)
            response = self._send(client, "POST", "/v1/load_lora_adapter", body)
        if response.status_code != httpx.codes.OK:
            raise self._refused(response, "/v1/load_lora_adapter")

    def _unload(self, client: httpx.Client, release: Release) -> None:
        response = self._send(client, "POST", "/v1/unload_lora_adapter", {"lora_name": release.adapter})
        if response.status_code not in (httpx.codes.OK, httpx.codes.NOT_FOUND):  # 404: somebody else was first
            raise self._refused(response, "/v1/unload_lora_adapter")

    def _empty_prefix_cache(self, client: httpx.Client, release: Release) -> None:
        if self.prefix_cache == "off":
            return
        # While any request runs vLLM keeps the whole cache, unless it may have those requests wait and compute anew.
        response = self._send(client, "POST", "/reset_prefix_cache?reset_running_requests=true")
        if response.status_code == httpx.codes.OK:
            return
        if self.prefix_cache == "reset" or response.status_code not in (
            httpx.codes.NOT_FOUND,
            httpx.codes.METHOD_NOT_ALLOWED,
        ):
            raise self._refused(response, "/reset_prefix_cache")
        log.warning(
            "vLLM at %s serves version %d of '%s' but does not let its prefix cache be emptied; prefixes that older "
            "weights computed may be used on: start it with --no-enable-prefix-caching and set prefix_cache to 'off', "
            "or start it with VLLM_SERVER_DEV_MODE=1 on a private network",
            self.url,
            release.number,
            release.adapter,
        )

    def _send(self, client: httpx.Client, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        try:
            return client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise self._failed(
                f"did not answer {method} {path} ({type(error).__name__})", "start it, or correct the hook's url"
            ) from None

    def _refused(self, response: httpx.Response, path: str) -> HookFailed:
        next_steps = {
            401: "correct the hook's api_key",
            403: "correct the hook's api_key",
            404: f"see that it runs with {_switches(path)}, and can read the version's directory at the same path",
        }
        step = next_steps.get(response.status_code, "see the server's log")
        if response.is_redirect:
            step = "give the URL that answers itself; redirects are not followed"
        said = self._without_key(_said(response))
        return self._failed(f"answered {path} with {response.status_code}{said and f' ({said})'}", step)

    def _failed(self, what: str, step: str) -> HookFailed:
        return HookFailed(f"vLLM at {self.url} {what}; {step}")

    def _without_key(self, text: str) -> str:
        key = self.api_key.get_secret_value() if self.api_key else ""
        return (text.replace(key, "…") if key else text)[:MOST_CHARS_QUOTED]


def _number_beside(root: str, version: Path) -> int | None:
    """The number of the version at `root`, if it is one of the same adapter's."""
    path = Path(root)
    return number_of(path) if path.parent == version.parent else None


def _switches(path: str) -> str:
    if path == "/reset_prefix_cache":
        return "VLLM_SERVER_DEV_MODE=1"
    return "--enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"


def _said(response: httpx.Response) -> str:
    """The message of an error: at the top in older releases, under `error` in newer ones."""
    try:
        data = response.json()
    except ValueError:
        return ""
    if not isinstance(data, dict):
        return ""
    error = data.get("error")
    found = error.get("message") if isinstance(error, dict) else data.get("message")
    return " ".join(found.split()) if isinstance(found, str) else ""
