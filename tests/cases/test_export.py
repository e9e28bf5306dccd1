"""The desk's evidence on a real database: a bundle that verifies, the same twice; the register of a period."""

from __future__ import annotations

import hashlib
import html
import json
import re
from datetime import date, timedelta
from pathlib import Path

import pytest
from by_hand import REFUSED, REPORT, changed_version, keys, names, released, second_try, submit, told, work

from unlearn.cases.keyring import previous_key_file
from unlearn.cases.rights import HERE, OPERATOR, Actor
from unlearn.cases.views import Own, rfc3339
from unlearn.errors import BadInput, Conflict, NotAllowed, NotFound
from unlearn.evidence.anchored import Published
from unlearn.evidence.container import unpack
from unlearn.evidence.ledger import LedgerBroken, reason_digest
from unlearn.evidence.refusal import NotVerified
from unlearn.evidence.registered import verify_register
from unlearn.evidence.verify import verify

FOUND = tuple(REPORT["findings"])


def test_an_export_verifies_with_the_adapter_and_a_checkpoint_that_was_published(desk, adapter, company):
    before = desk.checkpoint()
    request, _ = released(desk, company)
    data = desk.export(request.id)
    path = Path(desk.adapter("bot").current.path)
    found = {check.name: check for check in verify(data, keys(desk), Published(before), adapter=path)}
    assert [name for name, check in found.items() if not check.made] == ["consistency", "witness", "word"]
    assert "of 2 entries, is older than what is to be shown: entries 3 to" in found["consistency"].said
    after = desk.checkpoint()
    with pytest.raises(NotVerified, match="is later than the bundle's"):
        names(data, desk, published=Published(after))
    old = unpack(data)["ledger/checkpoint.txt"].decode().split("\n")[1]
    proof = {old: [one.hex() for one in desk.consistency_proof(int(old), int(after.split("\n")[1]))]}
    assert "consistency" in names(data, desk, published=Published(after, proof))
    with pytest.raises(NotVerified, match="the one from before"):
        names(data, desk, adapter=Path(adapter.current.path))


def test_the_same_state_exports_the_same_bytes_whatever_else_happens_meanwhile(desk, adapter, company):
    request, _ = released(desk, company)
    first = desk.export(request.id)
    other, job_id = submit(desk, company, 1)
    desk.checkpoint()
    desk.hold(work(desk, job_id), None, REFUSED)
    desk.checkpoint()
    assert desk.export(request.id) == first
    assert desk.export(other.id) != first


def test_an_export_of_each_ending_verifies(desk, adapter, company):
    unknown = desk.submit("customer:nobody")
    held, job_id = submit(desk, company)
    desk.hold(work(desk, job_id), None, REFUSED)
    assert "story" in names(desk.export(unknown.id), desk)
    assert "story" in names(desk.export(held.id), desk)
    desk.extend(held.id, "many requests")
    desk.reject(held.id, "legal_claims", "a case in court")
    data = desk.export(held.id)
    assert "story" in names(data, desk)
    assert b"a case in court" in unpack(data)["certificate.html"]
    cancelled, _ = submit(desk, company, 1)
    desk.cancel(cancelled.id)
    assert "story" in names(desk.export(cancelled.id), desk)


def test_of_a_reason_the_ledger_has_an_hmac_that_nobody_can_make_once_its_subject_is_shredded(desk, adapter, company):
    request, _ = submit(desk, company)
    desk.extend(request.id, "many requests")
    desk.reject(request.id, "legal_claims", "a case in court")
    files = unpack(desk.export(request.id))
    nonces = json.loads(files["request.json"])["nonces"]
    entries = [json.loads(line) for line in files["ledger/entries.jsonl"].splitlines()]
    noted = {str(one["seq"]): one["facts"]["reason_hmac"] for one in entries if "reason_hmac" in one["facts"]}
    reasons = dict(zip(sorted(nonces, key=int), ("many requests", "a case in court"), strict=True))
    assert noted == {seq: reason_digest(reason, bytes.fromhex(nonces[seq])) for seq, reason in reasons.items()}
    assert len({*nonces.values()}) == 2
    assert desk.shred(HERE, request.subject_hash)
    again = desk.export(request.id)
    [story] = [check.said for check in verify(again, keys(desk)) if check.name == "story"]
    assert f"the reasons of entries {', '.join(reasons)} are not in the bundle" in story
    left = b"".join(unpack(again).values())
    assert not any(one.encode() in left for one in (*nonces.values(), *reasons.values()))


