"""The ladder, whole: what the report says, what the adapter became, which rung is kept, what a bad case leaves behind."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

from unlearn.attacks.audit import audit
from unlearn.attempt import Case, Tried, Unwatched, panel_of, split_of
from unlearn.errors import CorpusError, ErasureFailed, ModelError, UnknownSubject
from unlearn.guards import GATES, Finding
from unlearn.ladder import _best, _for_want_of_data, climb, compare_to_control, examine, worst_hit
from unlearn.lm.base import attached, load_base
from unlearn.lm.batches import encode
from unlearn.lm.finetune import finetune, recorded_recipe
from unlearn.lm.likelihood import readings
from unlearn.measurement import Group, Measurement
from unlearn.methods import METHODS
from unlearn.policy import Policy
from unlearn.weights import LINEAGE, RECIPE, read_adapter

QUICK = {"audit": {"preset": "quick"}}
POLICY = Policy.model_validate({"ladder": [{"method": "ascent", "steps": 8, "learning_rate": 2e-3}]} | QUICK)


def case(company, policy=POLICY, subject=None, **changes):
    forgotten = {subject or company.subject}
    files = (company.base, read_adapter(company.adapter), company.train, company.holdout)
    return Case(*files, forgotten.__contains__, policy, **changes)


@pytest.fixture(scope="module")
def erased(company, tmp_path_factory):
    place = tmp_path_factory.mktemp("erased") / "adapter"
    return climb(case(company), place), place


def test_the_unerased_adapter_is_seen_through_by_the_loss_attack(company):
    found = examine(case(company)).report
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
    assert {finding["gate"] for finding in report["findings"]} == set(GATES)
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
    report = examine(case(company, already_erased={other}.__contains__)).report
    ids = set(report["after"]["forget_record_nlls_nats"])
    assert ids == {r.id for r in company.world.train if company.subject in r.subjects and other not in r.subjects}


def test_a_control_is_measured_beside_the_adapter(company, erased):
    report = examine(case(company), control=erased[0].adapter).report
    assert report["control"]["forget_nll_nats"] == pytest.approx(erased[0].report["after"]["forget_nll_nats"], rel=1e-5)
    assert report["control"]["mean_gap_nats"] > 0.3
    assert report["method"] == "audit"
    qualities = {"ks_p_value", "ks_p_value_truth_ratio", "ks_p_value_min_k_plus_plus"}
    assert {"agreement", "priv_leak"} | qualities <= set(report["control"])


def test_privleak_is_of_the_forty_per_cent_of_tokens_that_are_least_likely(company):
    given = case(company)
    base, parts = load_base(given.base), split_of(given)
    panel = panel_of(given, parts, base)
    with attached(base, given.adapter) as model:
        read = readings(model, panel.attacked, 0)
        auc = audit(model, panel, 0).min_40_auc

    def score(record):
        least = sorted(read[record].log_probs)[: int(0.4 * len(read[record].log_probs))]
        return sum(map(float, least)) / len(least)

    forget, never = (
        [score(r.id) for r in side if len(read[r.id].log_probs) >= 8] for side in (parts.forget, parts.audit)
    )
    over = [(f > n) + 0.5 * (f == n) for f in forget for n in never]
    assert auc == pytest.approx(sum(over) / len(over), abs=1e-9)
    assert auc > 0.6


def test_with_the_adapter_as_it_was_every_gate_judges(company, erased):
    found = examine(case(company), None, None, read_adapter(company.adapter))
    assert {finding["gate"] for finding in found.report["findings"]} == set(GATES)
    again = examine(replace(case(company), adapter=erased[0].adapter), None, None, read_adapter(company.adapter))
    assert again.report["findings"] == erased[0].report["findings"]
    assert again.report["adapter"]["before_sha256"] == erased[0].report["adapter"]["before_sha256"]


IMPOSSIBLE = {"membership_margin_sd": 1e-6, "retain_drift": 9.0}
OPEN = {"membership_margin_sd": 99.0, "retain_drift": 9.0}


def rules(ladder, gates, **more):
    return Policy.model_validate({"ladder": ladder, "gates": gates, "sequence": {"retain_drift": 9.0}} | QUICK | more)


def test_a_rung_that_is_released_ends_the_climb(company, tmp_path):
    ladder = [{"method": "ascent", "steps": 8, "learning_rate": 2e-3}, {"method": "npo"}, {"method": "retrain"}]
    outcome = climb(case(company, rules(ladder, OPEN)), tmp_path / "adapter")
    assert outcome.verdict == "released"
    assert [tried["verdict"] for tried in outcome.report["attempts"]] == ["released"]
    assert outcome.report["steps"] == 8
    assert sorted(p.name for p in tmp_path.iterdir()) == ["adapter"]


def test_the_ladder_goes_on_to_retraining_which_is_exact(company, base, tmp_path):
    """The last rung's adapter is the one that fitting the recorded recipe on everybody else gives, bit for bit."""
    ladder = [{"method": "ascent", "steps": 2}, {"method": "retrain"}]
    outcome = climb(case(company, rules(ladder, IMPOSSIBLE)), tmp_path / "adapter")
    assert [tried["method"] for tried in outcome.report["attempts"]] == ["ascent", "retrain"]
    assert outcome.report["method"] == "retrain"
    assert outcome.report["lineage"] == []
    retained = [r for r in company.world.train if company.subject not in r.subjects]
    recipe = recorded_recipe(read_adapter(company.adapter))
    control = finetune(base, encode(retained, base.tokenizer, base.files.context_tokens), recipe, tmp_path / "control")
    weights = "adapter_model.safetensors"
    assert (outcome.adapter.path / weights).read_bytes() == (control.path / weights).read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["adapter", "control"]


