"""MLflow's SQLite file, made whole or not at all.

`python -m unlearn.tracking.store OPTIONS` makes it and becomes `mlflow server OPTIONS`.

MLflow makes its tables in many small transactions: broken off in the middle, or begun by two processes at once, it
leaves a file that no later start can use. Imports MLflow only when there is a file to be made.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from unlearn.durable import sync
from unlearn.locks import hold

SQLITE = "sqlite:///"
PATIENCE_SECONDS = 120.0
"""How long another process may take to make the file; it takes seconds."""


def prepare_store(uri: str, artifacts: Path) -> None:
    """Make the file of an SQLite store if it is not there; a server sees to its own.

    Args:
        uri: MLflow tracking URI.
        artifacts: directory for the artifacts of runs without an experiment.

    Raises:
        Unavailable: another process makes it and does not come to an end.
    """
    path = Path(uri.removeprefix(SQLITE))
    if not uri.startswith(SQLITE) or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    held = hold(path.with_name(f".{path.name}.lock"), PATIENCE_SECONDS, f"another process is making '{path}'")
    try:
        if not path.exists():
            _make(path, artifacts)
    finally:
        os.close(held)


def _make(path: Path, artifacts: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    draft = path.with_name(f".{path.name}.draft")
    for left in path.parent.glob(f"{draft.name}*"):  # by one that was killed; SQLite keeps its journal beside it
        left.unlink()
    SqlAlchemyStore(f"{SQLITE}{draft}", artifacts.as_uri()).engine.dispose()
    sync(draft)
    draft.rename(path)


def main() -> None:
    """Make the store that the options name, and become the server."""
    options = sys.argv[1:]
    uri, root = (options[options.index(name) + 1] for name in ("--backend-store-uri", "--default-artifact-root"))
    prepare_store(uri, Path(root.removeprefix("file://")))
    os.execv(sys.executable, [sys.executable, "-P", "-m", "mlflow", "server", *options])  # noqa: S606


if __name__ == "__main__":
    main()
