"""The figures and the page: complete, the same twice, and silent about whom they are about."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from unlearn.measurement import Group, Measurement, Membership, SubjectTest
from unlearn.tracking.figures import all_figures, svg
from unlearn.tracking.page import report_page
from unlearn.tracking.review import write_review

NAMES = ["before_after", "slopes", "histograms", "roc", "robustness", "trajectory"]


def group(kind, mean, count=30):
    random = np.random.default_rng(len(kind) + count)
    ids = [f"canary-{kind}-{n}" for n in range(count)]
    return Group(dict(zip(ids, random.normal(mean, 0.3, count), strict=True)), {i: f"canary-person-{i}" for i in ids})


def measurement(mean):
    forget, retain, holdout = group("forget", mean), group("retain", 1.0), group("never", 3.0, 60)
    scores = {r: -nll for part in (forget, holdout) for r, nll in part.nlls.items()}
    return Measurement(
        forget,
        retain,
        holdout,
        {"loss": Membership(0.9, (0.8, 0.95), 0.01, 30, 60)},
        scores={"loss": scores},
        subject_tests={"loss": SubjectTest(1.5, 0.5, 10.0, "population", 20, 1, 30)},
        challenges={"int4": {r: -s - 0.1 for r, s in scores.items()}},
        skipped={"suffix": "needs 5 of 3 forward passes left"},
        unscorable=2,
        unscored=("recall",),
    )


BEFORE, AFTER = measurement(1.0), measurement(2.9)


def report(**more):
    finding = {
        "gate": "retain_drift",
        "outcome": "pass",
        "figure": 0.1,
        "interval": [0.0, 0.2],
        "threshold": [None, 0.5],
        "sentence": "Tom & Jerry <b>pass</b>",
    }
    return {
        "schema": "unlearn/report/v1",
        "verdict": "refused",
        "method": "calibrated",
        "records_forgotten": 30,
        "findings": [finding],
        "seed": 3,
        "before": BEFORE.as_report(),
        "after": AFTER.as_report(),
        "attacks_without_power": ["min_k"],
        "recoveries": {"int4": 0.07},
        "base": {"sha256": "ab" * 32},
        "adapter": {"before_sha256": "cd" * 32},
        "corpora": {},
        "versions": {"torch": "2"},
        "trace": [],
    } | more


def erased():
    step = {"step": 1, "forget_nll_nats": 1.0, "retain_kl_nats": 0.01}
    trace = [step | {"step": n, "forget_nll_nats": 1.0 + n / 5} for n in range(1, 9)]
    stop = {"before_step": 4, "governor": "retain_kl", "action": "rollback", "sentence": "why"}
    tried = {"method": "calibrated", "verdict": "refused", "seconds": 1.0, "reason": None, "steps": 8, "end": "steps"}
    more = {
        "trace": trace,
        "attempts": [tried | {"governors": [stop]}],
        "targets": {"source": "shadows", "sentence": "read by folds", "nlls_nats": {"canary-forget-1": 2.5}},
        "control": {"mean_gap_nats": 0.2, "priv_leak": -3.0},
        "warnings": ["mind the gap"],
    }
    return report(**more)


class Sections(HTMLParser):
    def __init__(self):
        super().__init__()
        self.sections, self.drawings, self.open = [], 0, []

    def handle_starttag(self, tag, attrs):
        self.drawings += tag == "svg"
        if tag == "section":
            self.sections.append(dict(attrs)["id"])
        if tag in ("section", "table", "figure", "body"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in ("section", "table", "figure", "body"):
            assert self.open.pop() == tag


@pytest.mark.parametrize("given", [report(), erased()])
def test_the_page_has_every_part_and_needs_nothing_else(given):
    page = report_page(given, all_figures(BEFORE, AFTER, given))
    parsed = Sections()
    parsed.feed(page)
    assert parsed.sections == ["checks", "figures", "tables", "limits", "provenance"]
    assert parsed.drawings == len(NAMES)
    assert not parsed.open
    assert "<script" not in page
    assert "src=" not in page


def test_a_release_names_the_checks_that_were_not_made():
    passed = report()["findings"][0]
    alarm, robustness = ({**passed, "gate": gate, "outcome": "untested"} for gate in ("alarm", "robustness"))
    page = report_page(report(verdict="released", findings=[passed, alarm, robustness]), {})
    assert "Every check that was made passed at its threshold." in page
    assert "Not tested: alarm, robustness." in page
    assert "Not tested" not in report_page(report(verdict="released"), {})


def test_the_verdict_stands_first_and_the_limits_are_told():
    given = erased()
    page = report_page(given, {})
    assert page.index("must not be served") < page.index("What each check found")
    for told in (
        "Min-K %",
        "2 records are too short",
        "was left out: with what it adds to the records",
        "needs 5 of 3 forward",
        "No shadow table",
        "mind the gap",
        "PrivLeak",
    ):
        assert told in page, told
    assert "proven erased" not in page
    assert "+7.0%" in page


def test_what_a_report_says_can_not_become_markup():
    assert "Tom &amp; Jerry &lt;b&gt;pass" in report_page(report(), {})


def test_nobody_is_named_and_no_record():
    given = erased()
    figures = all_figures(BEFORE, AFTER, given)
    assert list(figures) == NAMES
    assert "canary" not in report_page(given, figures) + "".join(svg(one) for one in figures.values())


def test_a_figure_is_the_same_twice():
    first, second = ([svg(figure) for figure in all_figures(BEFORE, AFTER, erased()).values()] for _ in range(2))
    assert first == second


def test_few_data_still_make_figures():
    bare = replace(AFTER, scores={}, membership={}, subject_tests={}, challenges={}, skipped={})
    given = report(before=bare.as_report(), after=bare.as_report(), recoveries={})
    assert len(all_figures(bare, bare, given)) == len(NAMES)
    assert "Challenges" not in report_page(given, {})


def test_a_review_is_written_whole(tmp_path):
    write_review(tmp_path, BEFORE, AFTER, erased())
    assert {p.name for p in tmp_path.iterdir()} == {"report.json", "report.html", "figures"}
    assert (
        len(list((tmp_path / "figures").glob("*.svg"))) == len(list((tmp_path / "figures").glob("*.png"))) == len(NAMES)
    )
    assert (tmp_path / "figures" / "roc.png").read_bytes().startswith(b"\x89PNG")