class Interrupted(Exception):
    pass


class Interrupting(Unwatched):
    """Interrupts a retraining at a step, and remembers the steps it saw."""

    def __init__(self, at=None):
        self.at, self.steps = at, []

    def training(self, step, steps, loss):
        self.steps.append(step)
        if step == self.at:
            raise Interrupted


def test_an_interrupted_retraining_goes_on_from_its_last_epoch_to_the_same_adapter(company, tmp_path):
    given = replace(case(company, rules([{"method": "retrain"}], OPEN)), state=tmp_path / "state")
    whole = climb(replace(given, state=None), tmp_path / "whole")
    with pytest.raises(Interrupted):
        climb(given, tmp_path / "adapter", Interrupting(at=100))
    assert not (tmp_path / "adapter").exists()
    second = Interrupting()
    outcome = climb(given, tmp_path / "adapter", second)
    assert outcome.adapter.sha256 == whole.adapter.sha256
    assert 1 < second.steps[0] <= 100
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["rung-1", "rung-1.tried"]


def test_a_rung_that_breaks_is_noted_and_the_next_one_tried(company, tmp_path):
    ladder = [{"method": "ascent", "learning_rate": 1e-30}, POLICY.ladder[0].model_dump()]
    outcome = climb(case(company, rules(ladder, OPEN)), tmp_path / "adapter")
    first, second = outcome.report["attempts"]
    assert "left every LoRA weight" in first["reason"]
    assert second["verdict"] == outcome.verdict == "released"


def test_an_adapter_without_a_recipe_passes_retraining_over(company, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(company.adapter, bare)
    (bare / RECIPE).unlink()
    given = case(company, rules([{"method": "ascent", "steps": 2}, {"method": "retrain"}], IMPOSSIBLE))
    outcome = climb(replace(given, adapter=read_adapter(bare)), tmp_path / "adapter")
    assert outcome.report["method"] == "ascent"
    assert RECIPE in outcome.report["attempts"][1]["reason"]
    with pytest.raises(ErasureFailed, match="no method of the ladder"):
        climb(
            replace(given, adapter=read_adapter(bare), policy=rules([{"method": "retrain"}], OPEN)), tmp_path / "none"
        )
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("ascent", "retrain")])
def test_every_method_of_the_menu_runs_from_the_policy_and_moves_the_adapter(company, method, tmp_path):
    policy = rules([{"method": method, "steps": 2, "forget_records_per_step": 6, "retain_records_per_step": 6}], OPEN)
    outcome = climb(case(company, policy), tmp_path / "adapter")
    assert outcome.report["method"] == method
    assert outcome.adapter.sha256 != read_adapter(company.adapter).sha256
    assert all(math.isfinite(step["loss"]) for step in outcome.report["trace"])


def test_erasings_of_one_adapter_are_its_lineage_until_an_exact_fit(company, tmp_path):
    people = company.people
    policy = rules([{"method": "ascent", "steps": 2}], OPEN)
    first = climb(case(company, policy, people[0]), tmp_path / "one")
    again = replace(case(company, policy, people[1], already_erased={people[0]}.__contains__), adapter=first.adapter)
    second = climb(again, tmp_path / "two")
    assert [e["method"] for e in second.report["lineage"]] == ["ascent", "ascent"]
    assert second.adapter.lineage[0] == first.adapter.lineage[0]
    drift = next(f for f in second.report["findings"] if f["gate"] == "sequence_drift")
    assert drift["figure"] == pytest.approx(sum(e["retain_rise_nats"] for e in second.adapter.lineage))
    told = json.loads((first.adapter.path / LINEAGE).read_text())
    told["erasures"][0]["retain_rise_nats"] = 9.0  # the budget is spent, whatever this one costs
    (first.adapter.path / LINEAGE).write_text(json.dumps(told))
    ladder = rules([{"method": "ascent", "steps": 2}, {"method": "retrain"}], OPEN, sequence={"retain_drift": 0.5})
    third = climb(replace(again, adapter=read_adapter(first.adapter.path), policy=ladder), tmp_path / "three")
    outcomes = {f["gate"]: f["outcome"] for f in third.report["attempts"][0]["findings"]}
    assert outcomes["sequence_drift"] == "fail"
    assert third.report["method"] == "retrain"
    assert third.adapter.lineage == ()
    assert [one["kept"] for one in third.report["attempts"]] == [False, True]


