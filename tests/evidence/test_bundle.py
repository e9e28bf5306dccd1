"""The export: whole, the same twice, readable by a spreadsheet without harm, and by nobody's name."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
from dataclasses import replace

from dossiers import ABOUT, FACTS, JOB, NEW, OLD, REPORT, bundle, dossier, predicate_of
from dossiers import Ledger as Tree
from unlearn.evidence.container import unpack
from unlearn.evidence.dossier import Work
from unlearn.evidence.ledger import entry_leaf
from unlearn.evidence.merkle import leaf_hash
from unlearn.evidence.statement import PREDICATE_TYPE, STATEMENT_TYPE


def test_the_same_state_gives_the_same_bytes():
    assert bundle(dossier(Tree())) == bundle(dossier(Tree()))


def test_every_file_but_manifest_and_statement_is_listed_with_digest_and_size():
    files = unpack(bundle())
    listed = {one["path"]: one for one in json.loads(files["manifest.json"])["files"]}
    assert set(listed) == set(files) - {"manifest.json", "statement.dsse.json"}
    for name, one in listed.items():
        assert (one["sha256"], one["bytes"]) == (hashlib.sha256(files[name]).hexdigest(), len(files[name]))


def test_before_and_after_stand_side_by_side():
    files = unpack(bundle())
    assert files["jobs/job_1/metrics.csv"].decode().splitlines()[:3] == [
        "metric,before,after",
        "forget_nll_nats,1.0,2.0",
        "membership.loss.auc,0.9,0.5",
    ]
    assert json.loads(files["jobs/job_1/metrics.json"])["forget_nll_nats"]["after"] == 2.0
    assert files["jobs/job_1/trace.csv"] == b"step,loss\n1,0.5\n2,0.4\n"
    assert json.loads(files["jobs/job_1/report.json"]) == REPORT


def test_a_job_without_report_run_and_figures_has_its_state_alone():
    files = unpack(bundle(dossier(works=[Work(JOB | {"report": None})])))
    assert {name for name in files if name.startswith("jobs/")} == {"jobs/job_1/job.json"}


def test_run_and_figures_are_in_it_where_they_are_known():
    work = Work(JOB, run={"run_id": "run1", "metrics": {"x": 1.0}}, figures={"roc.svg": b"<svg/>"})
    files = unpack(bundle(dossier(works=[work])))
    assert json.loads(files["jobs/job_1/mlflow.json"])["run_id"] == "run1"
    assert files["jobs/job_1/figures/roc.svg"] == b"<svg/>"


def test_a_text_that_a_spreadsheet_would_run_is_made_inert():
    report = REPORT | {"before": {"=cmd()": "=1+1", "a": "\tx", "b": -1.5}, "after": {"@x": "+1"}}
    data = unpack(bundle(dossier(works=[Work(JOB | {"report": report})])))["jobs/job_1/metrics.csv"].decode()
    rows = list(csv.reader(io.StringIO(data)))
    assert rows[1:] == [["'=cmd()", "'=1+1", ""], ["a", "'\tx", ""], ["b", "-1.5", ""], ["'@x", "", "'+1"]]


def test_each_line_of_the_ledger_can_be_checked_by_itself():
    files = unpack(bundle())
    told = [json.loads(line) for line in files["ledger/entries.jsonl"].splitlines()]
    assert [one["seq"] for one in told] == [1, *ABOUT]
    for one in told:
        assert one["hash"] == leaf_hash(entry_leaf(one["seq"], one["at"], one["action"], one["facts"])).hex()
        assert all(len(bytes.fromhex(step)) == 32 for step in one["path"])


def test_the_statement_is_of_in_toto_and_names_what_it_is_about():
    files = unpack(bundle())
    statement = json.loads(base64.b64decode(json.loads(files["statement.dsse.json"])["payload"]))
    assert (statement["_type"], statement["predicateType"]) == (STATEMENT_TYPE, PREDICATE_TYPE)
    assert {one["name"]: one["digest"]["sha256"] for one in statement["subject"]} == {
        "manifest.json": hashlib.sha256(files["manifest.json"]).hexdigest(),
        "bot/v1": OLD,
        "bot/v2": NEW,
    }


def test_the_predicate_has_clock_method_seed_software_figures_and_findings():
    said = predicate_of(bundle())
    clock, [job] = said["clock"], said["jobs"]
    assert (clock["days"], clock["late"], clock["answered_at"]) == (0.0, False, "2026-03-01T10:08:00.000Z")
    assert (job["method"], job["seed"], job["software"]["unlearn"], job["verdict"]) == (
        "calibrated",
        7,
        "0.1.0",
        "released",
    )
    assert job["metrics"]["after"]["forget_nll_nats"] == 2.0
    assert [one["gate"] for one in job["findings"]] == ["membership", "retain_drift"]


def test_what_was_found_of_a_request_itself_goes_before_what_was_found_of_its_job():
    own = [{"gate": "membership", "outcome": "inconclusive"}]
    alone = {"job": "job_1", "request": "req_1", "verdict": "inconclusive", "findings": {"membership": "inconclusive"}}
    made = dossier(Tree([*FACTS[:7], ("verdict_alone", alone), *FACTS[7:]]), about=(*ABOUT, 10), size=10)
    short = made.request["jobs"][0] | {"verdict": "released", "findings": own}
    said = predicate_of(bundle(replace(made, request=made.request | {"jobs": [short]})))
    assert (said["jobs"][0]["verdict"], said["jobs"][0]["findings"]) == ("inconclusive", own)


def test_figures_that_name_single_records_stay_in_the_report():
    after = REPORT["after"] | {"forget_record_nlls_nats": {"r-1": 2.0}, "log10_queries": {"r-1": 9.0}}
    said = predicate_of(bundle(dossier(works=[Work(JOB | {"report": REPORT | {"after": after}})])))
    assert "r-1" not in json.dumps(said)


def test_what_was_purged_is_told_with_its_time():
    facts = [*FACTS, ("version_purged", {"version": 1})]
    said = predicate_of(bundle(dossier(Tree(facts), size=11, about=(*ABOUT, 11))))
    assert said["purged"] == [
        {
            "seq": 11,
            "at": "2026-03-01T10:10:00.000Z",
            "action": "version_purged",
            "facts": {"version": 1},
        }
    ]
