"""The whole API document under schemathesis; `bench/fuzz.py` does the same for longer."""

from __future__ import annotations

import logging

import pytest

from api.app import create_app
from fuzzing import fuzz

MUST_SUCCEED = (
    "GET /v1/jobs/{id}/events",
    "GET /opendsr/v2/discovery",
    "GET /opendsr/v2/certificate.pem",
)
"""What is there only once it is opened, or once a job has ended."""


@pytest.mark.parametrize(("keyed", "examples"), [(True, 4), (False, 2)], ids=["with a key", "without"])
def test_no_input_brings_a_crash_an_undocumented_answer_or_an_identity_back(
    settings, inputs, company, caplog, keyed, examples
):
    caplog.set_level(logging.ERROR)
    subjects = sorted(company.train.subjects)[:4]
    tally = fuzz(settings, inputs, subjects, examples=examples, keyed=keyed)
    assert not tally.failures, "\n\n".join(f"{check}: {where}\n{why}" for (check, where), why in tally.examples.items())
    operations = {
        f"{method.upper()} {path}"
        for path, methods in create_app(settings).openapi()["paths"].items()
        for method in methods
    }
    assert set(tally.cases) == operations
    assert tally.cases.total() > 800
    assert not keyed or all(tally.succeeded[operation] for operation in MUST_SUCCEED)
    assert keyed == (tally.phases["stateful"] > 0)
    assert keyed == (tally.statuses[201] > 0)
    assert "canary" not in caplog.text
