"""A desk on a real SQLite file, with an adapter registered, and a clock that tests move."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from company import Company
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
def settings(tmp_path, company: Company) -> Settings:
    return Settings(home=tmp_path / "home", roots=[company.path])


@pytest.fixture
def desk(settings: Settings, clock: Clock) -> Iterator[Desk]:
    desk = Desk(settings, clock)
    desk.migrate()
    yield desk
    desk.close()


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
