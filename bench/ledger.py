"""How the ledger grows: what an append, a proof and its check cost at 100,000 entries, beside what they cost at 1,000.

    python bench/ledger.py                          100,000 entries, SQLite
    python bench/ledger.py --entries 10000 --json ledger.json
    python bench/ledger.py --database-url postgresql+psycopg://...

Each append is a transaction of its own, as durable as the service's. At each size: the appends up to it (the last
thousand), proofs of entries at random with the time to make and to check them, consistency proofs from random sizes, and
a whole inspection at the end. What should be logarithmic is printed against log2 of the size.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import track
from rich.table import Table

from unlearn.cases.desk import Desk
from unlearn.cases.store import ledger
from unlearn.evidence.checkpoint import claimed
from unlearn.evidence.merkle import HASH_BYTES, check_consistency, check_inclusion
from unlearn.settings import Settings

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
LAST = 1_000
"""Appends before each size that count for it."""
PROOFS = 300
T = TypeVar("T")


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--entries", type=int, default=SIZES[-1])
    options.add_argument("--database-url")
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as home:
        desk = Desk(Settings(home=Path(home), database_url=given.database_url))
        desk.migrate()
        rows = measure(desk, [size for size in SIZES if size <= given.entries])
        seconds, found = timed(desk.inspect_ledger)
        desk.close()
    whole = {"inspection_seconds_per_1000": seconds / found.entries * 1000, "entries": found.entries}
    Console().print(table(rows))
    first, last = rows[0], rows[-1]
    print(f"append p99 at {last['size']:,} over {first['size']:,}: {last['append_p99'] / first['append_p99']:.2f}")
    print(f"log2 of the sizes: {math.log2(last['size']) / math.log2(first['size']):.2f}")
    print(f"whole inspection: {whole['inspection_seconds_per_1000'] * 1000:.0f} ms per 1,000 entries")
    if given.json:
        given.json.write_text(json.dumps({"sizes": rows, **whole}, indent=2) + "\n")


def measure(desk: Desk, sizes: list[int]) -> list[dict[str, Any]]:
    """The figures at each size, in seconds and bytes."""
    desk.checkpoint()
    dice, rows, taken = random.Random(0), [], []
    for seq in track(range(desk.ledger_size() + 1, sizes[-1] + 1), description="appending"):
        taken.append(append(desk, seq))
        if seq in sizes:
            rows.append(at(desk, seq, taken[-LAST:], dice))
    return rows


def append(desk: Desk, seq: int) -> float:
    """Seconds that one more entry takes, its commit among them."""
    facts = {"request": f"req_{seq:024x}", "by": "key:0123456789abcdef"}
    began = time.perf_counter()
    with desk.store.writing() as session:
        ledger.append(session, datetime.now(UTC), "request_held", facts)
    return time.perf_counter() - began


def at(desk: Desk, size: int, appends: list[float], dice: random.Random) -> dict[str, Any]:
    """Appends, proofs and their checks at one size."""
    point = claimed(desk.checkpoint())
    entries = {one.seq: bytes.fromhex(one.hash) for one in desk.entries(0, size)}
    made, checked, lengths, grown, grown_lengths = [], [], [], [], []
    for seq in dice.choices(range(1, size + 1), k=PROOFS):
        seconds, path = timed(lambda seq=seq: desk.inclusion_proof(seq, size))
        made.append(seconds)
        lengths.append(len(path))
        checked.append(timed(lambda: check_inclusion(seq - 1, size, entries[seq], path, point.root))[0])  # noqa: B023
    with desk.store.reading() as session:
        roots = {old: ledger.root(session, old) for old in dice.choices(range(1, size + 1), k=PROOFS)}
    for old, root in roots.items():
        seconds, path = timed(lambda old=old: desk.consistency_proof(old, size))
        grown.append(seconds)
        grown_lengths.append(len(path))
        check_consistency(old, size, root, point.root, path)
    return {
        "size": size,
        "append_p50": median(appends),
        "append_p99": quantiles(appends, n=100)[98],
        "proof_hashes": max(lengths),
        "proof_bytes": max(lengths) * HASH_BYTES,
        "proof_p50": median(made),
        "proof_p99": quantiles(made, n=100)[98],
        "check_p50": median(checked),
        "consistency_bytes": max(grown_lengths) * HASH_BYTES,
        "consistency_p50": median(grown),
    }


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Seconds, and what came back."""
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


def table(rows: list[dict[str, Any]]) -> Table:
    """The figures, times in milliseconds."""
    shown = Table("entries", "log2", "append p50", "p99", "proof (bytes)", "made p50", "p99", "checked p50", "from old (bytes)")
    for row in rows:
        times = {name: f"{seconds * 1000:.2f} ms" for name, seconds in row.items() if name.endswith(("p50", "p99"))}
        shown.add_row(
            f"{row['size']:,}",
            f"{math.log2(row['size']):.1f}",
            times["append_p50"],
            times["append_p99"],
            str(row["proof_bytes"]),
            times["proof_p50"],
            times["proof_p99"],
            times["check_p50"],
            str(row["consistency_bytes"]),
        )
    return shown


if __name__ == "__main__":
    main()
