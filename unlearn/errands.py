"""Running errands: sends the callbacks and tells the hooks that the desk planned, and reports how it went.

An attempt is leased, so that two processes never make the same one at once; one that dies is made again. Decides
nothing.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from unlearn.cases.desk import Desk
from unlearn.cases.views import ErrandKind, Task
from unlearn.deploy import CurrentLink, Hook, Release, Vllm, parse_hooks
from unlearn.deploy.base import number_of
from unlearn.disposal import dispose
from unlearn.errors import BadInput, Unavailable, UnlearnError
from unlearn.locations import is_url, name_of
from unlearn.outbound import CallbackFailed, CallbackRefused, Verdict, post, signed_headers, signer_of, verdict_of
from unlearn.publishing import publish
from unlearn.rhythm import STOP_SECONDS, Rhythm
from unlearn.settings import Settings
from unlearn.storage import Vault

log = logging.getLogger(__name__)

HANDS = 4
"""Errands that one process runs at the same time, each for an address or a hook of its own."""


def run_errand(desk: Desk, settings: Settings, task: Task) -> None:
    """Make one attempt of an errand that was taken, and report how it went."""
    try:
        RUNNERS[task.kind](desk, settings, task)
    except Exception as error:
        log.exception("errand %s: attempt %d failed", task.id, task.attempt)
        desk.errand_failed(task, f"unexpected {type(error).__name__}; the log has the details")


def _call_back_opendsr(desk: Desk, settings: Settings, task: Task) -> None:
    """One status callback as OpenDSR has it, signed by the certificate's key."""
    signer = signer_of(settings)
    if signer is None:
        desk.errand_failed(task, "the OpenDSR front is not set up any more (UNLEARN_OPENDSR_DOMAIN)")
        return
    body = json.dumps(task.payload, separators=(",", ":")).encode()
    _send(desk, settings, task, task.payload["status_callback_url"], body, signer.headers(body))


def _call_back(desk: Desk, settings: Settings, task: Task) -> None:
    """One signed POST (Standard Webhooks); the errand's id is the message's, on every attempt."""
    assert task.url is not None  # noqa: S101
    body = json.dumps(task.payload, separators=(",", ":")).encode()
    _send(desk, settings, task, task.url, body, signed_headers(task.secrets, task.id, datetime.now(UTC), body))


def _send(desk: Desk, settings: Settings, task: Task, url: str, body: bytes, headers: Mapping[str, str]) -> None:
    private = settings.callbacks_allow_private
    try:
        answer = post(url, body, {"content-type": "application/json", **headers}, allow_private=private)
    except (CallbackRefused, CallbackFailed) as error:
        desk.errand_failed(task, str(error))
        return
    verdict = verdict_of(answer.status)
    if verdict is Verdict.DELIVERED:
        desk.errand_done(task)
    else:
        why, gone = f"the receiver answered {answer.status}", verdict is Verdict.DISABLE
        desk.errand_failed(task, why, retry_after=answer.retry_after_seconds, gone=gone)


def _deploy(desk: Desk, settings: Settings, task: Task) -> None:
    """One hook hears which version serves."""
    told = task.payload
    try:
        hook = hook_of(settings, task.target)
        release = _release(desk.vault, hook, told)
        if told["withdrawn"]:
            hook.withdraw(release)
        else:
            hook(release)
        if release.url and release.path:
            _take_away(release, withdrawn=told["withdrawn"])
    except UnlearnError as error:
        log.warning("errand %s: hook %s: %s", task.id, task.target, error)
        desk.errand_failed(task, str(error))
        return
    desk.errand_done(task)


def _release(vault: Vault, hook: Hook, told: Mapping[str, Any]) -> Release:
    """What the hook is told; a version of an object store is put where the hook's server reads, if it reads files."""
    place = told["path"]
    path: Path | None = Path(place)
    if is_url(place):
        shelf = hook.directory if isinstance(hook, Vllm) else None
        path = shelf and shelf / told["adapter_id"] / name_of(place)
        if path and not path.is_dir() and not told["withdrawn"]:
            vault.get(place, path)
    return Release(
        adapter=told["adapter"],
        adapter_id=told["adapter_id"],
        number=told["number"],
        path=path,
        sha256=told["sha256"],
        previous=told["previous"],
        forced=told["forced"],
        url=place if is_url(place) else None,
    )


