"""That no deletion request is lost or made twice while the API is killed under load.

    python bench/kills.py                           10,000 requests, 8 clients, 5 kills, SQLite
    python bench/kills.py --database-url postgresql+psycopg://... --kills 20

The API is that of `intake.py`. Each request goes under an Idempotency-Key of its own; the API is killed (SIGKILL) at random
moments and started again; whose connection broke asks again under the same key with the same body, until everybody has a
201. An adapter knows one person in ten, so that there are jobs as well, whose doorbells lie in the outbox, as no broker
runs. Then every id is looked up and every key sent once more, and the database is looked at.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from intake import Server, answer, environment, headers, start, token_of
from rich.console import Console
from rich.table import Table
from small import company, registration
from sqlalchemy import select

from unlearn.cases.desk import Desk
from unlearn.cases.store import ledger
from unlearn.cases.tables import Doorbell, Job, JobRequest, Request
from unlearn.evidence.ledger import LedgerBroken
from unlearn.settings import Settings

KNOWN = 10
"""One person in so many is known to the adapter."""
PAUSE_SECONDS = 0.02
"""Between a broken connection and the next."""


@dataclass
class Asked:
    """What the clients met, by the request's number.

    Attributes:
        ids: which request was confirmed.
        broken: when a connection broke that had taken the request, the last time.
        others: answers that were no 201; nobody asks again.
    """

    ids: dict[int, str] = field(default_factory=dict)
    broken: dict[int, datetime] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)


class Clients:
    """They ask for `requests` people, each under a key of its own, until all are answered."""

    def __init__(self, port: int, token: str, name: str, requests: int, clients: int) -> None:
        self.asked, self._numbers = Asked(), count()
        self._port, self._token, self._name, self._requests = port, token, name, requests
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def wait(self) -> Asked:
        """What they met, once all are answered."""
        for thread in self._threads:
            thread.join()
        return self.asked

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while (number := next(self._numbers)) < self._requests:
            while not self._ask(connection, number):
                connection.close()  # and opens itself again
                time.sleep(PAUSE_SECONDS)
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, number: int) -> bool:
        """Ask once; whether there was an answer."""
        body = json.dumps({"subject": {"type": "customer", "value": f"{self._name}-{number}"}})
        sent = {**headers(self._token), "Idempotency-Key": f"{self._name}-{number}"}
        try:
            connection.request("POST", "/v1/requests", body, sent)
            got = connection.getresponse()
            text = got.read()
        except ConnectionRefusedError:
            return False
        except (OSError, http.client.HTTPException):
            self.asked.broken[number] = datetime.now(UTC)
            return False
        if got.status == 201:
            self.asked.ids[number] = json.loads(text)["id"]
        else:
            self.asked.others.append(f"{got.status} {text[:300]!r}")
        return True


def main() -> None:
    """Kill, ask, look."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--database-url", help="an empty database; by default an SQLite file")
    parser.add_argument("--company", type=Path, help="base/, adapter/, train.jsonl, holdout.jsonl; trained without")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    given = parser.parse_args()
    small = company(given.company)
    with tempfile.TemporaryDirectory(prefix="unlearn-kills-") as directory:
        figures, faults = drill(Path(directory), small, given)
    show(figures, faults)
    if given.json:
        given.json.write_text(json.dumps(figures | {"faults": faults}, indent=2) + "\n", encoding="utf-8")
    raise SystemExit(any(faults.values()))


