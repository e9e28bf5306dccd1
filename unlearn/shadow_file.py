"""The shadow table as a file: one Parquet file, read by some while others take a person's rows out of it.

A table is written in one step, and of the one in whose place a new one is put nothing stays: it is overwritten once
nobody reads it. Knows no subject, no corpus, and what no column means but what `drop_rows` takes out. Imports no torch.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from unlearn import overwriting

HOLDOUT = -1
"""Place of a record that names nobody to forget: one of the holdout."""

COLUMNS = pa.schema(
    [
        ("record", pa.string()),
        ("place", pa.int32()),
        ("fold", pa.int32()),
        ("log_probs", pa.list_(pa.float32())),
        ("top_tokens", pa.list_(pa.int32())),
        ("top_log_probs", pa.list_(pa.float32())),
        ("scores", pa.list_(pa.float64())),
        ("record_sha256", pa.string()),
    ]
)


def read_table(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """The rows of the table at `path`, and what is noted beside them.

    Raises:
        OSError, pa.ArrowException, KeyError, ValueError: it can't be read.
    """
    with _held(path, fcntl.LOCK_SH):
        return pq.read_table(path, schema=COLUMNS), about_table(path)


def drop_rows(path: Path, records: Iterable[str]) -> int:
    """Take every row of `records` out of the table at `path`, in one step: how many rows went.

    Called when a case closes: what is kept of the person goes with the person. That is more than the rows. A fold that
    had learned from the person says so at other people's records (the likeliest surname after a shared first name), so
    the likeliest tokens of every row that such a fold read go too; what is left there is one number a token, of the
    row's own text, under folds and under test shadows, some of which had learned from her.
    """
    with _held(path, fcntl.LOCK_EX):
        return _drop(path, sorted(set(records)))


def records_in(path: Path) -> frozenset[str]:
    """Ids of the records that the table at `path` has rows of."""
    with _held(path, fcntl.LOCK_SH):
        return frozenset(pc.unique(pq.read_table(path, columns=["record"])["record"]).to_pylist())


def _drop(path: Path, records: Sequence[str]) -> int:
    table, about = pq.read_table(path, schema=COLUMNS), about_table(path)
    going = pc.is_in(table["record"], pa.array(records, pa.string()))
    if not pc.any(going).as_py():
        return 0
    signals = pc.equal(pc.list_value_length(table["scores"]), 0)
    left_out = pc.unique(table.filter(pc.and_(going, signals))["fold"])  # had not learned from them
    kept = table.filter(pc.invert(going))
    clean = pc.equal(kept["fold"], left_out[0]) if len(left_out) == 1 else pa.array([False] * len(kept))
    for name in ("top_tokens", "top_log_probs"):
        empty = pa.scalar([], COLUMNS.field(name).type)
        kept = kept.set_column(COLUMNS.get_field_index(name), name, pc.if_else(clean, kept[name], empty))
    write_table(path, kept, about)
    return len(table) - len(kept)


def about_table(path: Path) -> dict[str, Any]:
    """What is noted in the file at `path` beside its rows."""
    metadata = pq.read_schema(path).metadata or {}
    about = json.loads(metadata.get(b"unlearn", b"{}"))
    if not isinstance(about, dict):
        raise ValueError("what is noted beside its rows is no JSON object")
    return about


def write_table(path: Path, table: pa.Table, about: Mapping[str, Any]) -> None:
    """Write rows and what is noted beside them to `path` in one step; what was there, and knew more people, is
    overwritten."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        pq.write_table(table.replace_schema_metadata({"unlearn": json.dumps(about, sort_keys=True)}), draft)
        overwriting.replace(draft, path)
    finally:
        overwriting.remove(draft)


@contextmanager
def _held(path: Path, kind: int) -> Iterator[None]:
    """Nobody takes rows out of the file at `path` meanwhile, or with LOCK_EX, nobody reads it either."""
    while True:
        with path.open("r+b" if kind == fcntl.LOCK_EX else "rb") as file:
            fcntl.flock(file, kind)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):  # else another took its place while we waited
                yield
                return
