"""Whether anything is lost, doubled or left half done when everything is killed while jobs run.

    python bench/chaos.py --set-up embedded         SQLite and the service's own broker
    python bench/chaos.py --set-up postgres         PostgreSQL and Redis, started here; or --postgres URL
    python bench/chaos.py --jobs 12 --seed 3        a short one

Tiny real models, real broker, real workers, a real API; each part is a process group of its own. More than a hundred people ask to be
forgotten by eight adapters, in groups, while the API is killed; the k-th fault comes a random moment after the k-th
share of jobs has ended, worker faults while the worker's child runs a job. When every request has ended and every part
was told to stop, the checks look at database, ledger, files and processes. Ends with 1 if one fails.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from chaos_checks import ENDED, Check, Recovery, Seen, check_all, recovery, see
from chaos_faults import API_KILLS, Hurt, Tormentor, schedule
from chaos_parts import Part, Postgres, Service, left_running, redis_on_tcp
from chaos_world import SILENT, register, world
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sqlalchemy import func, select

from unlearn.cases.desk import Desk
from unlearn.cases.tables import Errand, Job, Request
from unlearn.cli.house import free_port
from unlearn.errors import Unavailable
from unlearn.settings import Settings

LEASE_SECONDS, HEARTBEAT_SECONDS, SWEEP_SECONDS = 6.0, 1.5, 0.5
ATTEMPTS = 12
"""More than any job needs here: a person decides after three, which is an end as well, but says nothing of recovery."""
KILLS = ("worker killed", "its child killed", "its parent killed")


class People:
    """They ask to be forgotten, group by group, and ask again under the same Idempotency-Key until they are confirmed."""

    def __init__(self, service: Service, people: list[str]) -> None:
        self._service, self._pool = service, ThreadPoolExecutor(4)
        first = len(people) * 2 // 5
        rest = people[first:]
        self._groups = [people[:first], *(rest[number::API_KILLS] for number in range(API_KILLS))]
        self.confirmed: dict[str, str] = {}
        self.repeats, self.answers = 0, Counter[int]()
        self._lock = threading.Lock()

    def submit(self) -> None:
        """Begin to submit the next group."""
        for person in self._groups.pop(0) if self._groups else []:
            self._pool.submit(self._ask, person)

    def close(self) -> None:
        """Wait until everybody is confirmed."""
        while self._groups:
            self.submit()
        self._pool.shutdown()

    def _ask(self, person: str) -> None:
        kind, _, value = person.partition(":")
        headers = {"Authorization": f"Bearer {self._service.key}", "Idempotency-Key": f"chaos-{person}"}
        body = {"subject": {"type": kind, "value": value}}
        while person not in self.confirmed:
            try:
                url = f"{self._service.url}/v1/requests"
                got = httpx.post(url, json=body, headers=headers, timeout=60, trust_env=False)
            except httpx.HTTPError:
                with self._lock:
                    self.repeats += 1
                time.sleep(0.2)
                continue
            with self._lock:
                self.answers[got.status_code] += 1
            if got.status_code == 201:
                self.confirmed[person] = got.json()["id"]
            else:
                time.sleep(0.2)


def main() -> None:
    """Torment one set-up, then look."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set-up", choices=("embedded", "postgres"), default="embedded")
    parser.add_argument("--postgres", metavar="URL", help="an empty database that connections may be cut from")
    parser.add_argument("--jobs", type=int, default=104, help="at least so many")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the order of faults and their moments")
    parser.add_argument("--minutes", type=float, default=20.0, help="limit of the whole run")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--world", type=Path, help="the directory `world` that a run with --keep of as many jobs left")
    parser.add_argument("--keep", type=Path, help="an empty directory for everything, kept afterwards")
    given = parser.parse_args()
    place = given.keep.resolve() if given.keep else Path(tempfile.mkdtemp(prefix="unlearn-chaos-"))
    place.mkdir(exist_ok=True)
    try:
        figures, checks = torment(place, given)
    finally:
        for part in Part.started:
            if part.process.poll() is None:
                part.end(signal.SIGKILL)
        for pid in left_running(place / "home"):
            os.kill(pid, signal.SIGKILL)
        if given.keep is None:
            shutil.rmtree(place, ignore_errors=True)
    show(figures, checks)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    raise SystemExit(any(check.faults for check in checks))


