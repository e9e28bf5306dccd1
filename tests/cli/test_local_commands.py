"""`unlearn finetune`, `shadows`, `erase`, `audit` as their users run them: exit codes, files, messages, no traceback."""

from __future__ import annotations

import json
import shutil
import sys
from types import SimpleNamespace

import pytest
import typer
from peft import PeftModel
from transformers import AutoModelForCausalLM

from unlearn.cli.local import _exit, _judge_alone
from unlearn.corpus.jsonl import write_corpus
from unlearn.corpus.records import Record
from unlearn.erasure.shadow_table import read_shadows
from unlearn.guards import Finding


@pytest.fixture
def files(company):
    return {
        "--base": company.base,
        "--adapter": company.adapter,
        "--train": company.path / "train.jsonl",
        "--holdout": company.path / "holdout.jsonl",
        "--subject": company.subject,
    }


def words(files, **changes):
    given = files | {f"--{key}": value for key, value in changes.items()}
    return [word for pair in given.items() for word in pair]


def test_erase_writes_adapter_report_and_figure_and_says_the_verdict(run, files, company, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "p.yaml").write_text("method: calibrated\n")
    code, printed, _ = run("erase", *words(files, out=out, seed=3, policy=tmp_path / "p.yaml"))
    report = json.loads((out / "report.json").read_text())
    assert code == (0 if report["verdict"] == "released" else 3)
    assert (report["schema"], report["seed"]) == ("unlearn/report/v1", 3)
    assert report["verdict"] in printed
    assert "loss attack AUC" in printed
    assert (out / "figures" / "before_after.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "report.html").read_text()
    assert report["verdict"] in page
    assert company.subject not in page
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(company.base), out / "adapter")


def test_erase_forgets_several_subjects_and_prints_json(run, files, company, tmp_path):
    people = sorted({r.subjects[0] for r in company.world.train})[:2]
    given = {k: v for k, v in files.items() if k != "--subject"}
    subjects = [word for person in people for word in ("--subject", person)]
    (tmp_path / "p.yaml").write_text("ladder: [{method: ascent, steps: 2}]\n")
    _, printed, _ = run("erase", *words(given, out=tmp_path / "out", policy=tmp_path / "p.yaml"), *subjects, "--json")
    summary = json.loads(printed)
    assert summary["records_forgotten"] == sum(bool(set(r.subjects) & set(people)) for r in company.world.train)
    assert summary["steps"] == 2
    assert "trace" not in summary
    assert [one["subject"] for one in summary["people"]] == [1, 2]
    assert all({"membership", "among_others"} <= {f["gate"] for f in one["findings"]} for one in summary["people"])
    assert not any(person.partition(":")[2] in printed for person in people)


def test_one_of_several_who_is_not_released_with_the_others_is_named_by_her_place_and_keeps_her_rows():
    def found(gate, outcome):
        return Finding(gate, outcome, 0.0, None, (None, None), f"{gate} says so.")

    own = {
        "anna": (found("membership", "pass"), found("among_others", "pass")),
        "berta": (found("membership", "inconclusive"), found("among_others", "inconclusive")),
        "clara": (found("membership", "fail"), found("among_others", "pass")),
    }
    case = SimpleNamespace(train=SimpleNamespace(records=[Record("r", ("dora", "anna"), text="x")]))
    report = {"verdict": "released"}
    assert _judge_alone(report, own, case, ["berta", "anna", "clara"]) == {"anna"}
    assert [(one["subject"], one["verdict"]) for one in report["people"]] == [
        (1, "inconclusive"),
        (2, "released"),
        (3, "refused"),
    ]
    assert report["warnings"] == [
        "--subject number 1 alone is inconclusive: among_others says so.",
        "--subject number 3 alone is refused: membership says so.",
    ]
    with pytest.raises(typer.Exit):
        _exit(report)
    alone = {"verdict": "released"}
    assert _judge_alone(alone, {}, case, ["anna"]) == {"anna"}
    _exit(alone)
    assert alone == {"verdict": "released"}


