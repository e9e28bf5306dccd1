"""What the tests share. The company is trained once a session; tests must not change its files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from company import Company, found_company
from unlearn.cli.app import main
from unlearn.lm.base import Base, load_base


@pytest.fixture(scope="session")
def company(tmp_path_factory: pytest.TempPathFactory) -> Company:
    return found_company(tmp_path_factory.mktemp("company"))


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