def test_a_bundle_of_a_second_try_released_by_a_person_verifies(desk, adapter, company, ticking):
    request, claim = second_try(desk, company)
    version = changed_version(desk, claim)
    desk.hold(claim, version, told(claim, version, verdict="refused"))
    desk.release_as_it_is(request.id, "agreed with the DPO")
    data = desk.export(request.id)
    assert "adapter" in names(data, desk, adapter=Path(version.path))
    assert b"and a person released it" in unpack(data)["certificate.html"]


def test_of_a_shared_job_each_bundle_tells_its_own_persons_verdict(desk, inputs, company, clock, ticking):
    desk.register_adapter("bot", **inputs, policy={"schedule": {"coalescing_seconds": 60}})
    first, job_id = submit(desk, company, 0)
    second, shared = submit(desk, company, 1)
    assert shared == job_id
    clock.forward(61)
    claim = work(desk, job_id)
    version = changed_version(desk, claim)
    failed = ({"gate": "membership", "outcome": "fail"},)
    own = {first.subject_hash: Own("released", FOUND), second.subject_hash: Own("refused", failed)}
    desk.release(claim, version, told(claim, version), own)
    assert (desk.request(first.id).state, desk.request(second.id).state) == ("completed", "needs_review")
    for request in (first, second):
        assert "story" in names(desk.export(request.id), desk)
    page = unpack(desk.export(second.id))["certificate.html"]
    assert b"refused by the tests for this person alone; others share the version" in page
    desk.release_as_it_is(second.id, "agreed with the DPO")
    data = desk.export(second.id)
    assert "story" in names(data, desk)
    assert b"and a person released it" in unpack(data)["certificate.html"]


def test_while_a_key_follows_another_every_export_verifies_under_either_and_then_under_the_new_one(
    desk, adapter, company, tmp_path
):
    request, _ = released(desk, company)
    first = desk.export(request.id)
    [old] = keys(desk)
    desk.rotate_ledger_key()
    new = keys(desk)[1]
    later, job_id = submit(desk, company, 1)
    desk.hold(work(desk, job_id), None, REFUSED)
    register = desk.export_register(None, None)
    path = tmp_path / "register.csv"
    path.write_bytes(register.file.read())
    statement = desk.register_statement(register.entry)
    again, held = desk.export(request.id), desk.export(later.id)
    for key in (old, new):
        assert all("key" in [one.name for one in verify(data, [key])] for data in (again, held))
        assert "entry" in [one.name for one in verify_register(path, statement, [key])]
    assert (desk.export(request.id), desk.export(later.id)) == (again, held)
    assert desk.register_statement(register.entry) == statement
    assert desk.entries(limit=1000)[-1].facts["signed_by"] == " ".join(
        key.public.text for key in reversed(desk.ledger_keys())
    )
    assert "key" in [one.name for one in verify(first, [old])]
    desk.retire_ledger_key(desk.ledger_keys()[0].public.key_id.hex())
    for request_id in (request.id, later.id):
        data = desk.export(request_id)
        assert "key" in [one.name for one in verify(data, [new])]
        assert "key" in names(data, desk)
        assert desk.export(request_id) == data
        with pytest.raises(NotVerified, match="under another key"):
            list(verify(data, [old]))
    assert all("key" in [one.name for one in verify(data, [key])] for data in (again, held) for key in (old, new))


def test_a_line_that_the_stored_checkpoint_lacks_is_added_to_the_ledgers_own_root_alone(
    desk, adapter, company, settings, monkeypatch
):
    request, _ = released(desk, company)
    desk.rotate_ledger_key()
    file = previous_key_file(settings)
    file.rename(settings.home / "away")
    own = desk.export(request.id)  # where the old key is not at hand
    (settings.home / "away").rename(file)
    [old, new] = keys(desk)
    assert "key" in [one.name for one in verify(own, [new])]
    with pytest.raises(NotVerified):
        list(verify(own, [old]))
    both = desk.export(request.id)
    assert all("key" in [one.name for one in verify(both, [key])] for key in (old, new))
    sizes = [unpack(data)["ledger/checkpoint.txt"].decode().split("\n")[1] for data in (own, both)]
    assert sizes[0] == sizes[1]
    monkeypatch.setattr("unlearn.cases.desk.exporting.ledger.root", lambda session, size: bytes(32))
    with pytest.raises(LedgerBroken, match="does not have the ledger's root"):
        desk.export(request.id)


