"""A shadow table outlives the corpora it was made for: it serves what is left of them, and keeps nobody who left."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from by_hand import REFUSED, REPORT, new_version, submit, work

from company import noted
from unlearn.cases.store import corpora as stored
from unlearn.clearing import clear_shadows
from unlearn.erasure.shadow_table import read_shadows
from unlearn.fulfilment import _case
from unlearn.purging import Sweeper, sweep
from unlearn.shadow_file import COLUMNS, write_table
from unlearn.storage import Loan


@pytest.fixture
def table(desk, adapter, company):
    """A table of the corpora as they were registered, its values made up."""
    row = {"place": 0, "fold": 0, "log_probs": [-1.0], "top_tokens": [3], "top_log_probs": [-0.5], "scores": []}
    rows = [row | {"record": record.id} for record in company.world.train]
    path = Path(desk.vault.place(adapter.id, "shadows.parquet"))
    about = noted(train_sha256=adapter.train_sha256, holdout_sha256=adapter.holdout_sha256)
    write_table(path, pa.Table.from_pylist(rows, schema=COLUMNS), about)
    return path


def case_of(desk, claim):
    with Loan(desk.settings) as loan:
        return _case(desk, claim, desk.settings, loan)


def test_after_an_erasing_the_table_is_taken_for_the_corpus_that_is_left(desk, adapter, company, table):
    _, first = submit(desk, company, 0)
    claim = work(desk, first)
    assert case_of(desk, claim).shadows.about["train_sha256"] == adapter.train_sha256
    desk.release(claim, new_version(desk, claim), REPORT)  # and its worker ends before it clears the table
    _, second = submit(desk, company, 1)
    case = case_of(desk, work(desk, second))
    assert case.train.sha256 != adapter.train_sha256
    assert case.shadows.about["train_sha256"] == case.train.sha256
    left = {record.id for record in case.train.records}
    assert {record for record, _ in case.shadows.rows} == left
    assert {record for record, _ in read_shadows(table).rows} == left


def test_a_table_of_other_corpora_is_not_taken_for_ours(desk, adapter, company, table):
    with_other = noted(train_sha256="0" * 64, holdout_sha256="1" * 64)
    write_table(table, pa.Table.from_pylist([], schema=COLUMNS), with_other)
    _, job_id = submit(desk, company)
    assert case_of(desk, work(desk, job_id)).shadows.about == with_other


def records(table):
    return {record for record, _ in read_shadows(table).rows}


def left(desk):
    return {record.id for record in desk.corpus(desk.adapter("bot"), "train").records}


def test_whom_a_person_released_leaves_the_table_with_the_next_sweep(desk, adapter, company, table):
    request, job_id = submit(desk, company)
    claim = work(desk, job_id)
    desk.hold(claim, new_version(desk, claim), REFUSED)
    before = records(table)
    sweep(desk, desk.settings)
    assert records(table) == before  # nobody was erased yet
    desk.release_as_it_is(request.id, "agreed")
    sweep(desk, desk.settings)
    assert records(table) == left(desk) < before


def test_whom_a_worker_released_that_ended_right_then_leaves_it_while_nobody_works_on_the_adapter(
    desk, adapter, company, table
):
    claim = work(desk, submit(desk, company, 0)[1])
    desk.release(claim, new_version(desk, claim), REPORT)
    held = work(desk, submit(desk, company, 1)[1])
    before = records(table)
    sweep(desk, desk.settings)
    assert records(table) == before  # a worker is at work, and took them out for itself
    desk.hold(held, None, REFUSED)
    sweep(desk, desk.settings)
    assert records(table) == left(desk) < before


def test_a_table_that_nobody_left_is_read_once_by_who_sweeps_again_and_again(desk, adapter, company, table, caplog):
    claim = work(desk, submit(desk, company)[1])
    desk.release(claim, new_version(desk, claim), REPORT)
    sweeper = Sweeper(desk, desk.settings, 3600)
    sweeper.turn()
    clean = table.read_bytes()
    table.write_bytes(clean + b"-")  # no table any more
    sweeper.turn()
    assert "stays as it is" in caplog.text
    table.write_bytes(clean)
    sweeper.turn()
    caplog.clear()
    with desk.store.reading() as session:
        for kept in stored.of_version(session, adapter.id, 2):
            Path(kept.path).unlink()
    sweeper.turn()
    assert caplog.text == ""
    clear_shadows(desk, {})
    assert "stays as it is" in caplog.text
    assert table.read_bytes() == clean
