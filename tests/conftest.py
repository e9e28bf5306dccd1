"""What the tests share. The company is trained once a session; tests must not change its files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from company import Company, company_at, found_company
from unlearn.cli.app import main
from unlearn.lm.base import Base, load_base
from unlearn.locks import hold


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