def test_of_many_adapters_that_were_searched_the_bundle_has_the_list_whose_digest_the_ledger_has(
    desk, adapter, company, monkeypatch
):
    monkeypatch.setattr("unlearn.cases.planning.MOST_NAMED", 0)
    first, second = (desk.submit(f"customer:nobody-{i}") for i in range(2))
    for request in (first, second):
        data = desk.export(request.id)
        [told] = [one.said for one in verify(data, keys(desk)) if one.name == "statement"]
        assert "which adapters were searched" not in told
        listed = unpack(data)["searched.json"]
        assert json.loads(listed) == [{"adapter": adapter.id, "sha256": adapter.current.sha256, "version": 1}]
        entries = [json.loads(line) for line in unpack(data)["ledger/entries.jsonl"].splitlines()]
        [entry] = [one for one in entries if one["action"] == "request_completed"]
        assert entry["facts"]["adapters_versions_sha256"] == hashlib.sha256(listed).hexdigest()
    again, _ = released(desk, company)
    desk.submit(company.people[0])  # the adapter serves another version now, and the first list is still the first's
    assert unpack(desk.export(first.id))["searched.json"] == listed
    assert unpack(desk.export(again.id))["searched.json"] != listed


def test_an_open_request_is_not_exported_and_nobody_elses_is_found(desk, adapter, company):
    request, _ = submit(desk, company)
    with pytest.raises(Conflict, match="pending"):
        desk.export(request.id)
    with pytest.raises(NotFound):
        desk.export(request.id, Actor("key:x", "ctl_other", frozenset({"audit"})))
    with pytest.raises(NotAllowed):
        desk.export(request.id, Actor("key:x", HERE, frozenset({"requests:read"})))


def test_no_identity_and_no_hash_of_one_is_in_a_bundle(desk, adapter, company):
    request, _ = released(desk, company)
    subject = company.people[0]
    files = unpack(desk.export(request.id))
    held = b"".join(files.values())
    assert subject.encode() not in held
    assert subject.split(":")[1].encode() not in held
    assert request.subject_hash.encode() not in held
    first = json.loads(files["ledger/entries.jsonl"].splitlines()[0])
    pseudonym = json.loads(files["request.json"])["subject"]
    assert pseudonym in json.dumps(first) or first["action"].startswith("ledger_")
    assert desk.shred(HERE, request.subject_hash)
    again = desk.export(request.id)
    assert list(verify(again, keys(desk)))
    assert unpack(again)["ledger/entries.jsonl"] == files["ledger/entries.jsonl"]
    assert b"r-0000-00" in held  # the client's ids of what was taken out, which a shredded case has no more
    assert b"r-0000-00" not in b"".join(unpack(again).values())


def test_the_certificate_of_a_release_says_of_the_data_no_more_than_the_ledger_does(desk, adapter, company):
    request, _ = released(desk, company)
    page = unpack(desk.export(request.id))["certificate.html"].decode()
    text = html.unescape(re.sub(r"<[^>]*>", " ", page))
    assert not re.search("erased|anonym", text, re.IGNORECASE)
    assert "records of the train corpus taken out:" in text
    assert "weights and stored train corpus and stored holdout corpus: kept until" in text
    assert "default (ctl_default)" in text


def test_the_ledger_says_whose_request_it_is_and_when_it_was_completed(desk, adapter, company):
    request, _ = released(desk, company)
    told = {entry.action: entry.facts for entry in desk.entries(limit=1000)}
    assert told["request_accepted"]["controller"] == HERE
    assert told["job_planned"]["adapter_name"] == "bot"
    assert told["request_completed"]["completed_at"] == rfc3339(request.completed_at)


def test_a_fast_clock_is_warned_of_and_the_bundles_behind_it_verify(desk, adapter, company, clock, caplog):
    clock.forward(3600)
    desk.submit("customer:somebody")
    clock.forward(-3600)
    request, _ = released(desk, company)
    assert "3600 seconds ahead of this clock" in caplog.text
    assert "story" in names(desk.export(request.id), desk)
    rejected, _ = submit(desk, company, 1)
    desk.extend(rejected.id, "many requests")
    desk.reject(rejected.id, "legal_claims", "a case in court")
    assert "story" in names(desk.export(rejected.id), desk)


def test_the_ledger_says_who_took_an_export_and_what_was_in_it(desk, adapter):
    request = desk.submit("customer:nobody")
    data = desk.export(request.id)
    last = desk.entries(limit=1000)[-1]
    assert last.action == "export_made"
    assert last.facts["sha256"] == hashlib.sha256(data).hexdigest()
    assert last.facts["signed_by"] == desk.ledger_keys()[0].public.text


