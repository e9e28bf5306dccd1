"""How the ledger grows: what an append, a proof and its check cost at 100,000 entries, beside what they cost at 1,000.

    python bench/ledger.py                          100,000 entries, SQLite
    python bench/ledger.py --entries 10000 --json ledger.json
    python bench/ledger.py --database-url postgresql+psycopg://...

At each size: the last thousand appends up to it, each a transaction of its own, as durable as the service's (those before
share transactions, to get there); proofs of entries at random, made and checked; consistency proofs from random sizes; and a
whole inspection at the end. Times are the processor's, so that other work on the machine does not blur them; of an append
also by the clock, which has the disk's part. What should be logarithmic stands beside log2 of the size.
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
    Console(width=140).print(table(rows))
    first, last = rows[0], rows[-1]
    print(
        f"{last['size']:,} entries over {first['size']:,}; log2: {math.log2(last['size']) / math.log2(first['size']):.2f}"
    )
    for name in COLUMNS:
        print(f"  {name:20} {last[name] / first[name]:.2f}")
    print(f"whole inspection: {whole['inspection_seconds_per_1000'] * 1000:.0f} ms per 1,000 entries")
    if given.json:
        given.json.write_text(json.dumps({"sizes": rows, **whole}, indent=2) + "\n")


def measure(desk: Desk, sizes: list[int]) -> list[dict[str, Any]]:
    """The figures at each size, in seconds and bytes."""
    desk.checkpoint()
    dice, rows = random.Random(0), []
    for size in sizes:
        fill(desk, size - LAST)
        appends = [append(desk, seq) for seq in track(range(desk.ledger_size() + 1, size + 1), f"appends to {size:,}")]
        rows.append(at(desk, size, appends, dice))
    return rows


def fill(desk: Desk, size: int) -> None:
    """Entries up to this size, many a transaction."""
    while (has := desk.ledger_size()) < size:
        with desk.store.writing() as session:
            for seq in range(has + 1, min(has + 2_000, size) + 1):
                ledger.append(session, datetime.now(UTC), "request_held", facts(seq))


def facts(seq: int) -> dict[str, str]:
    """As long as those of a request."""
    return {"request": f"req_{seq:024x}", "by": "key:0123456789abcdef"}


def append(desk: Desk, seq: int) -> tuple[float, float]:
    """Seconds that one more entry takes with its commit: by the clock, and of the processor."""
    clock, processor = time.perf_counter(), time.thread_time()
    with desk.store.writing() as session:
        ledger.append(session, datetime.now(UTC), "request_held", facts(seq))
    return time.perf_counter() - clock, time.thread_time() - processor


def at(desk: Desk, size: int, appends: list[tuple[float, float]], dice: random.Random) -> dict[str, Any]:
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
        "append_p50": median(cpu for _, cpu in appends),
        "append_p99": quantiles((cpu for _, cpu in appends), n=100)[98],
        "append_clock_p50": median(clock for clock, _ in appends),
        "append_clock_p99": quantiles((clock for clock, _ in appends), n=100)[98],
        "proof_hashes": max(lengths),
        "proof_bytes": max(lengths) * HASH_BYTES,
        "proof_p50": median(made),
        "proof_p99": quantiles(made, n=100)[98],
        "check_p50": median(checked),
        "consistency_bytes": max(grown_lengths) * HASH_BYTES,
        "consistency_p50": median(grown),
    }


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Seconds of the processor, and what came back."""
    began = time.thread_time()
    result = call()
    return time.thread_time() - began, result


COLUMNS = {
    "append_p50": "append p50",
    "append_p99": "p99",
    "append_clock_p50": "clock p50",
    "append_clock_p99": "p99",
    "proof_bytes": "proof",
    "proof_p50": "made p50",
    "proof_p99": "p99",
    "check_p50": "checked p50",
    "consistency_bytes": "from old",
    "consistency_p50": "made p50",
}


def table(rows: list[dict[str, Any]]) -> Table:
    """The figures: milliseconds, and bytes of proofs."""
    shown = Table("entries", "log2", *COLUMNS.values())
    for row in rows:
        told = [str(row[name]) if name.endswith("bytes") else f"{row[name] * 1000:.3f}" for name in COLUMNS]
        shown.add_row(f"{row['size']:,}", f"{math.log2(row['size']):.1f}", *told)
    return shown


if __name__ == "__main__":
    main()
