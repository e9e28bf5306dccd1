"""The service on one machine: broker, API, MLflow and worker as supervised children, and nothing left of them after.

Knows commands and ports, no code of theirs. Each child is a process group of its own with a log file; a guardian
process ends the groups if this process is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import httpx
from pydantic import SecretStr

from unlearn.errors import Unavailable
from unlearn.locks import hold
from unlearn.settings import Settings

READY_SECONDS = 90.0
STOP_SECONDS = 10.0
LOCK_SECONDS = 5.0
"""How long a house of the same home may take to end; a guardian needs 3."""
RESTARTS = 3
STEADY_SECONDS = 300
"""A part that ran so long before it died begins its restarts anew."""
POLL_SECONDS = 0.05
PYTHON = [sys.executable, "-P", "-m"]
"""-P: a directory called `api` or `workers` where the person stands is not ours."""
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its job runners are sessions of their own, and not needed
    "PYTHONUNBUFFERED": "1",
}


@dataclass
class Part:
    """A child: its name, its command, its log, the running process, how often in a row it was started, and when."""

    name: str
    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    started: float = 0.0


@dataclass
class House:
    """The running service; a context manager.

    Attributes:
        settings: of all parts.
        mlflow_ui: whether to run MLflow's server when the runs are kept on this machine.
        urls: where "api" and "mlflow" answer.
        awaited: what keeps adapters from serving, if anything does.
    """

    settings: Settings
    mlflow_ui: bool = True
    urls: dict[str, str] = field(default_factory=dict)
    awaited: str | None = None
    _parts: list[Part] = field(default_factory=list)
    _guardian: subprocess.Popen[bytes] | None = None

    @property
    def key(self) -> str:
        """The key for commands on this machine; there once the API is ready."""
        return self.settings.local_key_file.read_text(encoding="utf-8").strip()

    @property
    def log_dir(self) -> Path:
        """Directory of the parts' logs."""
        return self.settings.home / "logs"

    def __enter__(self) -> Self:
        """Start every part and wait until the API is ready.

        Raises:
            Unavailable: a part did not come up; its log's end is in the message, and nothing is left running. Or the
                service runs in this home already.
        """
        home = self.settings.home
        home.mkdir(mode=0o700, parents=True, exist_ok=True)  # weights, reasons and keys are nobody else's to read
        self.log_dir.mkdir(exist_ok=True)
        lock = hold(
            home / "house.lock", LOCK_SECONDS, f"the service runs in '{home}' already; stop it, or name another home"
        )
        try:
            self._guardian = subprocess.Popen(
                [*PYTHON, "unlearn.cli.guardian"], stdin=subprocess.PIPE, start_new_session=True, pass_fds=[lock]
            )
        finally:
            os.close(lock)  # the guardian holds it until the last part is gone
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        s = self.settings
        self.urls["api"] = f"http://{s.host}:{s.port}"
        self.urls["mlflow"] = s.effective_mlflow_uri
        if s.broker_url is None:
            self._start("broker", [*PYTHON, "workers.broker"])
            self._wait("broker", lambda: _pongs(s.broker_socket))
        self._start("api", [*PYTHON, "api"])
        if self.mlflow_ui and s.mlflow_tracking_uri is None:
            port = free_port()
            self.urls["mlflow"] = f"http://127.0.0.1:{port}"
            self._start("mlflow", [*PYTHON, "unlearn.tracking.store", *_mlflow_options(s, port)])
            self._wait("mlflow", lambda: _answers(f"{self.urls['mlflow']}/health"))
        self._wait("api", self.ready)
        ready = s.home / "worker.ready"
        ready.unlink(missing_ok=True)
        self._start("worker", [*PYTHON, "workers"])
        self._wait("worker", ready.exists)

    def ready(self) -> bool:
        """Can the API do its work? One that withholds adapters needs its worker all the more."""
        with contextlib.suppress(httpx.HTTPError, ValueError):
            answer = httpx.get(f"{self.urls['api']}/readyz", timeout=5, trust_env=False)
            problem = {} if answer.is_success else answer.json()
            withheld = str(problem.get("type", "")).endswith("/withheld")
            self.awaited = str(problem["detail"]) if withheld else None
            return answer.is_success or withheld
        return False

    def check(self) -> None:
        """Start again what has died.

        Raises:
            Unavailable: a part died too often.
        """
        for part in self._parts:
            if part.process is None or part.process.poll() is None:
                continue
            if time.monotonic() - part.started > STEADY_SECONDS:
                part.restarts = 0
            if part.restarts >= RESTARTS:
                raise Unavailable(
                    f"the {part.name} died {RESTARTS + 1} times in a row; its log ends:\n{_tail(part.log)}"
                )
            self._forget(part)
            part.restarts += 1
            self._run(part)

    def close(self) -> None:
        """Stop the parts, the last started first; a part that does not listen is killed."""
        for part in reversed(self._parts):
            if part.process is not None:
                self._end(part)
        self._parts.clear()
        if self._guardian is not None and self._guardian.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._guardian.stdin.close()
            self._guardian.wait()
            self._guardian = None

    def _start(self, name: str, command: list[str]) -> None:
        part = Part(name, command, self.log_dir / f"{name}.log")
        self._parts.append(part)
        self._run(part)

    def _run(self, part: Part) -> None:
        with part.log.open("ab") as log:
            part.process = subprocess.Popen(
                part.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(self.settings),
                start_new_session=True,
            )
        part.started = time.monotonic()
        self._tell(f"+{part.process.pid}")

    def _end(self, part: Part) -> None:
        process = part.process
        assert process is not None  # noqa: S101
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        self._forget(part)

    def _forget(self, part: Part) -> None:
        """Kill what is left of the part's group, and reap it."""
        process = part.process
        assert process is not None  # noqa: S101
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._tell(f"-{process.pid}")
        part.process = None

    def _tell(self, line: str) -> None:
        if self._guardian is not None and self._guardian.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # a guardian that was killed must not keep us from stopping
                self._guardian.stdin.write(f"{line}\n".encode())
                self._guardian.stdin.flush()

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait until `ready`; all parts started so far must live on meanwhile."""
        deadline = time.monotonic() + READY_SECONDS
        while not ready():
            for part in self._parts:
                if part.process is None or part.process.poll() is not None:
                    raise Unavailable(f"the {part.name} did not start; its log ends:\n{_tail(part.log)}")
            if time.monotonic() > deadline:
                log = self.log_dir / f"{name}.log"
                raise Unavailable(
                    f"the {name} was not ready after {READY_SECONDS:.0f} seconds; its log ends:\n{_tail(log)}"
                )
            time.sleep(POLL_SECONDS)


def environment(settings: Settings) -> dict[str, str]:
    """This process's environment, with `settings` in the place of whatever it says of them."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("UNLEARN_")}
    ours.pop("MLFLOW_TRACKING_URI", None)
    for name, value in settings.model_dump(mode="python").items():
        if value is not None:
            ours[f"UNLEARN_{name.upper()}"] = os.pathsep.join(map(str, value)) if name == "roots" else _spelled(value)
    return ours | ENVIRONMENT


def _spelled(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return json.dumps(value) if isinstance(value, bool | dict | list) else str(value)


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url, timeout=5, trust_env=False).is_success
    return False


def _pongs(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as broker:
        broker.settimeout(1)
        broker.connect(str(path))
        broker.sendall(b"PING\r\n")
        return broker.recv(64).startswith(b"+PONG")
    return False


def free_port() -> int:
    """A port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _mlflow_options(settings: Settings, port: int) -> list[str]:
    artifacts = settings.home / "mlartifacts"
    store = ["--backend-store-uri", settings.effective_mlflow_uri, "--default-artifact-root", artifacts.as_uri()]
    return [*store, "--no-serve-artifacts", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
