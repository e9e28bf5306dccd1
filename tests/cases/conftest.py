"""A desk on a real database, with an adapter registered, and a clock that tests move.

The database is an SQLite file; with UNLEARN_TEST_DATABASE_URL, an empty schema of that PostgreSQL for each test.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from drill import beside

from company import Company
from postgres import SERVER, empty_schema
from unlearn.cases.desk import Desk
from unlearn.settings import Settings


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database_url() -> Iterator[str | None]:
    if SERVER is None:
        yield None
        return
    with empty_schema(SERVER) as url:
        yield url


@pytest.fixture
def settings(tmp_path, company: Company, database_url: str | None) -> Settings:
    return Settings(home=tmp_path / "home", roots=[company.path], database_url=database_url)


@pytest.fixture
def desk(settings: Settings, clock: Clock) -> Iterator[Desk]:
    desk = Desk(settings, clock)
    desk.migrate()
    yield desk
    desk.close()


@pytest.fixture
def ticking(desk: Desk, clock: Clock) -> None:
    """No two things happen at one moment."""

    def tick() -> datetime:
        clock.forward(0.001)
        return clock()

    desk._clock = tick


@pytest.fixture
def inputs(company: Company) -> dict[str, str]:
    return {
        "base": str(company.base),
        "adapter": str(company.adapter),
        "train": str(company.path / "train.jsonl"),
        "holdout": str(company.path / "holdout.jsonl"),
    }


@pytest.fixture
def adapter(desk: Desk, inputs: dict[str, str]):
    return desk.register_adapter("bot", **inputs)


@pytest.fixture
def safe(tmp_path: Path) -> Path:
    """Where backups go."""
    return tmp_path / "safe"


@pytest.fixture
def elsewhere(tmp_path, desk, company):
    """Settings of a service to be, with the identity key of the one that was."""
    return beside(tmp_path / "elsewhere", desk, company)
