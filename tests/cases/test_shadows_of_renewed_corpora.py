"""A shadow table outlives the corpora it was made for: it serves what is left of them, and keeps nobody who left."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from by_hand import REPORT, new_version, submit, work

from company import noted
from unlearn.erasure.shadow_table import COLUMNS, read_shadows, write_table
from unlearn.fulfilment import _case
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
