"""The export: whole, the same twice, checkable by hand, harmless in a spreadsheet."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile

from unlearn.evidence.bundle import build_bundle
from unlearn.evidence.ledger import new_entry

REPORT = {
    "verdict": "refused",
    "before": {"forget_nll_nats": 1.0, "membership": {"loss": {"auc": 0.9, "interval_90": [0.8, 0.95]}}},
    "after": {"forget_nll_nats": 2.0, "membership": {"loss": {"auc": 0.5, "interval_90": None}}},
    "trace": [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.4}],
}
JOBS = [{"id": "job_1", "state": "done", "report": REPORT}, {"id": "job_2", "state": "failed", "report": None}]
ENTRIES = [new_entry(1, "2026-01-01T00:00:00Z", "request_accepted", {"request": "req_1"})]


def bundle():
    return build_bundle({"id": "req_1", "state": "completed"}, JOBS, ENTRIES)


def test_the_same_state_gives_the_same_bytes():
    assert bundle() == bundle()


def test_every_file_is_listed_and_sha256sum_agrees(tmp_path):
    zipfile.ZipFile(io.BytesIO(bundle())).extractall(tmp_path)
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()} - {"SHA256SUMS"}
    assert len(done.stdout.splitlines()) == len(files)


def test_before_and_after_stand_side_by_side():
    archive = zipfile.ZipFile(io.BytesIO(bundle()))
    lines = archive.read("jobs/job_1/metrics.csv").decode().splitlines()
    assert lines[:3] == ["metric,before,after", "forget_nll_nats,1.0,2.0", "membership.loss.auc,0.9,0.5"]
    assert archive.read("jobs/job_1/trace.csv").decode() == "step,loss\n1,0.5\n2,0.4\n"
    assert json.loads(archive.read("jobs/job_1/report.json")) == REPORT
    assert "jobs/job_2/report.json" not in archive.namelist()


def test_a_text_that_a_spreadsheet_would_run_is_made_inert():
    report = REPORT | {"before": {"=cmd()": "=1+1"}, "after": {}}
    archive = zipfile.ZipFile(io.BytesIO(build_bundle({"id": "r"}, [{"id": "j", "report": report}], [])))
    assert archive.read("jobs/j/metrics.csv").decode().splitlines()[1] == "'=cmd(),'=1+1,"
