"""The company's adapter on its base, for tests that ask it about their own `measured` records."""

from __future__ import annotations

import pytest

from unlearn.lm.base import attached
from unlearn.weights import read_adapter


@pytest.fixture
def pad_id(base):
    return int(base.tokenizer.pad_token_id)


@pytest.fixture
def model(base, company, measured):
    """With the adapter on; `measured` reads the base first, without it."""
    with attached(base, read_adapter(company.adapter)) as model:
        yield model
