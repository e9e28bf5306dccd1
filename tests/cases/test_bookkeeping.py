"""The desk's ledger: checkpoints and proofs, who reads what, keys that follow each other, subjects that come loose."""

from __future__ import annotations

import base64
import json
import sys
from contextlib import closing
from datetime import UTC, datetime

import pytest
from by_hand import fill, work
from drill import finish
from sqlalchemy import event, select, text

from crowd import at_once
from unlearn.cases.data_tables import ErasedFingerprint
from unlearn.cases.desk import Desk
from unlearn.cases.rights import HERE, Actor
from unlearn.cases.store import ledger, salts
from unlearn.cases.tables import AdapterSubject, Errand, Job, Request
from unlearn.cases.views import rfc3339
from unlearn.errors import BadInput, Conflict, NotAllowed, NotFound
from unlearn.evidence.checkpoint import NoteBroken, claimed, open_note
from unlearn.evidence.ledger import entry_leaf
from unlearn.evidence.merkle import check_consistency, check_inclusion, leaf_hash, root
from unlearn.evidence.signing import LedgerKeyError, signer_of
from unlearn.settings import Settings


def public_keys(desk):
    return [key.public for key in desk.ledger_keys()]


def named(session, controller, subject_hash):
    return salts.pseudonyms(session, [(controller, subject_hash)])[controller, subject_hash]


def test_a_checkpoint_is_signed_stored_and_the_same_until_the_ledger_grows(desk):
    first = desk.checkpoint()
    assert desk.checkpoint() == first
    point = claimed(first)
    assert (point.size, point.origin) == (1, public_keys(desk)[0].name)
    assert open_note(first, public_keys(desk))[1] == [point.origin]
    fill(desk, 3)
    assert claimed(desk.checkpoint()).size == 4
    assert desk.inspect_ledger().entries == 4


def test_every_entry_is_proven_in_every_checkpoint_and_every_one_goes_on_from_those_before(desk):
    points = []
    for more in (1, 1, 2, 5, 9, 1):
        fill(desk, more)
        points.append(claimed(desk.checkpoint()))
    leaves = [leaf_hash(entry_leaf(e.seq, e.at, e.action, e.facts)) for e in desk.entries(limit=100)]
    for point in points:
        assert point.root == root(leaves[: point.size])
        for seq in range(1, point.size + 1):
            path = desk.inclusion_proof(seq, point.size)
            check_inclusion(seq - 1, point.size, leaves[seq - 1], path, point.root)
        for old in points[: points.index(point) + 1]:
            path = desk.consistency_proof(old.size, point.size)
            check_consistency(old.size, point.size, old.root, point.root, path)


def test_the_oldest_checkpoint_that_covers_is_given_again_and_again(desk):
    fill(desk, 3)
    first = desk.covering_checkpoint(2)
    fill(desk, 3)
    desk.checkpoint()
    assert desk.covering_checkpoint(2) == desk.covering_checkpoint(4) == first
    assert claimed(desk.covering_checkpoint(5)).size == 7
    with desk.store.writing() as session:
        ledger.append(session, datetime(2026, 3, 1, tzinfo=UTC), "export_made", {"request": "req_1"})
        inside = desk.covering_checkpoint(8, session)
    assert claimed(inside).size == 8
    assert desk.covering_checkpoint(8) == inside
    with pytest.raises(BadInput, match="has 8 entries, not 9"):
        desk.covering_checkpoint(9)


def test_a_proof_of_what_is_not_there_is_refused(desk):
    fill(desk, 2)
    for ask in (desk.inclusion_proof, desk.consistency_proof):
        with pytest.raises(BadInput, match="the ledger has 2 entries"):
            ask(1, 3)
        with pytest.raises(BadInput, match="no proof from 2 to 1"):
            ask(2, 1)


def test_writers_and_readers_at_once_keep_one_ledger_and_one_checkpoint_a_size(desk, settings, clock):
    def one(_):
        with closing(Desk(settings, clock)) as own:
            for _ in range(5):
                fill(own, 3)
                own.checkpoint()

    at_once(one, 6)
    assert desk.inspect_ledger().entries == 6 * 5 * 3 + 1
    assert len(desk.ledger_keys()) == 1