def drill(place: Path, small: Path, given: argparse.Namespace) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Have everybody ask while the API is killed; figures, and what must be none."""
    env, rng, name = environment(place, [small, place], given.database_url), random.Random(given.seed), "killed"
    api = start(env, place)
    token = token_of(place)
    register(api, small, place, name, given.requests, token)
    began = time.monotonic()
    clients = Clients(api.port, token, name, given.requests, given.clients)
    at, restarts = [], []
    for answered in sorted(rng.sample(range(given.requests), given.kills)):
        while len(clients.asked.ids) < answered and not clients.asked.others:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.05))
        at.append(len(clients.asked.ids))
        api.end(signal.SIGKILL)
        api = start(env, place)
        restarts.append(api.ready_seconds)
    asked = clients.wait()
    seconds = time.monotonic() - began
    lost = missing(api.port, token, list(asked.ids.values()))
    again = Clients(api.port, token, name, given.requests, given.clients).wait()
    api.end()
    desk = Desk(Settings(home=env["UNLEARN_HOME"], database_url=given.database_url))
    figures, faults = look(desk, asked, given.requests)
    desk.close()
    faults = {
        "answers other than 201": asked.others + again.others,
        "confirmed, but not found by its id": lost,
        "keys with another answer at the end": [str(n) for n, id_ in asked.ids.items() if again.ids.get(n) != id_],
        **faults,
    }
    return {
        "database": "postgresql" if given.database_url else "sqlite",
        "requests": given.requests,
        "kills": given.kills,
        "confirmed_at_kills": at,
        "restart_seconds": restarts,
        "seconds": seconds,
        "asked_again": len(asked.broken),
        "confirmed": len(asked.ids),
        **figures,
    }, faults


def register(api: Server, small: Path, place: Path, name: str, requests: int, token: str) -> None:
    """Register an adapter whose corpus names one asker in KNOWN."""
    people = [f"customer:{name}-{number}" for number in range(0, requests, KNOWN)]
    records = [{"id": f"k-{number}", "subjects": [who], "text": "She called."} for number, who in enumerate(people)]
    (place / "known.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    body = registration(small) | {"train": str(place / "known.jsonl")}
    status, made = answer(api.port, "POST", "/v1/adapters", body, token)
    assert status == 201, made


def missing(port: int, token: str, ids: list[str]) -> list[str]:
    """Those of the requests that the API does not find."""
    connection, lost = http.client.HTTPConnection("127.0.0.1", port, timeout=60), []
    for id_ in ids:
        connection.request("GET", f"/v1/requests/{id_}", headers=headers(token))
        got = connection.getresponse()
        if got.status != 200 or json.loads(got.read())["id"] != id_:
            lost.append(id_)
            connection.close()
    return lost


def look(desk: Desk, asked: Asked, requests: int) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Look into the database, with every process of the service ended."""
    with desk.store.reading() as session:
        rows = {row.id: row for row in session.scalars(select(Request))}
        jobs = {row.request_id: row.job_id for row in session.scalars(select(JobRequest))}
        unheard = set(session.scalars(select(Job.id))) - set(
            session.scalars(select(Doorbell.job_id).where(Doorbell.sent_at.is_(None)))
        )
        entries = list(ledger.all_entries(session))
    told = Counter(entry.facts.get("request") for entry in entries if entry.action == "request_accepted")
    people = Counter(row.subject_hash for row in rows.values())
    known = [id_ for number, id_ in asked.ids.items() if number % KNOWN == 0]
    before = [n for n, at in asked.broken.items() if (row := rows.get(asked.ids.get(n, ""))) and row.created_at < at]
    try:
        broken = [] if desk.inspect_ledger().entries == len(entries) else ["another number of entries"]
    except LedgerBroken as error:
        broken = [str(error)]
    return {
        "accepted_before_the_break": len(before),
        "in_the_database": len(rows),
        "jobs": len(jobs),
        "ledger_entries": len(entries),
    }, {
        "never confirmed": [str(number) for number in range(requests) if number not in asked.ids],
        "confirmed, but not in the database": sorted(set(asked.ids.values()) - rows.keys()),
        "in the database, but nobody's": sorted(rows.keys() - set(asked.ids.values())),
        "people with two requests": [hash_ for hash_, number in people.items() if number > 1],
        "requests without just one acceptance in the ledger": [id_ for id_ in rows.keys() | told if told[id_] != 1],
        "known people without a job": [id_ for id_ in known if id_ not in jobs],
        "jobs without a doorbell": sorted(unheard),
        "breaks in the ledger's tree": broken,
    }


def show(figures: dict[str, Any], faults: dict[str, list[str]]) -> None:
    """Figures, then what must be none."""
    console = Console()
    kills = ", ".join(f"{number:,}" for number in figures["confirmed_at_kills"])
    console.print(
        f"{figures['confirmed']:,} of {figures['requests']:,} requests confirmed in {figures['seconds']:.0f} s, "
        f"{figures['database']}; killed {figures['kills']} times, with {kills} confirmed; answering again after "
        f"{max(figures['restart_seconds']):.1f} s at most; {figures['asked_again']} asked again, "
        f"{figures['accepted_before_the_break']} of them accepted before; in the database {figures['in_the_database']:,} "
        f"requests, {figures['jobs']:,} jobs, {figures['ledger_entries']:,} entries of the ledger"
    )
    table = Table("must be none", "", box=None, header_style="dim")
    for what, those in faults.items():
        table.add_row(what, str(len(those)), style="red" if those else "")
    console.print(table)
    for what, those in faults.items():
        for one in those[:5]:
            console.print(f"{what}: {one}", style="red", markup=False)


if __name__ == "__main__":
    main()
