"""What the tests share. The company is trained once a session; tests must not change its files."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from company import Company, company_at, found_company
from unlearn.cases.store.engine import Store
from unlearn.cli.app import main
from unlearn.lm.base import Base, load_base
from unlearn.locks import hold
from unlearn.tracking import store as mlflow_store

LONGEST = (
    "test_service.py",
    "test_local_commands.py",
    "test_house.py",
    "test_fuzz.py",
    "test_challenges.py",
    "test_ladder.py",
    "test_opendsr.py",
    "test_purging.py",
    "test_resurrection.py",
    "test_restoring.py",
)
"""Files that take longest, in this order: they begin first, so that no process is left with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; the order within a file stays."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def company(tmp_path_factory: pytest.TempPathFactory) -> Company:
    """Trained once, also where several processes share the session (pytest-xdist): the first one does it."""
    own = tmp_path_factory.getbasetemp()
    place = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "company"
    held = hold(place.with_suffix(".lock"), 300, "another test process has been training the company for five minutes")
    try:
        return company_at(place) if place.exists() else found_company(place)
    finally:
        os.close(held)


@pytest.fixture(scope="session", autouse=True)
def _tables_made_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A new SQLite database in this process is a copy of the first one, which all migrations made: they take half a
    second, and a thousand tests need one. What happens between revisions `test_migrations` looks at.
    """
    first, migrate = tmp_path_factory.mktemp("tables") / "unlearn.db", Store.migrate

    def copied(store: Store, revision: str = "head") -> None:
        url = store.engine.url
        if url.get_backend_name() == "sqlite" and url.database and revision == "head":
            if not first.exists():
                made = Store(f"sqlite:///{first}")
                migrate(made)
                made.close()
            if not Path(url.database).exists():
                shutil.copyfile(first, draft := f"{url.database}.{secrets.token_hex(4)}")
                with contextlib.suppress(FileExistsError):
                    os.link(draft, url.database)
                os.unlink(draft)
        migrate(store, revision)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "migrate", copied)
        yield


@pytest.fixture(scope="session", autouse=True)
def _runs_made_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The same of MLflow's, whose migrations take three seconds. What is made anew `test_store` looks at."""
    first, make = tmp_path_factory.mktemp("runs") / "mlflow.db", mlflow_store._make

    def copied(path: Path, artifacts: Path) -> None:
        if list(path.parent.glob(f".{path.name}.draft*")):  # of one that was killed
            return make(path, artifacts)
        if not first.exists():
            make(first, artifacts)
        shutil.copyfile(first, draft := path.with_name(f".{path.name}.{secrets.token_hex(4)}"))
        with contextlib.closing(sqlite3.connect(draft)) as connection, connection:
            found = "UPDATE experiments SET artifact_location = ? WHERE experiment_id = 0"
            assert connection.execute(found, (f"{artifacts.as_uri()}/0",)).rowcount == 1
        return os.rename(draft, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow_store, "_make", copied)
        yield


@pytest.fixture
def people(company: Company) -> list[str]:
    return company.people


@pytest.fixture
def base(company: Company) -> Base:
    return load_base(company.base)


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test reads or writes the person's own home, and none changes another's random state."""
    monkeypatch.setenv("UNLEARN_HOME", str(tmp_path / "home"))
    for name in ("UNLEARN_ROOTS", "UNLEARN_DATABASE_URL", "UNLEARN_BROKER_URL", "MLFLOW_TRACKING_URI", "UNLEARN_URL"):
        monkeypatch.delenv(name, raising=False)
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command line in this process: exit code, standard output, standard error."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["unlearn", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return ended.value.code or 0, out, err

    return run