@pytest.mark.parametrize("table", ["ledger", "ledger_nodes", "checkpoints"])
@pytest.mark.parametrize("change", ["UPDATE {} SET {}", "DELETE FROM {}"])
def test_no_row_of_the_ledger_changes_or_goes(desk, table, change):
    fill(desk, 2)
    desk.checkpoint()
    column = {"ledger": "at = 'x'", "ledger_nodes": "level = 9", "checkpoints": "note = 'x'"}[table]
    with pytest.raises(Exception, match="append-only"), desk.store.writing() as session:
        session.execute(text(change.format(table, column)))
    assert desk.inspect_ledger().entries == 3


def test_a_key_reads_what_is_its_companys_and_of_all_else_the_hash(desk, adapter, company):
    made, _ = desk.create_key("other", ["audit", "requests:write"], controller="Other Ltd")
    other = desk.authenticate(_)
    desk.submit(company.subject)
    desk.submit("customer:nobody", by=other)
    desk.checkpoint()
    own = Actor("key:x", HERE, frozenset({"audit"}))
    seen, mine, whole = desk.entries(by=other), desk.entries(by=own), desk.entries()
    assert [e.hash for e in seen] == [e.hash for e in mine] == [e.hash for e in whole]
    assert [e.action for e in whole if e.seq in {s.seq for s in seen if s.action}] == [
        "key_created",
        "request_accepted",
        "request_completed",
        "ledger_key_added",
    ]
    assert all(e.facts is None and e.at is None for e in seen if e.action is None)
    told = json.dumps([e.facts for e in seen])
    assert adapter.id not in told
    assert "bot" not in told
    assert {e.seq for e in seen if e.action} & {e.seq for e in mine if e.action} == {whole[-1].seq}
    assert made.id in told
    with pytest.raises(NotAllowed):
        desk.entries(by=Actor("key:y", HERE, frozenset({"review"})))


def test_the_ledger_names_no_subject_once_its_salt_is_destroyed(desk, adapter, company):
    request = desk.submit(company.subject)
    with desk.store.reading() as session:
        name = salts.known_pseudonym(session, HERE, request.subject_hash)
    held = [e for e in desk.entries() if e.action == "request_accepted"]
    assert held[0].facts["subject"] == name
    assert request.subject_hash not in json.dumps([e.facts for e in desk.entries()])
    assert desk.shred(HERE, request.subject_hash)
    assert not desk.shred(HERE, request.subject_hash)
    with desk.store.reading() as session:
        assert salts.known_pseudonym(session, HERE, request.subject_hash) is None
    assert desk.inspect_ledger().entries
    assert [e for e in desk.entries() if e.action == "request_accepted"] == held
    told = desk.request(request.id)
    assert told.subject_hash != request.subject_hash
    with desk.store.writing() as session:  # should he ask again, he is somebody else
        assert named(session, HERE, request.subject_hash) != name


@pytest.mark.usefixtures("ticking")
def test_nothing_leads_back_from_a_shredded_subject_or_to_her(desk, adapter, people, clock):
    desk.add_endpoint("https://hooks.example/all")
    request = desk.submit(people[0], external_id="cust-ADA-0001", callback_urls=("https://back.example/ada",))
    other = desk.submit(people[1])
    finish(desk, work(desk, request.jobs[0].id))
    desk.keep_journal()
    moments = {e.at for e in desk.entries()}
    with desk.store.reading() as session:
        [salt] = [row.salt for row in salts.every(session) if row.subject_hash == request.subject_hash]
        prints = len(session.scalars(select(ErasedFingerprint.id)).all())
    assert prints
    desk.shred(HERE, request.subject_hash)
    desk.keep_journal()
    desk.settle()
    with desk.store.reading() as session:
        [erased_at] = session.scalars(
            select(AdapterSubject.erased_at).where(AdapterSubject.subject_hash == request.subject_hash)
        )
        kept = session.scalars(select(ErasedFingerprint)).all()
        assert erased_at is not None
        assert (erased_at.hour, erased_at.minute, erased_at.second, erased_at.microsecond) == (0, 0, 0, 0)
        assert {rfc3339(moment) for moment in (erased_at, *(one.created_at for one in kept))}.isdisjoint(moments)
        assert ([one.job_id for one in kept], len(kept)) == ([None] * prints, prints)
        assert session.get_one(Job, request.jobs[0].id).erased is None
        row = session.get_one(Request, request.id)
        assert (row.external_id, row.callback_urls) == (None, None)
        told = json.dumps(session.scalars(select(Errand.payload)).all())
        assert '"request_status": "completed"' in told
        assert "cust-ADA-0001" not in told
        assert "back.example" not in told
        assert session.get_one(Request, other.id).subject_hash == other.subject_hash
    if desk.store.engine.dialect.name == "sqlite":
        for file in desk.settings.home.glob("unlearn.db*"):
            assert salt not in file.read_bytes(), file
    written = desk.settings.effective_journal.read_text()
    assert salt.hex() not in written
    assert request.subject_hash not in written
    assert "cust-ADA-0001" not in written
    first, *others = written.splitlines()
    assert '"prints"' in first
    assert not any('"prints"' in line for line in others)


