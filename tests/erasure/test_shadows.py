"""The shadow table: who reads what, that nothing of a fold is left, and that a person's rows can go."""

from __future__ import annotations

import math

import pyarrow.parquet as pq
import pytest
import torch

from unlearn.corpus.records import Corpus
from unlearn.erasure import shadows
from unlearn.erasure.shadows import assign_folds, check_shadows, drop_rows, make_shadows, read_shadows
from unlearn.erasure.targets import targets_from_shadows
from unlearn.errors import BadInput
from unlearn.lm.batches import encode
from unlearn.lm.finetune import Recipe, fitted
from unlearn.lm.likelihood import record_nlls

RECIPE = Recipe(rank=4, epochs=1, learning_rate=2e-3, batch_size=32, seed=5)


@pytest.fixture(scope="module")
def made(company, tmp_path_factory):
    from unlearn.lm.base import load_base

    path = tmp_path_factory.mktemp("shadows") / "table.parquet"
    return make_shadows(load_base(company.base), company.train, company.holdout, RECIPE, 3, path, seed=2)


def test_the_folds_are_balanced_by_records_and_do_not_hang_on_the_files_order(company):
    fold_of = assign_folds(company.train, 3, seed=2)
    weights = [0, 0, 0]
    for record in company.train.records:
        for subject in record.subjects:
            weights[fold_of[subject]] += 1
    assert max(weights) - min(weights) <= 20  # the records of one person
    backwards = Corpus(company.train.path, "", tuple(reversed(company.train.records)))
    assert assign_folds(backwards, 3, seed=2) == fold_of
    assert assign_folds(company.train, 3, seed=3) != fold_of


def test_a_record_is_read_by_the_fold_that_never_saw_its_person(company, base, made):
    fold_of = assign_folds(company.train, 3, seed=2)
    fold = fold_of[company.subject]
    learned = [r for r in company.train.records if all(fold_of[s] != fold for s in r.subjects)]
    mine = [r for r in company.train.records if company.subject in r.subjects]
    encoded = encode(mine, base.tokenizer, base.files.context_tokens)
    with fitted(base, encode(learned, base.tokenizer, base.files.context_tokens), RECIPE) as model:
        expected = record_nlls(model, encoded, 0)
    targets = targets_from_shadows(made, mine, {e.id: e for e in encoded}, {company.subject}.__contains__)
    assert targets.source == "shadows"
    for record, nll in targets.nlls.items():
        assert nll == pytest.approx(expected[record], abs=1e-5)


def test_every_record_has_a_row_for_each_of_its_people_and_the_table_names_none(company, made):
    rows = {(r.id, place) for r in company.train.records for place in range(len(r.subjects))}
    assert set(made.rows) == rows
    raw = made.path.read_bytes() + repr(pq.read_table(made.path).to_pylist()).encode()
    for subject in company.train.subjects:
        assert subject.encode() not in raw


def test_the_signals_are_whole_distributions(made):
    for signals in made.rows.values():
        assert signals.top_tokens.shape == signals.top_log_probs.shape == (len(signals.log_probs), 32)
        mass = signals.top_log_probs.exp().sum(1)
        assert bool((mass <= 1 + 1e-4).all())
        assert bool((signals.top_log_probs.diff(dim=1) <= 1e-6).all())  # most likely first
        assert bool((signals.log_probs <= signals.top_log_probs[:, 0] + 1e-5).all())


def test_nothing_of_a_fold_is_left_on_disk(made):
    assert [file.name for file in made.path.parent.iterdir()] == ["table.parquet"]
    assert not torch.is_grad_enabled() or all(not s.log_probs.requires_grad for s in made.rows.values())


