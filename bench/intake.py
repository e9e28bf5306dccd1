"""How fast the API takes deletion requests in. `kills.py` shows that none is lost.

    python bench/intake.py                          10,000 requests of people unknown, 8 clients, SQLite
    python bench/intake.py --requests 2000 --company DIR --json intake.json
    python bench/intake.py --database-url postgresql+psycopg://...

The API is a process of its own (`python -m api`), with one adapter registered and no broker: doorbells would wait in the
outbox. Beside it runs `bare.py`, an endpoint that does nothing but insert one row as durably. Both get the same requests from
the same clients, in turns.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from rich.console import Console
from rich.table import Table
from small import company, registration

from unlearn.cli.house import free_port

ROOT = Path(__file__).resolve().parent.parent
WARM = 200
"""Requests before the first turn that are not counted: threads start, connections open."""


@dataclass
class Load:
    """What clients met: seconds of each answer, ids of what was confirmed, answers that were no 201.

    `cpu_seconds` is the processor time of the server meanwhile.
    """

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    seconds: list[float] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Confirmed requests a second."""
        return len(self.ids) / self.wall_seconds


class Server:
    """A child process that listens on `port`."""

    def __init__(self, words: list[str], port: int, env: dict[str, str], log: Path, path: str) -> None:
        self.port, began = port, time.monotonic()
        with log.open("a") as out:
            self.process = subprocess.Popen(
                [sys.executable, *words], cwd=ROOT, env=os.environ | env, stdout=out, stderr=out
            )
        while True:
            try:
                answer(port, "GET", path)
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() - began > 60:
                    raise SystemExit(f"{words} did not start:\n{log.read_text()[-2000:]}") from None
                time.sleep(0.01)
        self.ready_seconds = time.monotonic() - began

    @property
    def rss_mb(self) -> float:
        """Resident memory (Linux), in 10^6 bytes."""
        [line] = [x for x in Path(f"/proc/{self.process.pid}/status").read_text().splitlines() if x.startswith("VmRSS")]
        return int(line.split()[1]) * 1024 / 1e6

    @property
    def cpu_seconds(self) -> float:
        """Processor time so far (Linux): user and system, of all threads."""
        after_name = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")

    def end(self, how: int = signal.SIGTERM) -> None:
        """Stop it and wait."""
        self.process.send_signal(how)
        self.process.wait()


def answer(port: int, method: str, path: str, body: Any = None, token: str = "") -> tuple[int, Any]:
    """One call on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers(token))
        got = connection.getresponse()
        return got.status, json.loads(got.read() or b"null")
    finally:
        connection.close()


def headers(token: str) -> dict[str, str]:
    """What every call carries."""
    return {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}


def load(port: int, token: str, name: str, requests: int, clients: int) -> Load:
    """Submit so many distinct, unknown people from `clients` connections."""
    done, numbers, lock = Load(), count(), threading.Lock()

    def client() -> None:
        connection, sent = http.client.HTTPConnection("127.0.0.1", port, timeout=60), headers(token)
        try:
            while (number := next(numbers)) < requests:
                body = json.dumps({"subject": {"type": "customer", "value": f"{name}-{number}"}})
                began = time.perf_counter()
                connection.request("POST", "/v1/requests", body, sent)
                got = connection.getresponse()
                text = got.read()
                seconds = time.perf_counter() - began
                with lock:
                    done.seconds.append(seconds)
                    (done.ids if got.status == 201 else done.others).append(
                        json.loads(text)["id"] if got.status == 201 else f"{got.status} {text[:300]!r}"
                    )
        finally:
            connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.wall_seconds = time.perf_counter() - began
    return done


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000, help="to each of the two, in all turns")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--database-url", help="by default an SQLite file; the bare endpoint gets a table there")
    parser.add_argument("--company", type=Path, help="base/, adapter/, train.jsonl, holdout.jsonl; trained without")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    given = parser.parse_args()
    small = company(given.company)
    with tempfile.TemporaryDirectory(prefix="unlearn-intake-") as directory:
        figures = measure(Path(directory), small, given)
    show(figures)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def environment(place: Path, roots: list[Path], url: str | None) -> dict[str, str]:
    """What makes `python -m api` serve from `place`, with its own database unless `url` names one."""
    return {
        "UNLEARN_HOME": str(place / "home"),
        "UNLEARN_PORT": str(free_port()),
        "UNLEARN_ROOTS": os.pathsep.join(map(str, roots)),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]]),
        **({"UNLEARN_DATABASE_URL": url} if url else {}),
    }


def start(env: dict[str, str], place: Path) -> Server:
    """The API, once it answers."""
    return Server(["-m", "api"], int(env["UNLEARN_PORT"]), env, place / "api.log", "/healthz")


def token_of(place: Path) -> str:
    """The admin's key, which the API made at its first start."""
    return (place / "home/keys/local.token").read_text().strip()