@pytest.mark.usefixtures("ticking")
def test_what_nobody_was_told_yet_of_a_shredded_subject_ends_and_is_told_to_nobody(desk, adapter, people):
    request, other = desk.submit(people[0], callback_urls=("https://back.example/ada",)), desk.submit(people[1])
    desk.add_endpoint("https://hooks.example/all")
    finish(desk, work(desk, request.jobs[0].id))
    desk.cancel(other.id)
    task = desk.take_errand()
    while task.kind != "opendsr":
        desk.errand_done(task)
        task = desk.take_errand()
    desk.shred(HERE, request.subject_hash)
    desk.errand_failed(task, "nobody answers")  # it was under way
    messages = desk.messages(about=request.id)
    assert {message.state for message in messages} <= {"overtaken", "done"}
    assert [message.state for message in messages if message.id == task.id] == ["overtaken"]
    assert all(message.ended_at is not None for message in messages)
    assert "waiting" in {message.state for message in desk.messages(about=other.id)}
    with pytest.raises(Conflict, match="forgotten"):
        desk.replay(task.id)


def test_a_log_that_is_read_is_emptied_later(desk):
    if desk.store.engine.dialect.name != "sqlite":
        pytest.skip("SQLite's log")
    with desk.store.reading() as session:
        session.execute(text("SELECT count(*) FROM ledger"))
        desk.create_key("a", ["audit"])
        assert not desk.store.settle()
    assert desk.store.settle()
    assert (desk.settings.home / "unlearn.db-wal").stat().st_size == 0


def test_entries_do_not_go_back_in_time_when_a_clock_does(desk, clock):
    desk.create_key("a", ["audit"])
    clock.forward(-3600)
    desk.create_key("b", ["audit"])
    clock.forward(3601)
    desk.create_key("c", ["audit"])
    times = [entry.at for entry in desk.entries()]
    assert times == sorted(times)
    assert len(set(times[-3:])) == 2


def test_one_subject_has_one_name_and_another_with_each_company(desk):
    with desk.store.writing() as session:
        session.execute(text("INSERT INTO controllers (id, name, created_at) VALUES ('ctl_2', 'b', '2026-01-01')"))
        first = named(session, HERE, "s" * 64)
        assert named(session, HERE, "s" * 64) == first
        assert named(session, "ctl_2", "s" * 64) != first


def test_a_new_key_signs_beside_the_old_one_until_that_is_retired(desk, settings):
    before = desk.checkpoint()
    (old,) = public_keys(desk)
    new = desk.rotate_ledger_key()
    between = desk.checkpoint()
    for key in (old, new):
        assert open_note(between, [key])[1] == [old.name]
    with pytest.raises(LedgerKeyError, match="retire it"):
        desk.rotate_ledger_key()
    desk.retire_ledger_key(old.key_id.hex())
    after = desk.checkpoint()
    assert open_note(after, [new])
    with pytest.raises(NoteBroken, match="to be trusted"):
        open_note(after, [old])
    assert open_note(before, public_keys(desk))
    assert [bool(key.retired_at) for key in desk.ledger_keys()] == [True, False]
    assert sorted(file.name for file in (settings.home / "keys").glob("ledger*")) == ["ledger.pem"]
    assert desk.inspect_ledger().roots == 3
    with pytest.raises(LedgerKeyError, match="only key"):
        desk.retire_ledger_key(new.key_id.hex())
    with pytest.raises(NotFound):
        desk.retire_ledger_key(old.key_id.hex())