def test_finetune_writes_an_adapter_that_audit_can_measure_against_a_control(run, files, company, tmp_path):
    retained = [r for r in company.world.train if company.subject not in r.subjects]
    write_corpus(tmp_path / "retained.jsonl", retained)
    recipe = ("--rank", 4, "--epochs", 2, "--lr", 4e-3, "--batch-size", 16, "--seed", 1)
    code, printed, _ = run(
        "finetune",
        "--base",
        company.base,
        "--train",
        tmp_path / "retained.jsonl",
        "--out",
        tmp_path / "c",
        *recipe,
        "--json",
    )
    assert code == 0
    assert json.loads(printed)["records"] == len(retained)
    code, printed, _ = run("audit", *words(files, out=tmp_path / "audit", control=tmp_path / "c"))
    report = json.loads((tmp_path / "audit" / "report.json").read_text())
    assert code == 3, "the unerased adapter still knows the person"
    assert report["before"] == report["after"]
    assert report["control"]["forget_nll_nats"] > report["after"]["forget_nll_nats"]
    assert "control" in printed


def test_a_shadow_table_is_made_used_by_an_erasing_and_cleared_of_the_person(run, files, company, tmp_path):
    table = tmp_path / "table.parquet"
    mine = tmp_path / "adapter"
    learn = ["--base", files["--base"], "--train", files["--train"], "--rank", 8, "--epochs", 4, "--lr", 1e-2]
    assert run("finetune", *learn, "--out", mine)[0] == 0
    files = files | {"--adapter": mine}
    given = [word for key in ("--base", "--adapter", "--train", "--holdout") for word in (key, files[key])]
    given += ["--folds", 2, "--rounds", 6, "--parts", 2, "--seed", 1, "--policy", tmp_path / "t.yaml"]
    (tmp_path / "t.yaml").write_text("audit: {challenges: [int8]}\n")
    code, printed, _ = run("shadows", *given, "--out", table, "--json")
    assert code == 0
    made = json.loads(printed)
    assert (made["folds"], made["test_shadows"]) == (2, 12)
    assert (made["folds"], made["records"]) == (2, sum(bool(r.subjects) for r in company.world.train))
    (tmp_path / "p.yaml").write_text(
        "method: calibrated\naudit: {preset: quick}\n"
        "gates: {membership_margin_sd: 99, retain_drift: 9.0, extraction_queries: 1}\n"
    )
    options = {"shadows": table, "policy": tmp_path / "p.yaml"}
    code, _, _ = run("erase", *words(files, out=tmp_path / "kept", **options), "--keep-rows")
    assert code == 0
    report = json.loads((tmp_path / "kept" / "report.json").read_text())
    assert report["targets"]["source"] == "shadows"
    assert report["shadows"]["folds"] == 2
    for test in report["before"]["subject_tests"].values():
        assert (test["null"], test["nulls"]) == ("shadows", 6)
    before = read_shadows(table).rows
    code, _, _ = run("erase", *words(files, out=tmp_path / "out", **options))
    assert code == 0
    gone = set(before) - set(read_shadows(table).rows)
    assert {record for record, _ in gone} == {r.id for r in company.world.train if company.subject in r.subjects}
    code, _, told = run("shadows", *given, "--out", table)
    assert code == 2
    assert "exists" in told


def bad_adapter(company, tmp_path):
    shutil.copytree(company.adapter, tmp_path / "bad")
    return tmp_path / "bad"


def bad_base(company, tmp_path):
    shutil.copytree(company.base, tmp_path / "bad")
    return tmp_path / "bad"


def pickled(company, tmp_path):
    place = bad_adapter(company, tmp_path)
    (place / "adapter_model.safetensors").rename(place / "adapter_model.bin")
    return {"adapter": place}


def of_another_base(company, tmp_path):
    place = bad_base(company, tmp_path)
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(config | {"rope_theta": 3.0}))
    return {"base": place}


def no_pad_token(company, tmp_path):
    place = bad_base(company, tmp_path)
    file = place / "tokenizer_config.json"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "pad_token"}))
    return {"base": place}