def test_an_interrupted_call_goes_on_from_the_last_whole_fold(company, base, made, tmp_path):
    path, seen = tmp_path / "again.parquet", []

    def interrupt(fold, folds):
        def on_step(step, steps, loss):
            seen.append(fold)
            if fold == 3 and step > 1:
                raise KeyboardInterrupt

        return on_step

    with pytest.raises(KeyboardInterrupt):
        make_shadows(base, company.train, company.holdout, RECIPE, 3, path, seed=2, on_fold=interrupt)
    assert not path.exists()
    seen.clear()

    def note(fold, folds):
        return lambda step, steps, loss: seen.append(fold)

    again = make_shadows(base, company.train, company.holdout, RECIPE, 3, path, seed=2, on_fold=note)
    assert set(seen) == {3}
    assert again.about == made.about
    assert all(torch.equal(again.rows[key].log_probs, made.rows[key].log_probs) for key in made.rows)


def test_parts_of_other_inputs_are_not_taken_up(company, base, tmp_path):
    path = tmp_path / "other.parquet"
    parts = shadows._parts(path, {"seed": 1})
    (parts / "0.parquet").write_bytes(b"left over")
    assert not (shadows._parts(path, {"seed": 2}) / "0.parquet").exists()


def test_a_persons_rows_can_go_and_everybody_elses_stay(company, made, tmp_path):
    path = tmp_path / "table.parquet"
    path.write_bytes(made.path.read_bytes())
    mine = {r.id for r in company.train.records if company.subject in r.subjects}
    gone = drop_rows(path, mine)
    left = read_shadows(path)
    assert gone == len(made.rows) - len(left.rows) > 0
    assert not mine & {record for record, _ in left.rows}
    assert left.about == made.about
    assert drop_rows(path, mine) == 0
    records = [r for r in company.train.records if r.id in mine]
    assert targets_from_shadows(left, records, {}, {company.subject}.__contains__) is None


def test_what_folds_that_had_learned_from_the_person_say_elsewhere_goes_with_the_rows(company, made, tmp_path):
    """At other people's records such a fold's likeliest tokens may be the person's; one number a token stays."""
    path = tmp_path / "table.parquet"
    path.write_bytes(made.path.read_bytes())
    fold_of = assign_folds(company.train, 3, seed=2)
    person = next(
        s for s in sorted(fold_of) if not any(s in r.subjects and len(r.subjects) > 1 for r in company.world.train)
    )
    drop_rows(path, [r.id for r in company.train.records if person in r.subjects])
    left, subjects = read_shadows(path), {r.id: r.subjects for r in company.train.records}
    for (record, place), signals in left.rows.items():
        unseen = fold_of[subjects[record][place]] == fold_of[person]  # by the fold that read this row
        assert bool(signals.top_tokens.numel()) is unseen
        assert signals.top_tokens.shape[0] == len(signals.log_probs)
        assert torch.equal(signals.log_probs, made.rows[record, place].log_probs)


def test_a_table_of_another_base_or_corpus_is_refused(company, base, made):
    check_shadows(made, base.files.sha256, company.train)
    with pytest.raises(BadInput, match="another base"):
        check_shadows(made, "0" * 64, company.train)
    with pytest.raises(BadInput, match="another train corpus"):
        check_shadows(made, base.files.sha256, company.holdout)


def test_bad_input_is_named(company, base, made, tmp_path):
    with pytest.raises(BadInput, match="exists"):
        make_shadows(base, company.train, company.holdout, RECIPE, 3, made.path)
    with pytest.raises(BadInput, match="40 folds need 40 people"):
        make_shadows(base, company.train, company.holdout, RECIPE, 40, tmp_path / "t.parquet")
    (tmp_path / "no.parquet").write_text("no table")
    with pytest.raises(BadInput, match="can't be read"):
        read_shadows(tmp_path / "no.parquet")
    with pytest.raises(BadInput, match="can't be read"):
        read_shadows(tmp_path / "nowhere.parquet")


def test_the_levels_of_the_folds_are_noted(made):
    levels = made.about["fold_holdout_nlls_nats"]
    assert len(levels) == 3
    assert all(math.isfinite(level) and level > 0 for level in levels)
