"""Whoever is named in the holdout alone: no weight knows them, and the corpora that the service keeps forget them."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from by_hand import actions, names, release, work

from company import noted
from unlearn.cases.data_tables import StoredCorpus
from unlearn.cases.store.ledger import entries_about
from unlearn.erasure.shadow_table import read_shadows
from unlearn.errors import ErasedRecords, LeaseLost
from unlearn.fulfilment import _case, fulfil
from unlearn.purging import sweep
from unlearn.shadow_file import COLUMNS, write_table
from unlearn.storage import Loan

pytestmark = pytest.mark.usefixtures("ticking")


@pytest.fixture
def hanna(company):
    """Named in the holdout alone."""
    return sorted(company.holdout.subjects - company.train.subjects)[0]


@pytest.fixture
def learned(company):
    return sorted(company.train.subjects)


def fulfilled(desk, subject):
    """The whole way, through a worker."""
    request = desk.submit(subject)
    for job in request.jobs:
        fulfil(job.id, desk=desk, settings=desk.settings, owner="w1")
        assert desk.job(job.id).error is None
    return desk.request(request.id)


def clear(desk, job_id):
    """What the worker asks of the desk, without MLflow."""
    claim = work(desk, job_id)
    desk.nothing_left(claim, frozenset(map(desk._hash, desk.corpus(claim.adapter, "train").subjects)))


def forget(desk, subject):
    request = desk.submit(subject)
    clear(desk, request.jobs[0].id)
    return desk.request(request.id)


def subjects(desk, kind="holdout"):
    return desk.corpus(desk.adapter("bot"), kind).subjects


def own(company, subject):
    return [record for record in company.holdout.records if subject in record.subjects]


def test_a_person_of_the_holdout_alone_leaves_the_corpora_and_no_weight_changes(desk, adapter, company, hanna):
    before = {kind: desk.corpus(adapter, kind) for kind in ("train", "holdout")}
    assert [(one.adapter, one.records, one.erased_at) for one in desk.preview(hanna)] == [("bot", 0, None)]
    request = fulfilled(desk, hanna)
    assert (request.state, request.jobs[0].records, request.jobs[0].verdict) == ("completed", 0, None)
    after = desk.adapter("bot")
    assert (after.current.number, after.current.sha256) == (1, adapter.current.sha256)
    assert desk.corpus(after, "holdout").records == tuple(
        record for record in before["holdout"].records if hanna not in record.subjects
    )
    assert desk.corpus(after, "train").sha256 == before["train"].sha256
    assert desk.job(request.jobs[0].id).erased == {"train": [], "holdout": [one.id for one in own(company, hanna)]}
    assert desk.submit(hanna).state == "completed"
    with desk.store.reading() as session:
        told = {entry.action: entry.facts for entry in entries_about(session, request.id)}
    assert told["data_erased"]["holdout_records_erased"] == len(own(company, hanna))
    assert told["request_completed"]["adapters_that_learned"] == 0


def test_its_evidence_says_what_left_the_corpora_and_verifies(desk, adapter, hanna):
    request = forget(desk, hanna)
    data = desk.export(request.id)
    assert "story" in names(data, desk)
    assert b"holdout_records_erased" in data


def test_what_was_replaced_is_purged_after_the_grace_and_nobody_reads_it_until_then(desk, adapter, clock, hanna):
    request = forget(desk, hanna)
    with desk.store.reading() as session:
        old = [Path(session.get(StoredCorpus, (adapter.id, 1, 1, kind)).path) for kind in ("train", "holdout")]
        new = [Path(session.get(StoredCorpus, (adapter.id, 1, 2, kind)).path) for kind in ("train", "holdout")]
    assert all(path.exists() for path in (*old, *new))
    clock.now += timedelta(days=31)
    sweep(desk, desk.settings)
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in new)
    with desk.store.reading() as session:
        assert "corpus_purged" in [entry.action for entry in entries_about(session, request.id)]


def test_her_rows_of_the_shadow_table_go_too_and_it_serves_the_holdout_that_is_left(
    desk, adapter, company, hanna, learned
):
    row = {"place": 0, "fold": 0, "log_probs": [-1.0], "top_tokens": [3], "top_log_probs": [-0.5], "scores": []}
    rows = [row | {"record": record.id} for record in (*company.train.records, *company.holdout.records)]
    path = Path(desk.vault.place(adapter.id, "shadows.parquet"))
    about = noted(train_sha256=adapter.train_sha256, holdout_sha256=adapter.holdout_sha256)
    write_table(path, pa.Table.from_pylist(rows, schema=COLUMNS), about)
    fulfilled(desk, hanna)
    left = {record for record, _ in read_shadows(path).rows}
    assert left.isdisjoint(one.id for one in own(company, hanna))
    assert len(left) == len(rows) - len(own(company, hanna))
    with Loan(desk.settings) as loan:
        case = _case(desk, work(desk, desk.submit(learned[0]).jobs[0].id), desk.settings, loan)
    assert case.shadows.about["holdout_sha256"] == case.holdout.sha256 != adapter.holdout_sha256


def test_later_releases_keep_her_out_and_a_rollback_to_the_version_she_left_asks_nobody(desk, adapter, hanna, learned):
    request = forget(desk, hanna)
    release(desk, work(desk, desk.submit(learned[0]).jobs[0].id))
    assert not {hanna, learned[0]} & (subjects(desk) | subjects(desk, "train"))
    desk.roll_back("bot", 1, reopen=True)
    assert desk.request(request.id).state == "completed"
    assert hanna not in subjects(desk)
    assert learned[0] in subjects(desk, "train")


def test_a_rollback_to_a_version_whose_corpora_have_her_opens_her_request(desk, adapter, hanna, learned):
    release(desk, work(desk, desk.submit(learned[0]).jobs[0].id))
    request = forget(desk, hanna)
    desk.roll_back("bot", 1, reopen=True)
    opened = {one.id: one for one in desk.requests() if one.state == "pending"}
    again = opened.pop(request.id)
    assert hanna in subjects(desk)
    for other in opened:
        desk.cancel(other)
    clear(desk, again.jobs[-1].id)
    assert desk.request(request.id).state == "completed"
    assert hanna not in subjects(desk)


def test_who_lost_every_train_record_with_somebody_else_loses_those_of_the_holdout_as_well(
    desk, settings, inputs, company, hanna, learned
):
    lines = []
    for line in Path(inputs["train"]).read_text().splitlines():
        record = json.loads(line)
        record["subjects"] += [hanna] if record["subjects"] == [learned[0]] else []
        lines.append(json.dumps(record))
    train = settings.home / "inputs" / "shared.jsonl"
    train.parent.mkdir(parents=True, exist_ok=True)
    train.write_text("\n".join(lines) + "\n")
    desk.register_adapter("bot", **(inputs | {"train": str(train)}))
    release(desk, work(desk, desk.submit(learned[0]).jobs[0].id))
    assert hanna in subjects(desk)
    assert hanna not in subjects(desk, "train")
    assert fulfilled(desk, hanna).state == "completed"
    assert desk.adapter("bot").current.number == 2
    assert hanna not in subjects(desk)


def test_a_job_that_only_rewrites_corpora_is_shared_with_nobody(desk, inputs, hanna, learned):
    desk.register_adapter("bot", **inputs, policy={"schedule": {"coalescing_seconds": 60}})
    alone, gathers, joins = (desk.submit(one).jobs[0].id for one in (hanna, *learned[:2]))
    assert gathers == joins != alone
    assert desk.claim(alone, "w1") is not None


def test_a_lost_lease_changes_no_corpus_and_leaves_no_file(desk, adapter, clock, hanna):
    claim = work(desk, desk.submit(hanna).jobs[0].id)
    clock.forward(91)
    desk.sweep()
    before = sorted((desk.settings.home / "adapters").glob("*/corpora/*"))
    with pytest.raises(LeaseLost):
        desk.nothing_left(claim, claim.subject_hashes)
    assert sorted((desk.settings.home / "adapters").glob("*/corpora/*")) == before
    assert hanna in subjects(desk)
    assert "data_erased" not in actions(desk)


def test_her_records_do_not_come_back_with_another_registration(desk, adapter, inputs, hanna):
    forget(desk, hanna)
    with pytest.raises(ErasedRecords):
        desk.register_adapter("bot-2", **inputs)