def _take_away(release: Release, *, withdrawn: bool) -> None:
    """Copies that the server does not serve any more: it was told, and reads another one or none."""
    assert release.path is not None  # noqa: S101
    copies = [copy for copy in release.path.parent.glob("v*") if copy.is_dir()]
    newer = [copy for copy in copies if not release.may_replace(number_of(copy))]
    for copy in copies:
        if withdrawn or (copy not in newer and (newer or copy != release.path)):
            try:
                dispose(str(copy))
            except OSError as error:
                raise Unavailable(f"'{copy}' is served no more and could not be taken away ({error})") from None


def _publish(desk: Desk, settings: Settings, task: Task) -> None:
    """One place gets a checkpoint; if it is a witness that is trusted, what it signed is kept."""
    note = task.payload["note"]
    try:
        answer = publish(note, task.target, desk.consistency_proof, allow_private=settings.callbacks_allow_private)
        desk.keep_answer(note, answer)
    except UnlearnError as error:
        log.warning("errand %s: %s: %s", task.id, task.target, error)
        desk.errand_failed(task, str(error))
        return
    desk.errand_done(task)


RUNNERS: Mapping[ErrandKind, Callable[[Desk, Settings, Task], None]] = MappingProxyType(
    {"callback": _call_back, "opendsr": _call_back_opendsr, "deploy": _deploy, "checkpoint": _publish}
)


def hook_of(settings: Settings, name: str) -> Hook:
    """The hook that an errand names: "link", or the place and kind of one of the settings'.

    Raises:
        BadInput: the settings have no such hook any more.
    """
    if name == "link":
        if is_url(settings.effective_store):
            raise BadInput("the versions are in an object store now, beside which there is no link; let the message be")
        return CurrentLink(Path(settings.effective_store))
    for place, (given, hook) in enumerate(zip(settings.hooks, parse_hooks(settings.hooks), strict=True)):
        if name == f"{place}:{given['kind']}":
            return hook
    raise BadInput(f"hook '{name}' is none of UNLEARN_HOOKS any more; put it back, or let the message be")


class Courier(Rhythm):
    """Runs errands, several at once, so that a receiver who is slow to answer keeps no other waiting.

    Args:
        desk: where they lie.
        settings: where hooks and callbacks go.
        seconds: between two looks.
    """

    def __init__(self, desk: Desk, settings: Settings, seconds: float) -> None:
        super().__init__("errands", seconds)
        self._desk, self._settings = desk, settings
        self._next_checkpoint = time.monotonic()
        self._hands: list[threading.Thread] = []

    def turn(self) -> None:
        """Plan a checkpoint if it is time, and set idle hands to what is due."""
        self._keep_checkpoints()
        self._hands = [hand for hand in self._hands if hand.is_alive()]
        while not self.is_stopping and len(self._hands) < HANDS:
            task = self._desk.take_errand()
            if task is None:
                return
            self._hands.append(threading.Thread(target=self._work, args=(task,), name="errand", daemon=True))
            self._hands[-1].start()

    def stop(self) -> None:
        """End after the attempts in progress, or without them if they take too long."""
        super().stop()
        deadline = time.monotonic() + STOP_SECONDS
        for hand in self._hands:
            hand.join(timeout=max(0.0, deadline - time.monotonic()))

    def _work(self, task: Task | None) -> None:
        """Run the errand, then others until none is due."""
        try:
            while task is not None:
                run_errand(self._desk, self._settings, task)
                task = None if self.is_stopping else self._desk.take_errand()
        except Unavailable as error:
            log.debug("a hand rests: %s", error)  # the next turn says so, once an outage
        except Exception:
            log.exception("an errand was left; its lease ends, and it is run again")

    def _keep_checkpoints(self) -> None:
        """Every now and then a checkpoint, if the ledger grew; one that can't be made does not keep errands waiting."""
        if time.monotonic() < self._next_checkpoint:
            return
        self._next_checkpoint = time.monotonic() + self._settings.ledger_publish_seconds
        try:
            self._desk.plan_publication()
        except UnlearnError as error:
            log.warning("no checkpoint of the ledger: %s", error)
