"""What a bundle is made of, as the case wing hands it over: plain JSON, the ledger's entries and proofs. No clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unlearn.evidence.ledger import Entry
from unlearn.evidence.signing import PublicKey

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Work:
    """One job of a request.

    Attributes:
        job: as JSON types, with `id`, `adapter` and `report` (None when it has none).
        before, after: `number` and `sha256` of the adapter's version that it began with and of the one that was
            released; None where there is none.
        run: the MLflow run: `run_id`, `params`, `tags`, `metrics`; None without one, or where it can't be had any more.
        figures: the run's figures by file name.
    """

    job: Json
    before: Json | None = None
    after: Json | None = None
    run: Json | None = None
    figures: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Dossier:
    """One request and all that is recorded of it.

    Attributes:
        request: as JSON types, with `id` and its `jobs` in short.
        works: its jobs.
        entries: the ledger's entries about it, in order.
        paths: of each entry, by seq, the inclusion path up to the checkpoint's root.
        checkpoint: the signed note.
        earlier: by the size of a checkpoint published before, the consistency path from it to this one.
        keys: public keys of the ledger, for convenience.
        searched: the list of the adapters that were searched, where the entries have its SHA-256 alone; None else.
    """

    request: Json
    works: Sequence[Work]
    entries: Sequence[Entry]
    paths: Mapping[int, Sequence[bytes]]
    checkpoint: str
    earlier: Mapping[int, Sequence[bytes]]
    keys: Sequence[PublicKey]
    searched: bytes | None = None