def test_the_register_has_a_row_a_request_of_the_period_in_their_order(desk, adapter, company, clock, monkeypatch):
    monkeypatch.setattr("unlearn.cases.desk.registers.PAGE", 2)
    ids = []
    for day in range(5):
        ids.append(desk.submit(f"customer:nobody-{day}", received_at=clock.now - timedelta(days=1)).id)
        clock.forward(24 * 3600)
    request, job_id = submit(desk, company)
    desk.hold(work(desk, job_id), None, REFUSED)
    rows = list(desk.register(date(2026, 2, 28), date(2026, 3, 3)))
    assert [row["request"] for row in rows] == ids[:4]
    assert (rows[0]["state"], rows[0]["days"], rows[0]["late"]) == ("completed", 1.0, False)
    everything = list(desk.register(None, clock.now.date()))
    assert [row["request"] for row in everything] == [*ids, request.id]
    last = everything[-1]
    assert (last["adapters"], last["methods"], last["verdicts"]) == (["bot"], ["ascent"], ["refused"])
    assert last["subject"] not in (None, request.subject_hash)
    assert [row["request"] for row in desk.register(None, None, "bot")] == [request.id]


def test_an_exported_register_verifies_with_its_statement_and_the_ledger_says_who_took_it(
    desk, adapter, company, tmp_path
):
    published = desk.checkpoint()
    request, _ = released(desk, company)
    made = desk.export_register(None, None, "bot")
    path = tmp_path / "register.csv"
    path.write_bytes(made.file.read())
    assert (path.stat().st_size, request.id in path.read_text()) == (made.size_bytes, True)
    entry = desk.entries(limit=1000)[-1]
    assert (entry.seq, entry.action, entry.facts["by"]) == (made.entry, "register_made", "operator")
    assert entry.facts["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (entry.facts["rows"], entry.facts["adapter"], entry.facts["adapter_name"]) == (1, adapter.id, "bot")
    assert entry.facts["signed_by"] == desk.ledger_keys()[0].public.text
    statement = desk.register_statement(made.entry)
    own = desk.covering_checkpoint(made.entry)
    for note, unknown in ((published, ["consistency", "witness", "word"]), (own, ["witness", "word"])):
        told = verify_register(path, statement, keys(desk), Published(note))
        assert [check.name for check in told if not check.made] == unknown
    assert not any(word.encode() in statement for word in (company.people[0], request.subject_hash))
    again = desk.export_register(None, None, "bot")
    assert (again.file.read(), again.entry > made.entry) == (path.read_bytes(), True)
    desk.checkpoint()
    assert desk.register_statement(made.entry) == statement
    with pytest.raises(NotVerified, match="another"):
        list(
            verify_register(
                path, desk.register_statement(desk.export_register(None, None, form="jsonl").entry), keys(desk)
            )
        )


def test_a_statement_is_for_the_company_whose_register_it_is(desk, adapter):
    made = desk.export_register(None, None)
    other = Actor("key:x", "ctl_other", frozenset({"audit"}))
    for seq, by in ((made.entry, other), (1, OPERATOR), (made.entry + 1, OPERATOR)):
        with pytest.raises(NotFound, match="no register has this id"):
            desk.register_statement(seq, by)
    with pytest.raises(NotAllowed):
        desk.register_statement(made.entry, Actor("key:x", HERE, frozenset({"requests:read"})))
    own = Actor("key:x", HERE, frozenset({"audit"}))
    assert desk.entries(made.entry - 1, 1, own)[0].action == "register_made"
    assert desk.entries(made.entry - 1, 1, other)[0].action is None


def test_a_register_that_can_not_be_says_why(desk, adapter):
    for since, until in ((date(2026, 3, 2), date(2026, 3, 1)), (date(1990, 1, 1), date(2026, 1, 1))):
        with pytest.raises(BadInput, match="two days in order"):
            desk.register(since, until)
    for until in (date.min, date.max):
        with pytest.raises(BadInput, match="can't end on"):
            desk.register(None, until)
    with pytest.raises(NotFound, match="no adapter"):
        desk.register(None, None, "nobody")
    with pytest.raises(NotAllowed):
        desk.register(None, None, by=Actor("key:x", HERE, frozenset({"requests:read"})))
    assert list(desk.register(None, None, by=Actor("key:x", "ctl_other", frozenset({"audit"})))) == []