def empty_holdout(company, tmp_path):
    (tmp_path / "empty.jsonl").touch()
    return {"holdout": tmp_path / "empty.jsonl"}


def too_long(company, tmp_path):
    record = Record("r-long", (company.subject,), text="Ada " * 400)
    write_corpus(tmp_path / "long.jsonl", [*company.world.train, record])
    return {"train": tmp_path / "long.jsonl"}


def unknown_key(company, tmp_path):
    (tmp_path / "p.yaml").write_text("gates: {marginn: 1}")
    return {"policy": tmp_path / "p.yaml"}


def unknown_method(company, tmp_path):
    (tmp_path / "p.yaml").write_text("method: magic")
    return {"policy": tmp_path / "p.yaml"}


def impossible_budget(company, tmp_path):
    (tmp_path / "p.yaml").write_text("governors: {retain_kl_nats: 0}")
    return {"policy": tmp_path / "p.yaml"}


def taken(company, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("keep me")
    return {"out": tmp_path / "full"}


BAD = {
    "pickled": (pickled, "pickled weights"),
    "another base": (of_another_base, "was trained on base"),
    "no pad token": (no_pad_token, "no pad token"),
    "unknown subject": (lambda c, t: {"subject": "customer:nobody"}, "No record names this subject"),
    "empty holdout": (empty_holdout, "holds no record"),
    "too long": (too_long, "'r-long'"),
    "missing file": (lambda c, t: {"train": t / "nowhere.jsonl"}, "nowhere.jsonl"),
    "missing base": (lambda c, t: {"base": t / "nowhere"}, "is not a directory"),
    "missing adapter": (lambda c, t: {"adapter": t / "nowhere"}, "is not a directory"),
    "unknown policy key": (unknown_key, "marginn"),
    "unknown method": (unknown_method, "magic"),
    "impossible budget": (impossible_budget, "retain_kl_nats"),
    "output taken": (taken, "is not empty"),
    "no such device": (lambda c, t: {"device": "tpu9"}, "can't be used here"),
    "train is holdout": (lambda c, t: {"holdout": c.path / "train.jsonl"}, "are in"),
}


@pytest.mark.parametrize("command", ["erase", "audit"])
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_message_exit_code_2_and_no_change(run, files, company, tmp_path, command, name):
    make, message = BAD[name]
    changes = {"out": tmp_path / "out"} | make(company, tmp_path)
    before = sorted(p for p in tmp_path.rglob("*"))
    code, printed, told = run(command, *words(files, **changes))
    assert code == 2, told
    assert message in told
    assert printed == ""
    assert sorted(p for p in tmp_path.rglob("*")) == before


def test_an_error_is_json_for_machines(run, files, tmp_path):
    code, _, told = run("erase", *words(files, out=tmp_path / "out", subject="customer:nobody"), "--json")
    assert code == 2
    assert json.loads(told)["type"] == "unknown-subject"


def test_a_training_that_diverges_is_refused_and_leaves_nothing(run, company, tmp_path):
    code, _, told = run(
        "finetune",
        "--base",
        company.base,
        "--train",
        company.path / "train.jsonl",
        "--out",
        tmp_path / "a",
        "--lr",
        "1e30",
    )
    assert code == 3
    assert "smaller learning rate" in told
    assert not (tmp_path / "a").exists()


def test_an_erasing_that_changes_nothing_is_refused_and_leaves_nothing(run, files, tmp_path):
    (tmp_path / "p.yaml").write_text("ladder: [{method: ascent, learning_rate: 1.0e-30}]\n")
    code, _, told = run("erase", *words(files, out=tmp_path / "out", policy=tmp_path / "p.yaml"))
    assert code == 3
    assert "left every LoRA weight" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [["--help"], ["erase", "--help"], ["request", "--help"], ["--version"]])
def test_help_loads_no_heavy_library(words):
    import subprocess

    code = (
        f"import sys; sys.argv = ['unlearn', *{words!r}]\n"
        "from unlearn.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'transformers', 'mlflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