def tried(outcome="pass", people=(), gate="membership", interval=None, skipped=None):
    """A hand-made rung: what the gates found of all, and of each person alone."""

    def finding(found, gate=gate):
        return Finding(gate, found, 0.0, interval, (None, None), "")

    nothing = Group({}, {})
    after = Measurement(nothing, nothing, nothing, {}, skipped=skipped or {})
    own = {str(number): (finding(found, "among_others"),) for number, found in enumerate(people)}
    return Tried(Policy().ladder[0], SimpleNamespace(), after, (finding(outcome),), None, 0.0, 0.0, own=own)


def test_the_best_rung_is_the_least_bad_then_the_one_that_leaves_fewest_behind_then_the_last():
    released, one_left = tried(), tried(people=("pass", "inconclusive"))
    assert (released.left, one_left.left, one_left.verdict) == (0, 1, "released")
    two_left, open_ = tried(people=("inconclusive", "inconclusive")), tried("inconclusive")
    broken = Tried(Policy().ladder[0], None, None, (), None, 0.0, 0.0, "it broke")
    assert _best([open_, two_left, one_left, broken, two_left]) is one_left
    assert _best([tried("fail"), open_]) is open_
    later = tried()
    assert _best([released, later]) is later
    with pytest.raises(ErasureFailed, match="it broke"):
        _best([broken])


def test_a_climb_ends_for_want_of_data_alone():
    assert _for_want_of_data(tried("inconclusive"), None)
    assert not _for_want_of_data(tried(), None)
    assert not _for_want_of_data(tried("fail"), None)
    assert not _for_want_of_data(tried("inconclusive", interval=(-9.0, 9.0)), None)
    assert not _for_want_of_data(tried("inconclusive", gate="robustness"), None)
    unread = tried("inconclusive", skipped={"int4": "destroys the model, so that it shows nothing", "suffix": "costs"})
    assert _for_want_of_data(unread, "int8")
    assert not _for_want_of_data(unread, "int4")


def test_a_candidate_that_can_not_be_measured_is_noted_and_the_next_rung_tried(company, tmp_path, monkeypatch):
    def measured(*given):
        if "erasing" in stages[-1]:
            raise ModelError("the adapter says what the base says")
        return audit(*given)

    class Noting(Unwatched):
        def stage(self, name):
            if name != "measuring after":
                stages.append(name)

    stages = [""]
    monkeypatch.setattr("unlearn.attempt.audit", measured)
    ladder = [{"method": "ascent", "steps": 1}, {"method": "retrain"}]
    outcome = climb(case(company, rules(ladder, OPEN)), tmp_path / "adapter", Noting())
    first, second = outcome.report["attempts"]
    assert (first["reason"], second["kept"]) == ("the adapter says what the base says", True)
    with pytest.raises(ModelError):
        climb(case(company, rules(ladder[:1], OPEN)), tmp_path / "other", Noting())


def test_the_worst_hit_are_those_whose_nll_rose_most():
    def kept(*nlls):
        retain = Group({f"r{n}": nll for n, nll in enumerate(nlls)}, {f"r{n}": "p" for n in range(len(nlls))})
        return Measurement(retain, retain, retain, {})

    assert list(worst_hit(kept(1.0, 1.0, 1.0), kept(1.5, 0.5, 2.0), 2).items()) == [("r2", 1.0), ("r0", 0.5)]


def test_the_comparison_by_hand():
    def measured(*nlls):
        forget = Group(dict(zip("abc", nlls, strict=True)), dict.fromkeys("abc", "p"))
        holdout = Group({f"h{n}": n / 10 for n in range(40)}, {f"h{n}": f"h{n}" for n in range(40)})
        return Measurement(forget, holdout, holdout, {}, min_40_auc=nlls[0] / 4)

    found = compare_to_control(measured(1.0, 2.0, 3.0), measured(1.5, 2.5, 3.5))
    assert found["agreement"] == 0.0  # half a nat is more than a tenth of the ranks
    assert found["priv_leak"] == pytest.approx(100 * ((1 - 0.25) - (1 - 0.375)) / (1 - 0.375))
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