KEPT_ELSEWHERE = """
import base64, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey as K
sys.stdout.write(base64.b64encode(K.from_private_bytes(b{seed!r} * 32).sign(sys.stdin.buffer.read())).decode())
"""


def kept_elsewhere(directory, seed, name):
    """A command that signs, as a client of a key service does, and the key it signs with."""
    program = directory / f"{seed}.py"
    program.write_text(KEPT_ELSEWHERE.format(seed=seed))
    public = signer_of(base64.b64encode(seed.encode() * 32).decode(), name).public
    return {"command": [sys.executable, str(program)], "public_key": public.text}, public


def test_keys_that_are_kept_elsewhere_take_turns_and_old_checkpoints_stay_verifiable(settings, clock, tmp_path):
    (first, old), (second, new) = (kept_elsewhere(tmp_path, seed, "ledger.example/1") for seed in "ab")
    origin = {"ledger_origin": "ledger.example/1"}
    before = Desk(settings.model_copy(update=origin | {"ledger_signers": [first]}), clock)
    before.migrate()
    signed = before.checkpoint()
    with pytest.raises(LedgerKeyError, match="first in UNLEARN_LEDGER_SIGNERS"):
        before.rotate_ledger_key()
    before.close()
    both = Desk(settings.model_copy(update=origin | {"ledger_signers": [second, first]}), clock)
    assert both.rotate_ledger_key() == new
    between = both.checkpoint()
    for key in (old, new):
        assert open_note(between, [key])
    both.retire_ledger_key(old.key_id.hex())
    both.close()
    alone = Desk(settings.model_copy(update=origin | {"ledger_signers": [second]}), clock)
    after = alone.checkpoint()
    assert open_note(after, [new])
    with pytest.raises(NoteBroken):
        open_note(after, [old])
    assert open_note(signed, public_keys(alone))
    assert alone.inspect_ledger().roots == 3
    assert not list((settings.home / "keys").glob("ledger*"))
    alone.close()


def test_a_key_from_the_environment_takes_over_from_the_file_and_a_strange_one_signs_nothing(desk, settings, clock):
    desk.checkpoint()
    (old,) = public_keys(desk)
    given = Settings(
        **settings.model_dump(exclude={"ledger_key"}), ledger_key="d2l0bmVzc3dpdG5lc3N3aXRuZXNzd2l0bmVzczAxMjM="
    )
    own = Desk(given, clock)
    fill(own, 1)
    assert open_note(own.checkpoint(), [old])  # until it is entered, the file signs
    new = own.rotate_ledger_key()
    assert open_note(own.checkpoint(), [new])
    with pytest.raises(LedgerKeyError, match="knows key"):
        own.rotate_ledger_key()
    own.retire_ledger_key(old.key_id.hex())
    own.close()
    fill(desk, 1)
    with pytest.raises(LedgerKeyError, match="none that signs the ledger"):
        desk.checkpoint()
    with pytest.raises(LedgerKeyError, match=r"named 'other\.example', and the ledger"):
        Desk(
            Settings(
                **given.model_dump(exclude={"ledger_signers"}), ledger_signers=[{"command": ["x"], "public_key": OTHER}]
            ),
            clock,
        ).checkpoint()


def test_a_proof_finds_each_node_by_its_key_however_many_there_are(desk):
    if desk.store.engine.dialect.name != "sqlite":
        pytest.skip("asks SQLite for its plan; PostgreSQL chooses by size")
    fill(desk, 20)
    asked = []
    event.listen(desk.store.engine, "before_cursor_execute", lambda _c, _u, sql, given, *_: asked.append((sql, given)))
    desk.inclusion_proof(5, 20)
    [(sql, given)] = [one for one in asked if "FROM ledger_nodes" in one[0]]
    with desk.store.reading() as session:
        plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", given).all()
    told = [row[-1] for row in plan]
    assert not [one for one in told if one.startswith("SCAN")]
    assert sum("ledger_nodes" in one and "level=? AND index=?" in one for one in told) >= 3


OTHER = "other.example+3366f7a8+AT1AF8PoQ4lakrcKp00bfrycmCzPLsSWjMDNVfEq9GYM"
