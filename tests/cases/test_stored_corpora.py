"""The corpora that the service keeps: sealed, renewed by each release, in quarantine with their version."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from by_hand import REFUSED, REPORT, new_version, release, released, submit, work

from unlearn.cases.data_tables import StoredCorpus
from unlearn.cases.store import corpora as stored
from unlearn.cases.store.ledger import entries_about
from unlearn.corpus.jsonl import parse_corpus, read_corpus, without, write_corpus
from unlearn.corpus.records import Record
from unlearn.errors import Conflict, CorpusError


def subjects_of(desk, kind="train"):
    return desk.corpus(desk.adapter("bot"), kind).subjects


def files(desk):
    return sorted((desk.settings.home / "adapters").glob("*/corpora/*"))


def test_registering_keeps_both_corpora_as_they_are_and_none_in_the_clear(desk, adapter, company):
    for kind in ("train", "holdout"):
        kept, given = desk.corpus(adapter, kind), read_corpus(company.path / f"{kind}.jsonl")
        assert (kept.records, kept.sha256) == (given.records, given.sha256)
    assert [(c.kind, c.records) for c in adapter.current.corpora] == [
        ("train", adapter.train_records),
        ("holdout", adapter.holdout_records),
    ]
    assert len(files(desk)) == 2
    for file in files(desk):
        held = file.read_bytes()
        assert file.stat().st_mode & 0o777 == 0o600
        assert not any(r.content.encode() in held for r in (*company.world.train, *company.world.holdout))


def test_the_client_s_own_files_may_change_or_go_without_harm(desk, inputs, company, tmp_path):
    place = tmp_path / "home" / "inputs"
    place.mkdir(parents=True)
    for kind in ("train", "holdout"):
        shutil.copy(inputs[kind], place / f"{kind}.jsonl")
        inputs[kind] = str(place / f"{kind}.jsonl")
    adapter = desk.register_adapter("bot", **inputs)
    shutil.rmtree(place)
    assert desk.corpus(adapter, "train").records == company.train.records
    released(desk, company)


def test_a_release_erases_the_person_and_nobody_else(desk, adapter, company):
    before = {kind: desk.corpus(adapter, kind) for kind in ("train", "holdout")}
    _, claim = released(desk, company)
    gone = company.people[0]
    after = desk.adapter("bot")
    assert after.current.number == 2
    for kind, old in before.items():
        new = desk.corpus(after, kind)
        assert new.records == tuple(r for r in old.records if gone not in r.subjects)
    assert gone not in subjects_of(desk)
    assert desk.corpus(adapter, "train").sha256 == before["train"].sha256  # of the version before
    old, new = after.versions
    assert (old.quarantined_at, new.quarantined_at) == (desk._clock(), None)
    assert (old.purge_after - old.quarantined_at).days == 30
    # The source is the client's to mend: the job says which records.
    erased = desk.job(claim.job_id).erased
    assert erased["train"] == [r.id for r in company.world.train if gone in r.subjects]
    assert company.train.sha256 == adapter.train_sha256


def test_the_ledger_says_how_many_records_went_by_digests_and_without_a_word_of_them(desk, adapter, company):
    request, _ = released(desk, company)
    with desk.store.reading() as session:
        [entry] = [e for e in entries_about(session, request.id) if e.action == "data_erased"]
    gone = [r for r in company.world.train if company.people[0] in r.subjects]
    facts = entry.facts
    assert facts["train_records_erased"] == len(gone) <= facts["fingerprints"]
    assert facts["train_records_left"] == len(company.world.train) - len(gone)
    assert facts["train_before_sha256"] == adapter.train_sha256
    assert facts["train_after_sha256"] == desk.adapter("bot").current.corpora[0].sha256
    assert not any(record.id in str(entry.facts) or record.content in str(entry.facts) for record in gone)


def test_a_release_that_is_lost_leaves_no_corpus_behind(desk, adapter, company, clock):
    _, job_id = submit(desk, company)
    late = work(desk, job_id)
    version = new_version(desk, late)
    clock.forward(91)
    desk.sweep()
    before = files(desk)
    with pytest.raises(Exception, match="does not hold"):
        desk.release(late, version, REPORT)
    assert files(desk) == before


def test_a_candidate_that_a_person_releases_erases_as_well(desk, adapter, company):
    request, job_id = submit(desk, company)
    claim = work(desk, job_id)
    desk.hold(claim, new_version(desk, claim), REFUSED)
    before = files(desk)
    with pytest.raises(Exception, match="reason"):
        desk.release_as_it_is(request.id, " ")
    assert files(desk) == before
    assert desk.release_as_it_is(request.id, "good enough").state == "completed"
    assert company.people[0] not in subjects_of(desk)
    assert desk.adapter("bot").versions[0].quarantined_at is not None
    assert desk.job(job_id).erased["train"]


def test_a_rollback_takes_the_corpora_back_and_the_next_release_erases_again(desk, adapter, company):
    released(desk, company)
    released(desk, company, 1)
    back = desk.roll_back("bot", 1, reopen=True)
    assert [v.quarantined_at is None for v in back.versions] == [True, False, False]
    assert subjects_of(desk) == company.train.subjects
    jobs = {job.id for request in desk.requests() for job in request.jobs if job.state == "queued"}
    for job_id in sorted(jobs, key=lambda id_: desk.job(id_).created_at):
        claim = desk.claim(job_id, "w")
        if claim is not None:
            desk.release(claim, new_version(desk, claim), REPORT)
    assert desk.adapter("bot").current.number >= 4
    first = desk.adapter("bot").versions[3]
    assert {c.kind for c in first.corpora} == {"train", "holdout"}


def test_whoever_was_erased_first_stays_out_of_later_corpora(desk, adapter, company):
    released(desk, company, 0)
    released(desk, company, 1)
    gone = set(company.people[:2])
    assert not gone & subjects_of(desk)


def test_who_has_no_record_left_beside_them_leaves_an_empty_corpus(desk, inputs, company, tmp_path):
    place = tmp_path / "home" / "inputs"
    only = company.world.train[0].subjects[0]
    write_corpus(place / "train.jsonl", [r for r in company.world.train if r.subjects == (only,)])
    desk.register_adapter("bot", **(inputs | {"train": str(place / "train.jsonl")}))
    request = desk.submit(only)
    release(desk, work(desk, request.jobs[0].id))
    assert desk.adapter("bot").current.corpora[0].records == 0
    with pytest.raises(CorpusError, match="holds no record"):
        desk.corpus(desk.adapter("bot"), "train")


@pytest.mark.parametrize("damage", [lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b[:5], lambda b: b""])
def test_a_stored_corpus_that_somebody_changed_is_told_of_and_changes_nothing(desk, adapter, company, damage):
    file = next(file for file in files(desk) if file.name.startswith("train"))
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    _, job_id = submit(desk, company)
    claim = work(desk, job_id)
    with pytest.raises(CorpusError, match="was changed"):
        desk.corpus(claim.adapter, "train")
    with pytest.raises(CorpusError, match="was changed"):
        desk.release(claim, new_version(desk, claim), REPORT)
    assert desk.adapter("bot").current.number == 1
    file.unlink()
    with pytest.raises(CorpusError, match="can't be read"):
        desk.corpus(claim.adapter, "train")


def test_a_corpus_of_one_version_does_not_open_as_another_s(desk, adapter, company):
    released(desk, company)
    with desk.store.writing() as session:
        old, new = (session.get(StoredCorpus, (adapter.id, number, 1, "train")) for number in (1, 2))
        new.path, new.sealed_key = old.path, old.sealed_key
    with pytest.raises(Exception, match=r"can't be opened|was changed"):
        desk.corpus(desk.adapter("bot"), "train")


def test_an_adapter_from_before_corpora_were_kept_is_erased_from_the_client_s_file(desk, adapter, company):
    with desk.store.writing() as session:
        for row in stored.rows(session, adapter.id, 1):
            session.delete(row)
    assert desk.corpus(adapter, "train").sha256 == adapter.train_sha256
    released(desk, company)
    assert company.people[0] not in subjects_of(desk)
    assert {c.kind for c in desk.adapter("bot").current.corpora} == {"train", "holdout"}


def test_a_retired_adapter_s_last_version_is_in_quarantine_too(desk, adapter):
    assert desk.retire("bot").current.quarantined_at is not None


def test_a_purging_version_can_not_be_rolled_back_to(desk, adapter, company, clock):
    released(desk, company)
    clock.forward(31 * 86400)
    [purge] = [p for p in desk.due_purges() if p.number is not None]
    assert desk.begin_purge(purge)
    with pytest.raises(Conflict, match=r"version 1 .* is purged"):
        desk.roll_back("bot", 1, reopen=True)
    assert desk.adapter("bot").current.number == 2


def test_lines_that_stay_are_kept_to_the_byte():
    lines = [
        b'{"id": "a", "subjects": ["x"], "text": "one", "extra":  1}\r\n',
        b"\n",
        b'{"id": "b", "subjects": ["y"], "text": "two"}\n',
        b'{"id": "c", "subjects": [], "text": "three"}',
    ]
    rest, stay, went = without(b"".join(lines), lambda r: "y" in r.subjects)
    assert rest == lines[0] + lines[1] + lines[3]
    assert [record.id for record in stay] == ["a", "c"]
    assert went == (Record("b", ("y",), text="two"),)
    assert parse_corpus(rest, Path("x")).sha256 == hashlib.sha256(rest).hexdigest()
