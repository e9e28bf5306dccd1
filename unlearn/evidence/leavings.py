"""What is left of old versions, what was taken out of stored corpora and what was purged, in the certificate's words.

Of nobody's data it says more than that (EDPB, Opinion 28/2024). Knows the predicate's parts; a version counts as purged
by its entry alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

Json = Mapping[str, Any]
Rows = tuple[tuple[str, ...], ...]
KINDS = ("train", "holdout")


def kept(job: Json, entries: Sequence[Json]) -> Iterator[str]:
    """A sentence of each version that a released job replaced, and of its corpora, that no entry says were purged.

    Args:
        job: of the predicate.
        entries: its `purged`.
    """
    if job["after"] is None:
        return
    taken = [one["facts"] for one in entries if one["action"] == "data_erased" and one["facts"].get("job") == job["id"]]
    adapter = taken[-1].get("adapter") if taken else None
    versions = {one["number"]: one for one in [job["before"], *job["superseded"]] if one is not None}
    for version in versions.values():
        gone = [one for one in entries if _is_of(one["facts"], adapter, version)]
        parts = [] if any(one["action"] == "version_purged" for one in gone) else ["weights"]
        purged = {one["facts"].get("kind") for one in gone if one["action"] == "corpus_purged"}
        parts += [f"stored {kind} corpus" for kind in KINDS if kind not in purged]
        if not parts:
            continue
        own = job["before"] is not None and version["number"] == job["before"]["number"]
        until = taken[-1].get("purge_after") if own and taken else version.get("purge_after")
        told = f"kept until {as_day(until)}" if until else "kept, no date is set"
        yield f"version {version['number']}, {' and '.join(parts)}: {told}; the ledger has no entry yet of their purge"


def _is_of(facts: Json, adapter: str | None, version: Json) -> bool:
    """Is the entry about this version of the adapter? Of an unknown adapter, by its number and digest."""
    if facts.get("version") != version["number"] or adapter not in (None, facts.get("adapter")):
        return False
    return adapter is not None or facts.get("sha256") == version["sha256"]


def corpora_taken_from(entries: Sequence[Json]) -> int:
    """From how many stored corpora records of the person were taken out."""
    told = [one["facts"] for one in entries if one["action"] == "data_erased"]
    return sum(bool(facts.get(f"{kind}_records_erased")) for facts in told for kind in KINDS)


def rows_taken(entries: Sequence[Json]) -> Rows:
    """When, and how many records were taken out of which corpus, with its digests before and after."""
    rows = []
    for one in entries:
        facts = one["facts"]
        for kind in [k for k in KINDS if f"{k}_records_erased" in facts] if one["action"] == "data_erased" else ():
            told = f"records of the {kind} corpus taken out: {facts.get(f'{kind}_records_erased')}"
            left = f"left: {facts.get(f'{kind}_records_left')}"
            ends = (f"SHA-256 {when} {facts.get(f'{kind}_{when}_sha256')}" for when in ("before", "after"))
            rows.append((as_moment(one["at"]), ", ".join([told, left, *ends])))
    return tuple(rows)


def rows_purged(entries: Sequence[Json]) -> Rows:
    """When, and what was taken away for good."""
    return tuple((as_moment(one["at"]), _purged(one)) for one in entries if one["action"] != "data_erased")


def _purged(entry: Json) -> str:
    facts = entry["facts"]
    digest = f", SHA-256 {facts['sha256']}" if "sha256" in facts else ""
    if entry["action"] == "corpus_purged":
        which = f"{facts.get('kind')} corpus of version {facts.get('version')}, edition {facts.get('edition')}"
        return f"{which}, {facts.get('records')} records{digest}"
    if entry["action"] == "version_purged":
        return f"weights of version {facts.get('version')}{digest}{_by_mlflow(facts)}"
    return f"weights of a candidate of job {facts.get('job')}{digest}{_by_mlflow(facts)}"


def _by_mlflow(facts: Json) -> str:
    """What the purge could not do with MLflow's copy of the weights."""
    if "mlflow_copy" not in facts:
        return ""
    return f"; MLflow's copy was {facts['mlflow_copy']}: not overwritten, and older versions of its files may be left"


def as_day(moment: str | None) -> str:
    """The day in UTC, for people."""
    if moment is None:
        return ""
    date = _utc(moment)
    return f"{date.day} {date:%B %Y}"


def as_moment(moment: str | None) -> str:
    """The moment in UTC to the second, for people."""
    return "" if moment is None else f"{_utc(moment):%Y-%m-%d %H:%M:%S} UTC"


def _utc(moment: str) -> datetime:
    found = datetime.fromisoformat(moment)
    return found.astimezone(UTC) if found.tzinfo else found
