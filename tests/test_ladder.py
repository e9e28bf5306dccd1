"""The ladder, whole: what the report says, what the adapter became, which rung is kept, what a bad case leaves behind."""

from __future__ import annotations

import json
import math

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

from unlearn.attempt import Case
from unlearn.errors import CorpusError, UnknownSubject
from unlearn.ladder import climb, compare_to_control, examine
from unlearn.policy import Policy
from unlearn.weights import RECIPE, read_adapter

POLICY = Policy.model_validate({"ladder": [{"method": "ascent", "steps": 8, "learning_rate": 2e-3}]})


def case(company, policy=POLICY, subject=None, **changes):
    forgotten = {subject or company.subject}
    files = (company.base, read_adapter(company.adapter), company.train, company.holdout)
    return Case(*files, forgotten.__contains__, policy, **changes)


@pytest.fixture(scope="module")
def erased(company, tmp_path_factory):
    place = tmp_path_factory.mktemp("erased") / "adapter"
    return climb(case(company), place), place


def test_the_unerased_adapter_is_seen_through_by_the_loss_attack(company):
    found = examine(case(company))
    assert found["after"]["membership"]["loss"]["auc"] > 0.9
    assert found["verdict"] != "released"


def test_the_report_says_what_was_done_and_measured(company, erased):
    outcome, _ = erased
    report = json.loads(json.dumps(outcome.report))
    assert report["schema"] == "unlearn/report/v1"
    assert report["verdict"] in ("released", "refused", "inconclusive")
    assert report["method"] == "ascent"
    assert report["seed"] == 0
    assert report["records_forgotten"] == sum(company.subject in r.subjects for r in company.world.train)
    assert report["steps"] == len(report["trace"]) == 8
    assert report["seconds"] > 0
    for when in ("before", "after"):
        figures = report[when]
        assert 0 <= figures["membership"]["loss"]["auc"] <= 1
        for key in ("forget_nll_nats", "retain_nll_nats", "holdout_nll_nats"):
            assert math.isfinite(figures[key])
    assert {finding["gate"] for finding in report["findings"]} == {"membership", "retain_drift", "sequence_drift"}
    assert report["policy"] == POLICY.model_dump(mode="json")
    assert report["adapter"]["before_sha256"] == read_adapter(company.adapter).sha256
    assert report["adapter"]["after_sha256"] == outcome.adapter.sha256


def test_ascent_makes_the_forgotten_less_likely_than_before(erased):
    before, after = erased[0].report["before"], erased[0].report["after"]
    assert after["forget_nll_nats"] > before["forget_nll_nats"] + 0.3
    assert after["membership"]["loss"]["auc"] < before["membership"]["loss"]["auc"]


def test_no_identity_prompt_or_completion_is_in_the_report(company, erased):
    text = json.dumps(erased[0].report)
    assert company.subject not in text
    for record in company.world.train[:50]:
        assert record.content not in text
        assert not record.completion or record.completion.strip() not in text


def test_the_new_adapter_loads_in_plain_peft_with_its_recipe(company, erased):
    _, place = erased
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(company.base), place)
    assert model.peft_config["default"].r == 8
    assert (place / RECIPE).read_text() == (company.adapter / RECIPE).read_text()


def test_the_same_case_gives_the_same_adapter_bit_for_bit(company, erased, tmp_path):
    again = climb(case(company), tmp_path / "again")
    assert again.adapter.sha256 == erased[0].adapter.sha256
    assert again.report["after"] == erased[0].report["after"]


def test_records_of_people_erased_earlier_take_no_part(company, tmp_path):
    people = sorted({r.subjects[0] for r in company.world.train})
    other = next(p for p in people if p != company.subject)
    report = examine(case(company, already_erased={other}.__contains__))
    ids = set(report["after"]["forget_record_nlls_nats"])
    assert ids == {r.id for r in company.world.train if company.subject in r.subjects and other not in r.subjects}


def test_a_control_is_measured_beside_the_adapter(company, erased):
    report = examine(case(company), control=erased[0].adapter)
    assert report["control"]["forget_nll_nats"] == pytest.approx(erased[0].report["after"]["forget_nll_nats"], rel=1e-5)
    assert report["control"]["mean_gap_nats"] > 0.3
    assert report["method"] == "audit"


def test_the_comparison_by_hand():
    found = compare_to_control({"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 1.5, "b": 2.5, "c": 3.5})
    assert found["mean_gap_nats"] == pytest.approx(0.5)
    assert found["correlation"] == pytest.approx(1.0)


def test_an_unknown_subject_and_a_subject_of_everything_write_nothing(company, tmp_path):
    with pytest.raises(UnknownSubject):
        climb(case(company, subject="customer:nobody"), tmp_path / "adapter")
    everything = Case(
        company.base, read_adapter(company.adapter), company.train, company.holdout, lambda s: True, POLICY
    )
    with pytest.raises(CorpusError, match="left to retain"):
        climb(everything, tmp_path / "adapter")
    assert not list(tmp_path.glob("*dapter*"))
