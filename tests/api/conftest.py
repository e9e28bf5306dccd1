"""The API on a real SQLite file, over ASGI, with its broker absent: doorbells wait in the outbox."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from company import Company
from outbound.papers import opendsr
from unlearn.settings import Settings


@pytest.fixture
def settings(tmp_path, company: Company) -> Settings:
    return Settings(home=tmp_path / "home", roots=[company.path], sweep_seconds=0.05, **opendsr(tmp_path))


@pytest.fixture
def api(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {settings.local_key_file.read_text().strip()}"
        yield client


@pytest.fixture
def inputs(company: Company) -> dict[str, str]:
    return {
        "name": "bot",
        "base": str(company.base),
        "adapter": str(company.adapter),
        "train": str(company.path / "train.jsonl"),
        "holdout": str(company.path / "holdout.jsonl"),
    }


@pytest.fixture
def registered(api: TestClient, inputs: dict[str, str]) -> dict:
    answer = api.post("/v1/adapters", json=inputs)
    assert answer.status_code == 201, answer.text
    return answer.json()