def torment(place: Path, given: argparse.Namespace) -> tuple[dict[str, Any], list[Check]]:
    """Start the set-up, hurt it until all is done, stop it, check."""
    rng, console = random.Random(given.seed), Console(stderr=True)
    console.print("making a tiny company", style="dim")
    company = (given.world or place / "world").resolve()
    known = world(company, given.jobs + SILENT)
    asking = rng.sample(list(known), given.jobs)
    planned = sum(known[person] for person in asking)
    postgres = Postgres() if given.set_up == "postgres" and not given.postgres else None
    broker, broker_url = redis_on_tcp(place) if given.set_up == "postgres" else (None, None)
    settings = Settings(
        home=place / "home",
        roots=[company],
        port=free_port(),
        database_url=given.postgres or (postgres.url if postgres else None),
        broker_url=broker_url,
        lease_seconds=LEASE_SECONDS,
        heartbeat_seconds=HEARTBEAT_SECONDS,
        sweep_seconds=SWEEP_SECONDS,
        max_attempts=ATTEMPTS,
    )
    began = time.monotonic()
    service = Service(settings, place, broker, postgres, given.workers)
    desk = Desk(settings)
    try:
        register(service, company)
        people = People(service, asking)
        tormentor = Tormentor(service, desk, rng, people.submit)
        kinds = schedule(given.set_up, given.jobs, rng, own_server=postgres is not None)
        hurts = run(desk, people, tormentor, kinds, planned, rng, began + given.minutes * 60, console)
        people.close()
    finally:
        service.close()
    try:
        with desk.store.reading() as session:
            seen = see(session)
        checks = check_all(desk, seen, people.confirmed, planned)
    finally:
        desk.close()
        if postgres is not None:
            postgres.stop()
    return told(given, settings, seen, hurts, people, checks, time.monotonic() - began), checks