def measure(place: Path, small: Path, given: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    url = given.database_url
    env = environment(place, [small], url)
    api = start(env, place)
    first_seconds = api.ready_seconds
    token = token_of(place)
    api.end()
    api, port = start(env, place), api.port
    time.sleep(3)
    rest_mb = api.rss_mb
    status, made = answer(port, "POST", "/v1/adapters", registration(small), token)
    assert status in (201, 409), made
    bare_port = free_port()
    words = ["bench/bare.py", str(bare_port), url or str(place / "bare.db")]
    bare = Server(words, bare_port, env, place / "bare.log", "/openapi.json")
    name, turn = f"nobody-{os.getpid()}", given.requests // given.turns
    load(port, token, f"{name}-warm", WARM, given.clients)
    load(bare_port, "", f"{name}-warm", WARM, given.clients)
    loads: dict[str, list[Load]] = {"api": [], "bare": []}
    for number in range(given.turns):
        for who, server, key in (("api", api, token), ("bare", bare, "")):
            before = server.cpu_seconds
            loads[who].append(load(server.port, key, f"{name}-{number}", turn, given.clients))
            loads[who][-1].cpu_seconds = server.cpu_seconds - before
    bare.end()
    loaded_mb = api.rss_mb
    api.end()
    ratios = [ours.rate / theirs.rate for ours, theirs in zip(loads["api"], loads["bare"], strict=True)]
    return {
        "requests": given.requests,
        "clients": given.clients,
        "database": "postgresql" if url else "sqlite",
        "machine": {"cores": os.cpu_count(), "load_average": os.getloadavg()},
        "first_start_seconds": first_seconds,
        "start_seconds": api.ready_seconds,
        "rss_at_rest_mb": rest_mb,
        "rss_after_load_mb": loaded_mb,
        **{who: told(runs) for who, runs in loads.items()},
        "ratio": median(ratios),
        "ratios": ratios,
    }


def told(runs: list[Load]) -> dict[str, Any]:
    """Rate and latencies of all turns."""
    cuts = quantiles([s for run in runs for s in run.seconds], n=100)
    return {
        "per_second": median(run.rate for run in runs),
        "turns_per_second": [run.rate for run in runs],
        "p50_ms": cuts[49] * 1e3,
        "p99_ms": cuts[98] * 1e3,
        "cpu_ms": median(run.cpu_seconds / len(run.ids) for run in runs) * 1e3,
        "not_201": [other for run in runs for other in run.others][:5],
    }


def show(figures: dict[str, Any]) -> None:
    """The figures as a table."""
    console = Console()
    machine = figures["machine"]
    load_now = " ".join(f"{x:.1f}" for x in machine["load_average"])
    title = f"{figures['requests']:,} requests, {figures['clients']} clients, {figures['database']}; {machine['cores']} cores, load {load_now}"
    console.print(title)
    table = Table("", box=None, header_style="dim")
    for head in ("requests/s", "p50 (ms)", "p99 (ms)", "processor (ms a request)"):
        table.add_column(head, justify="right")
    for who, label in (("api", "the API"), ("bare", "one bare insert")):
        row = figures[who]
        cells = f"{row['per_second']:.0f}", f"{row['p50_ms']:.1f}", f"{row['p99_ms']:.1f}", f"{row['cpu_ms']:.2f}"
        table.add_row(label, *cells)
        for other in row["not_201"]:
            console.print(f"{label}: {other}", style="red", markup=False)
    console.print(table)
    spread = f"{min(figures['ratios']):.2f} to {max(figures['ratios']):.2f}"
    console.print(f"ratio {figures['ratio']:.2f} (turns {spread})")
    console.print(
        f"start to answering: {figures['start_seconds']:.1f} s (with an empty home {figures['first_start_seconds']:.1f} s); "
        f"memory at rest {figures['rss_at_rest_mb']:.0f} MB, after the load {figures['rss_after_load_mb']:.0f} MB"
    )


if __name__ == "__main__":
    main()
