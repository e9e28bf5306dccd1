"""The register's rows: days, lateness, and what a spreadsheet may run."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime

from dossiers import REQUEST
from unlearn.evidence.register import COLUMNS, row, written

NOW = datetime.fromisoformat("2026-04-10T10:00:00Z")
ASKED = REQUEST | {"extended_at": None, "updated_at": "2026-03-05T10:00:00.000Z"}
JOBS = [
    {"adapter": "bot", "method": "calibrated", "verdict": "refused"},
    {"adapter": "other", "method": None, "verdict": None},
    {"adapter": "bot", "method": "retrain", "verdict": "released"},
]


def test_an_answered_request_has_its_days_and_of_each_adapter_the_last_job():
    one = row(ASKED, JOBS, NOW)
    assert (one["days"], one["late"]) == (0.0, False)
    assert (one["adapters"], one["methods"], one["verdicts"]) == (
        ["bot", "other"],
        ["retrain", None],
        ["released", None],
    )


def test_days_of_an_open_request_run_until_now_and_it_may_be_late_already():
    one = row(ASKED | {"state": "needs_review", "completed_at": None}, [], NOW)
    assert (one["answered_at"], one["days"], one["late"]) == (None, 40.0, True)


def test_a_rejected_request_was_answered_when_it_was_decided():
    decision = {"kind": "rejected", "ground": "legal_claims", "by": "key:2", "at": "2026-03-04T10:00:00+00:00"}
    one = row(ASKED | {"state": "rejected", "completed_at": None, "decision": decision}, [], NOW)
    assert (one["answered_at"], one["days"], one["late"]) == (decision["at"], 3.0, False)
    assert (one["decision"], one["ground"], one["decided_by"]) == ("rejected", "legal_claims", "key:2")
    assert row(ASKED | {"state": "cancelled", "completed_at": None}, [], NOW)["days"] == 4.0


def test_csv_and_json_lines_say_the_same_and_run_nowhere():
    rows = [row(ASKED | {"submitted_by": "=cmd()"}, JOBS, NOW)]
    head, line = list(csv.reader(io.StringIO("".join(written(rows, "csv")))))
    told = dict(zip(head, line, strict=True))
    assert tuple(head) == COLUMNS
    assert (told["submitted_by"], told["adapters"], told["methods"], told["late"]) == (
        "'=cmd()",
        "bot; other",
        "retrain; ",
        "no",
    )
    [one] = map(json.loads, written(rows, "jsonl"))
    assert one == rows[0]
    assert "".join(written([], "csv")).count("\n") == 1