def run(
    desk: Desk,
    people: People,
    tormentor: Tormentor,
    kinds: list[str],
    jobs: int,
    rng: random.Random,
    deadline: float,
    console: Console,
) -> list[Hurt]:
    """Let the faults happen and wait for the end; stops at the deadline, whatever is still open."""
    hurts: list[Hurt] = []
    columns = (TextColumn("{task.description:<32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        ended, done = progress.add_task("jobs ended", total=jobs), progress.add_task("faults", total=len(kinds))
        people.submit()
        for number, kind in enumerate(kinds):
            while (now := count(desk, Job, Job.state.in_(("done", "failed")))) < number * jobs // len(kinds):
                progress.update(ended, completed=now)
                if time.monotonic() > deadline:
                    return hurts
                time.sleep(0.1)
            time.sleep(rng.uniform(0, 1))
            progress.update(done, description=kind)
            hurts.append(tormentor(kind))
            progress.advance(done)
        people.close()
        for what, table, still in (
            ("waiting for the requests", Request, Request.state.not_in(ENDED)),
            ("waiting for the errands", Errand, Errand.state == "waiting"),
        ):
            progress.update(done, description=what)
            while count(desk, table, still) and time.monotonic() < deadline:
                progress.update(ended, completed=count(desk, Job, Job.state.in_(("done", "failed"))))
                time.sleep(0.2)
        progress.update(ended, completed=count(desk, Job, Job.state.in_(("done", "failed"))))
    return hurts


def count(desk: Desk, table: type[Any], condition: Any) -> int:
    """Rows of a table; asks again while the database is away."""
    while True:
        try:
            with desk.store.reading() as session:
                return session.scalar(select(func.count()).select_from(table).where(condition)) or 0
        except Unavailable:
            time.sleep(0.1)


def told(
    given: argparse.Namespace,
    settings: Settings,
    seen: Seen,
    hurts: list[Hurt],
    people: People,
    checks: list[Check],
    seconds: float,
) -> dict[str, Any]:
    """The figures as JSON types."""
    attempts = Counter(e.facts["job"] for e in seen.entries if e.action == "attempt_started")
    killed, stopped, frozen = (
        recovery(hurts, seen.entries, kinds)
        for kinds in (KILLS, ("worker told to stop",), ("worker frozen beyond its lease",))
    )
    return {
        "set_up": given.set_up,
        "seed": given.seed,
        "workers": given.workers,
        "machine": {"cores": os.cpu_count(), "load_average": os.getloadavg()},
        "seconds": seconds,
        "requests": len(seen.requests),
        "request_states": dict(Counter(r.state for r in seen.requests)),
        "jobs": len(seen.jobs),
        "verdicts": dict(Counter(str(j.verdict) for j in seen.jobs)),
        "failed_for": dict(Counter(str(j.error).partition(": ")[2] for j in seen.jobs if j.state == "failed")),
        "failed_attempts": dict(Counter(e.action for e in seen.entries if e.action.startswith("attempt_"))),
        "faults": dict(Counter(h.kind for h in hurts)),
        "stages": dict(Counter(h.stage for h in hurts if h.stage)),
        "attempts_of_jobs": dict(sorted(Counter(attempts.values()).items())),
        "lease_seconds": settings.lease_seconds,
        "killed": _recovery(killed, settings),
        "stopped": _recovery(stopped, settings),
        "frozen": _recovery(frozen, settings),
        "answers": dict(people.answers),
        "asked_again": people.repeats,
        "ledger_entries": len(seen.entries),
        "checks": {check.name: check.faults for check in checks},
    }


def _recovery(found: Recovery, settings: Settings) -> dict[str, Any]:
    def in_leases(seconds: list[float]) -> dict[str, float | None]:
        leases = [one / settings.lease_seconds for one in seconds]
        return {"median": median(leases) if leases else None, "max": max(leases, default=None)}

    return {
        "claimed_again": len(found.again),
        "to_the_queue_leases": in_leases(found.queued),
        "to_the_next_claim_leases": in_leases(found.again),
        "handed_back": len(found.handed_back),
        "handed_back_seconds_max": max(found.handed_back, default=None),
        "not_handed_back": found.not_handed_back,
        "ended_nevertheless": found.ended,
        "no_job_ran": found.idle,
    }


def show(figures: dict[str, Any], checks: list[Check]) -> None:
    """The figures and the checks as tables."""
    console = Console()
    load = " ".join(f"{x:.1f}" for x in figures["machine"]["load_average"])
    console.print(
        f"{figures['set_up']}, seed {figures['seed']}: {figures['requests']} requests, {figures['jobs']} jobs, "
        f"{sum(figures['faults'].values())} faults, {figures['workers']} workers, {figures['seconds']:.0f} s; "
        f"{figures['machine']['cores']} cores, load {load}"
    )
    for title in (
        "faults",
        "request_states",
        "verdicts",
        "failed_for",
        "failed_attempts",
        "attempts_of_jobs",
        "stages",
        "answers",
    ):
        pairs = ", ".join(f"{name} {n}" for name, n in figures[title].items())
        console.print(f"{title.replace('_', ' ')}: {pairs}")
    for who in ("killed", "stopped", "frozen"):
        console.print(
            f"{who}: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures[who].items())
        )
    table = Table("what must be none", box=None, header_style="dim")
    table.add_column("found", justify="right")
    for check in checks:
        table.add_row(check.name, f"[{'red' if check.faults else 'green'}]{len(check.faults)}")
    console.print(table)
    for check in checks:
        for fault in check.faults[:8]:
            console.print(f"{check.name}: {fault}", style="red", markup=False)


if __name__ == "__main__":
    main()
