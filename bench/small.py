"""A small company for the benches of the service's front: the tests' own, trained here unless a directory has one."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

PARTS = ("base", "adapter", "train.jsonl", "holdout.jsonl")


def company(given: Path | None) -> Path:
    """A directory with base/, adapter/, train.jsonl and holdout.jsonl; makes one without `given`, in a minute or so."""
    if given is not None:
        missing = [part for part in PARTS if not (given / part).exists()]
        if missing:
            raise SystemExit(f"--company {given}: {', '.join(missing)} is not there; leave it out to have one made")
        return given.resolve()
    from company import found_company  # needs torch

    return found_company(Path(tempfile.mkdtemp(prefix="unlearn-company-"))).path


def registration(directory: Path, name: str = "bot") -> dict[str, str]:
    """The body of `POST /v1/adapters` for it."""
    return {"name": name, **{part.removesuffix(".jsonl"): str(directory / part) for part in PARTS}}
