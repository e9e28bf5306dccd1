"""The shadow table: who reads what, that nothing of a fold is left, and that a person's rows can go."""

from __future__ import annotations

import fcntl
import math
import threading
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from company import noted
from unlearn.corpus.jsonl import read_corpus, write_corpus
from unlearn.corpus.records import Corpus
from unlearn.erasure import shadows
from unlearn.erasure.shadow_table import NOTED, check_shadows, read_shadows
from unlearn.erasure.shadows import ShadowPlan, assign_folds, deal, make_shadows
from unlearn.erasure.targets import targets_from_shadows
from unlearn.errors import BadInput
from unlearn.lm.batches import encode
from unlearn.lm.finetune import Recipe, fitted
from unlearn.lm.likelihood import mean_nll, record_log_probs, record_nlls
from unlearn.shadow_file import COLUMNS, drop_rows, write_table

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


def test_rows_go_when_nobody_reads_the_table_and_no_two_take_out_theirs_at_once(made, tmp_path):
    path = tmp_path / "table.parquet"
    path.write_bytes(made.path.read_bytes())
    people = sorted({record for record, _ in made.rows})
    with path.open("rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        threads = [threading.Thread(target=drop_rows, args=(path, [record])) for record in people[:4]]
        for thread in threads:
            thread.start()
            thread.join(0.2)
        assert reader.read() == made.path.read_bytes()  # what it opened is not overwritten under it
    for thread in threads:
        thread.join()
    assert {record for record, _ in read_shadows(path).rows} == set(people[4:])


def test_a_table_of_another_base_or_corpus_is_refused(company, base, made):
    unseen = company.holdout
    check_shadows(made, base.files.sha256, company.train, unseen, RECIPE)
    check_shadows(made, base.files.sha256, company.train, unseen, replace(RECIPE, seed=9))
    check_shadows(made, base.files.sha256, company.train, unseen, None)
    with pytest.raises(BadInput, match=r"another recipe: epochs 1 \(not 7\)"):
        check_shadows(made, base.files.sha256, company.train, unseen, replace(RECIPE, epochs=7))
    with pytest.raises(BadInput, match="another base"):
        check_shadows(made, "0" * 64, company.train, unseen, None)
    with pytest.raises(BadInput, match="another train corpus"):
        check_shadows(made, base.files.sha256, company.holdout, unseen, None)


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
    row = {
        "record": "r",
        "place": 0,
        "fold": 3,
        "log_probs": [],
        "top_tokens": [],
        "top_log_probs": [],
        "scores": [1.0],
    }
    broken = pa.Table.from_pylist([row], schema=COLUMNS)
    write_table(tmp_path / "less.parquet", broken, noted(tests={"scores": ["loss", "zlib"]}))
    with pytest.raises(BadInput, match="the 2 scores that the table names"):
        read_shadows(tmp_path / "less.parquet")


@pytest.mark.parametrize("key", NOTED)
def test_a_table_that_does_not_say_what_it_was_made_from_is_refused_by_file_and_key(tmp_path, key):
    path, about = tmp_path / "t.parquet", noted()
    write_table(path, COLUMNS.empty_table(), about)
    read_shadows(path)
    write_table(path, COLUMNS.empty_table(), {name: value for name, value in about.items() if name != key})
    with pytest.raises(BadInput, match=rf"shadow table '.*t\.parquet' does not say its '{key}'"):
        read_shadows(path)
    write_table(path, COLUMNS.empty_table(), about | {key: [3]})
    with pytest.raises(BadInput, match=f"does not say its '{key}'"):
        read_shadows(path)


def plan(base, company, rounds, parts):
    """Test shadows whose scores are what a shadow has learned, as far as its mean NLL tells."""

    def read(model, left_out):
        theirs = [r for r in company.train.records if not set(left_out).isdisjoint(r.subjects)]
        examples = encode([*theirs, *company.holdout.records], base.tokenizer, base.files.context_tokens)
        read = record_log_probs(model, examples, 0)
        return {record: {"loss": mean_nll(found) * -1, "tokens": 1.0} for record, found in read.items()}, read

    return ShadowPlan(rounds, parts, read, {"scores": ["loss", "tokens"]})


@pytest.fixture(scope="module")
def tested(company, tmp_path_factory):
    from unlearn.lm.base import load_base

    path = tmp_path_factory.mktemp("tested") / "table.parquet"
    base = load_base(company.base)
    tests = plan(base, company, 3, 2)
    return make_shadows(base, company.train, company.holdout, RECIPE, 2, path, seed=2, tests=tests)


def test_a_person_is_left_out_once_a_round_and_apart_from_whoever_shares_records(company):
    dealt = deal(company.train, 3, "2/0")
    assert set(dealt) == company.train.subjects
    sizes = [list(dealt.values()).count(part) for part in range(3)]
    assert max(sizes) - min(sizes) <= 1
    for record in company.train.records:
        assert len({dealt[s] for s in record.subjects}) == len(record.subjects)
    assert deal(company.train, 3, "2/1") != dealt
    with pytest.raises(BadInput, match="40 parts need 40 people"):
        deal(company.train, 40, "0")


def test_a_record_has_scores_of_the_shadows_that_never_saw_its_person_and_the_holdout_of_all(company, base, tested):
    shadows_of = {}
    for (record, place), found in tested.tests.items():
        shadows_of.setdefault(record, {})[place] = set(found)
    for record in company.holdout.records:
        assert shadows_of[record.id] == {-1: {2, 3, 4, 5, 6, 7}}
    for record in company.train.records:
        assert [len(shadows_of[record.id][place]) for place in range(len(record.subjects))] == [3] * len(
            record.subjects
        )
    dealt = deal(company.train, 2, "2/1")
    part = dealt[company.subject]
    mine = [r for r in company.train.records if company.subject in r.subjects]
    learned = [r for r in company.train.records if all(dealt[s] != part for s in r.subjects)]
    recipe = replace(RECIPE, seed=RECIPE.seed + 1 + 2 + part)
    with fitted(base, encode(learned, base.tokenizer, base.files.context_tokens), recipe) as model:
        expected = record_nlls(model, encode(mine, base.tokenizer, base.files.context_tokens), 0)
    for record in mine:
        place = record.subjects.index(company.subject)
        scores = tested.tests[record.id, place][2 + 2 + part]
        assert scores == {"loss": pytest.approx(-expected[record.id], abs=1e-5), "tokens": 1.0}
        assert tested.tokens((record.id, place))[2 + 2 + part].mean() == pytest.approx(scores["loss"], abs=1e-5)


def test_a_record_has_the_tokens_of_each_shadow_that_has_its_scores(company, tested):
    for key, found in tested.tests.items():
        tokens = tested.tokens(key)
        assert tokens.keys() == found.keys()
        assert len({len(log_probs) for log_probs in tokens.values()}) == 1
        assert all((log_probs <= 0).all() for log_probs in tokens.values())
    assert tested.tokens(("nobody", 0)) == {}


def test_a_shadow_without_a_number_for_a_token_has_none_for_the_record_and_lengths_must_agree(tested, tmp_path):
    key = next(iter(tested.tests))
    first, *others = (scores.row for scores in tested.tests[key].values())
    table = pq.read_table(tested.path)
    log_probs = table["log_probs"].to_pylist()

    def rewritten(own):
        column = pa.array([own if row == first else of for row, of in enumerate(log_probs)], pa.list_(pa.float32()))
        other = table.set_column(table.schema.get_field_index("log_probs"), table.schema.field("log_probs"), column)
        pq.write_table(other, tmp_path / "table.parquet")
        return read_shadows(tmp_path / "table.parquet")

    assert len(rewritten([math.nan, *log_probs[first][1:]]).tokens(key)) == len(others)
    with pytest.raises(BadInput, match=f"record '{key[0]}' with tokens of several lengths"):
        rewritten(log_probs[first][1:]).tokens(key)


def without_digests(table, path):
    """The same table as it was written before each record of the holdout had its digest."""
    kept = pq.read_table(table.path).drop_columns(["record_sha256"])
    pq.write_table(kept, path)  # with what is noted beside the rows
    return read_shadows(path)


def test_a_holdout_may_lose_records_and_not_change_what_they_say(company, base, tested, tmp_path):
    def check(holdout, table=tested):
        check_shadows(table, base.files.sha256, company.train, holdout, RECIPE)

    def read_anew(records):
        write_corpus(tmp_path / "holdout.jsonl", records)
        return read_corpus(tmp_path / "holdout.jsonl")

    first, second, *rest = company.holdout.records
    check(company.holdout)
    check(read_anew(rest))
    check(read_anew([replace(first, subjects=("customer:renamed",)), *rest]))
    easier = [replace(first, text="an easier text", prompt=None, completion=None), *rest]
    with pytest.raises(
        BadInput, match=rf"1 records are not what the test shadows .* read under their ids: '{first.id}'"
    ):
        check(read_anew(easier))
    with pytest.raises(BadInput, match=r"2 records .*'new-1', 'new-2'"):
        check(read_anew([replace(first, id="new-1"), replace(second, id="new-2"), *rest]))
    old = without_digests(tested, tmp_path / "old.parquet")
    assert old.tests == tested.tests
    check(company.holdout, old)
    with pytest.raises(BadInput, match=r"another holdout .* from before tables knew each of its records"):
        check(read_anew(easier), old)


def test_the_digest_of_a_holdout_record_goes_with_its_rows(company, tested, tmp_path):
    path = tmp_path / "table.parquet"
    path.write_bytes(tested.path.read_bytes())
    gone, *stay = company.holdout.records
    assert drop_rows(path, [gone.id]) == len(tested.tests[gone.id, -1])
    assert read_shadows(path).holdout == {record.id: record.sha256 for record in stay}
    assert gone.sha256.encode() not in path.read_bytes()


def test_the_folds_are_the_same_with_test_shadows_or_without(company, base, tested, tmp_path):
    alone = make_shadows(base, company.train, company.holdout, RECIPE, 2, tmp_path / "alone.parquet", seed=2)
    assert not alone.tests
    assert alone.about["tests"] is None
    assert set(alone.rows) == set(tested.rows)
    assert all(torch.equal(alone.rows[key].log_probs, tested.rows[key].log_probs) for key in alone.rows)


def test_a_persons_scores_go_with_the_rows(company, tested, tmp_path):
    path = tmp_path / "table.parquet"
    path.write_bytes(tested.path.read_bytes())
    mine = {r.id for r in company.train.records if company.subject in r.subjects}
    drop_rows(path, mine)
    left = read_shadows(path)
    assert {record for record, _ in tested.tests} - {record for record, _ in left.tests} == mine
    assert {k for k in left.tests if k[0] not in mine} == {k for k in tested.tests if k[0] not in mine}


def test_the_levels_of_the_folds_are_noted(made):
    levels = made.about["fold_holdout_nlls_nats"]
    assert len(levels) == 3
    assert all(math.isfinite(level) and level > 0 for level in levels)
