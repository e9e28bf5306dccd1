"""What the API answers to right and wrong input: schemathesis over every operation, with a key and without one.

    python bench/fuzz.py                    5,000 cases or more, a table at the end
    python bench/fuzz.py --cases 50000 --seed 1

In this process (ASGI), SQLite, broker absent. The checks are schemathesis' own, beside those of `tests/fuzzing.py`. Ends with 1
if any check failed, and prints the first example of each failure.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table
from small import company, registration

from fuzzing import Tally, as_json, fuzz  # isort: skip - found by way of small
from outbound.papers import opendsr  # isort: skip - as well
from unlearn.corpus.jsonl import read_corpus
from unlearn.settings import Settings


def main() -> None:
    """Run rounds until there are enough cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=5000, help="at least so many in all")
    parser.add_argument("--round", type=int, default=100, help="random cases an operation and round")
    parser.add_argument("--seed", type=int, default=0, help="of the first round; each has a seed and a home of its own")
    parser.add_argument("--company", type=Path, help="base/, adapter/, train.jsonl, holdout.jsonl; trained without")
    parser.add_argument("--json", type=Path, help="write the counts here as well")
    given = parser.parse_args()
    logging.disable(logging.ERROR)  # that the broker is absent is known
    small = company(given.company)
    subjects = sorted(read_corpus(small / "train.jsonl").subjects)[:4]
    tallies = {True: Tally(), False: Tally()}
    seed, began = given.seed, time.monotonic()
    while sum(tally.cases.total() for tally in tallies.values()) < given.cases:
        for keyed, tally in tallies.items():
            with tempfile.TemporaryDirectory() as home:
                settings = Settings(home=Path(home) / "home", roots=[small], sweep_seconds=1, **opendsr(Path(home)))
                tally.add(fuzz(settings, registration(small), subjects, examples=given.round, keyed=keyed, seed=seed))
        seed += 1
    console = Console()
    console.print(_by_operation(tallies))
    console.print(_by_check(tallies))
    answers: Counter[int] = sum((tally.statuses for tally in tallies.values()), Counter())
    phases: Counter[str] = sum((tally.phases for tally in tallies.values()), Counter())
    console.print("phases: " + ", ".join(f"{name} {count:,}" for name, count in phases.most_common()))
    console.print("answers: " + ", ".join(f"{status} {count:,}" for status, count in sorted(answers.items())))
    cases, failures = (sum(getattr(t, what).total() for t in tallies.values()) for what in ("cases", "failures"))
    console.print(
        f"{cases:,} cases, {failures:,} failures, seeds {given.seed} to {seed - 1}, {time.monotonic() - began:.0f} s"
    )
    for tally in tallies.values():
        for (check, operation), example in tally.examples.items():
            console.rule(f"{check}: {operation}")
            console.print(example, markup=False)
    if given.json:
        both = "{" + ", ".join(f'"{"keyed" if k else "keyless"}": {as_json(t)}' for k, t in tallies.items()) + "}\n"
        given.json.write_text(both, encoding="utf-8")
    raise SystemExit(failures > 0)


def _by_operation(tallies: dict[bool, Tally]) -> Table:
    table = Table("operation", box=None, header_style="dim")
    for head in ("with a key", "succeeded", "without", "failures"):
        table.add_column(head, justify="right")
    failed = Counter(operation for tally in tallies.values() for _, operation in tally.examples)
    for operation in sorted({*tallies[True].cases, *tallies[False].cases}):
        told = (tallies[True].cases, tallies[True].succeeded, tallies[False].cases)
        counts = [f"{count[operation]:,}" for count in told]
        table.add_row(operation, *counts, str(failed[operation]))
    return table


def _by_check(tallies: dict[bool, Tally]) -> Table:
    table = Table("check", box=None, header_style="dim")
    for head in ("answers checked", "failures"):
        table.add_column(head, justify="right")
    for check in sorted({name for tally in tallies.values() for name in (*tally.checks, *tally.failures)}):
        counts = (sum(getattr(tally, what)[check] for tally in tallies.values()) for what in ("checks", "failures"))
        table.add_row(check, *(f"{count:,}" for count in counts))
    return table


if __name__ == "__main__":
    main()
