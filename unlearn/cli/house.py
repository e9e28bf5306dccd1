"""The service on one machine: broker, API, MLflow and worker as supervised children, and nothing left of them after.

Knows commands and ports, no code of theirs. Each child is a process group of its own with a log file; a guardian
process ends the groups if this process is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import httpx

from unlearn.errors import Unavailable
from unlearn.settings import Settings

READY_SECONDS = 90.0
STOP_SECONDS = 10.0
RESTARTS = 3
POLL_SECONDS = 0.05


@dataclass
class Part:
    """A child: its name, its command, the running process, how often it was started again."""

    name: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0


@dataclass
class House:
    """The running service; a context manager.

    Attributes:
        settings: of all parts.
        mlflow_ui: whether to run MLflow's server when the runs are kept on this machine.
        urls: where "api" and "mlflow" answer.
    """

    settings: Settings
    mlflow_ui: bool = True
    urls: dict[str, str] = field(default_factory=dict)
    _parts: list[Part] = field(default_factory=list)
    _guardian: subprocess.Popen[bytes] | None = None

    @property
    def log_dir(self) -> Path:
        """Directory of the parts' logs."""
        return self.settings.home / "logs"

    def __enter__(self) -> Self:
        """Start every part and wait until the API is ready.

        Raises:
            Unavailable: a part did not come up; its log's end is in the message, and nothing is left running.
        """
        self.log_dir.mkdir(parents=True, exist_ok=True)
        try:
            self._guardian = subprocess.Popen(
                [sys.executable, "-m", "unlearn.cli.guardian"], stdin=subprocess.PIPE, start_new_session=True
            )
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        s, python = self.settings, [sys.executable, "-m"]
        self.urls["api"] = f"http://{s.host}:{s.port}"
        self.urls["mlflow"] = s.effective_mlflow_uri
        if s.broker_url is None:
            self._start("broker", [*python, "workers.broker"])
        self._start("api", [*python, "api"])
        if self.mlflow_ui and s.mlflow_tracking_uri is None:
            port = free_port()
            self.urls["mlflow"] = f"http://127.0.0.1:{port}"
            self._start("mlflow", [*python, "mlflow", "server", *_mlflow_options(s, port)])
            self._wait("mlflow", f"{self.urls['mlflow']}/health")
        self._wait("api", f"{self.urls['api']}/readyz")
        options = ["--loglevel", "INFO", "--without-gossip", "--without-mingle", "-n", f"unlearn-{os.getpid()}@%h"]
        self._start("worker", [*python, "celery", "-A", "workers.tasks", "worker", "-Q", "gpu", *options])

    def check(self) -> None:
        """Start again what has died.

        Raises:
            Unavailable: a part died too often.
        """
        for part in self._parts:
            if part.process is None or part.process.poll() is None:
                continue
            if part.restarts >= RESTARTS:
                raise Unavailable(f"the {part.name} died {RESTARTS + 1} times; its log ends:\n{self._tail(part.name)}")
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
            self._guardian.stdin.close()
            self._guardian.wait()
            self._guardian = None

    def _start(self, name: str, command: list[str]) -> None:
        part = Part(name, command)
        self._parts.append(part)
        self._run(part)

    def _run(self, part: Part) -> None:
        with (self.log_dir / f"{part.name}.log").open("ab") as log:
            part.process = subprocess.Popen(
                part.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                start_new_session=True,
            )
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
            self._guardian.stdin.write(f"{line}\n".encode())
            self._guardian.stdin.flush()

    def _environment(self) -> dict[str, str]:
        s = self.settings
        given = {
            "UNLEARN_HOME": str(s.home),
            "UNLEARN_HOST": s.host,
            "UNLEARN_PORT": str(s.port),
            "UNLEARN_ROOTS": os.pathsep.join(map(str, s.roots)),
            "UNLEARN_DATABASE_URL": s.database_url,
            "UNLEARN_BROKER_URL": s.broker_url,
            "UNLEARN_MLFLOW_TRACKING_URI": s.mlflow_tracking_uri,
            "UNLEARN_MLFLOW_EXPERIMENT": s.mlflow_experiment,
            "UNLEARN_DEVICE": s.device,
            "UNLEARN_LEASE_SECONDS": str(s.lease_seconds),
            "UNLEARN_HEARTBEAT_SECONDS": str(s.heartbeat_seconds),
            "UNLEARN_SWEEP_SECONDS": str(s.sweep_seconds),
            "UNLEARN_MAX_ATTEMPTS": str(s.max_attempts),
            "UNLEARN_IDENTITY_KEY": s.identity_key.get_secret_value() if s.identity_key else None,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PYTHONUNBUFFERED": "1",
        }
        return os.environ | {key: value for key, value in given.items() if value is not None}

    def _wait(self, name: str, url: str) -> None:
        part = next(part for part in self._parts if part.name == name)
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if part.process is None or part.process.poll() is not None:
                raise Unavailable(f"the {name} did not start; its log ends:\n{self._tail(name)}")
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(url, timeout=5, trust_env=False).is_success:
                    return
            time.sleep(POLL_SECONDS)
        raise Unavailable(
            f"the {name} was not ready after {READY_SECONDS:.0f} seconds; its log ends:\n{self._tail(name)}"
        )

    def _tail(self, name: str, lines: int = 15) -> str:
        text = (self.log_dir / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])


def free_port() -> int:
    """A port of the loopback address that nobody listens on now."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _mlflow_options(settings: Settings, port: int) -> list[str]:
    artifacts = settings.home / "mlartifacts"
    store = ["--backend-store-uri", settings.effective_mlflow_uri, "--default-artifact-root", artifacts.as_uri()]
    return [*store, "--no-serve-artifacts", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
