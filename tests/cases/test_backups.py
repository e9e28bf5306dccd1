"""Backups: what went in comes out, damage is found, and nobody who was forgotten is remembered."""

from __future__ import annotations

import json
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_desk import REFUSED, REPORT, actions, new_version, work

from postgres import SERVER, empty_schema
from s3 import _s3_environment, _s3_server, plain_bucket  # noqa: F401
from unlearn.cases.backups import Archive, Asked, BackupBroken, make_backup, restore
from unlearn.cases.desk import Desk
from unlearn.cases.desk.work import NOBODY
from unlearn.cases.rights import HERE, Actor
from unlearn.cases.store import dump, ledger, salts
from unlearn.cases.views import Claim, Own
from unlearn.cases.withholding import Withheld
from unlearn.errands import run_errands
from unlearn.errors import BadInput, Conflict, NotAllowed, Unavailable
from unlearn.evidence.checkpoint import Checkpoint, claimed
from unlearn.purging import sweep
from unlearn.settings import Settings

pytestmark = pytest.mark.usefixtures("ticking")
NOTHING = Asked(nothing="a drill")


@pytest.fixture
def people(company):
    return sorted({r.subjects[0] for r in company.world.train if len(r.subjects) == 1})


@pytest.fixture
def safe(tmp_path) -> Path:
    return tmp_path / "safe"


@pytest.fixture
def elsewhere(tmp_path, desk, company):
    """Settings of a service to be, with the identity key of the one that was."""
    return beside(tmp_path / "elsewhere", desk, company)


@pytest.fixture
def far():
    """An empty schema of a PostgreSQL."""
    if SERVER is None:
        pytest.skip("UNLEARN_TEST_DATABASE_URL names no PostgreSQL")
    with empty_schema(SERVER) as url:
        yield url


def beside(home: Path, desk: Desk, company, **more) -> Settings:
    (home / "keys").mkdir(parents=True)
    shutil.copy(desk.settings.home / "keys" / "identity.key", home / "keys" / "identity.key")
    return Settings(home=home, roots=[company.path], **more)


def forget(desk: Desk, person: str):
    """A request from its submission to its completion."""
    request = desk.submit(person)
    finish(desk, work(desk, request.jobs[0].id))
    return desk.request(request.id)


def finish(desk: Desk, claim: Claim, own: Mapping[str, Own] = NOBODY) -> None:
    desk.release(claim, new_version(desk, claim), REPORT, own)


def opened(settings: Settings, clock) -> Desk:
    return Desk(settings, clock)


def journal_of(desk: Desk, tmp_path: Path) -> Asked:
    """The journal as somebody kept it on another disk."""
    desk.keep_journal()
    copy = tmp_path / "copied.jsonl"
    shutil.copy(desk.settings.effective_journal, copy)
    return Asked(journal=copy)


def content(desk: Desk) -> dict:
    with desk.store.reading() as session:
        connection = session.connection()
        return {one.name: list(dump.rows(connection, one)) for one in dump.tables(connection)}


def tree(root: Path) -> dict:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("to", ["sqlite", "postgresql"])
def test_what_was_saved_comes_back_row_by_row_and_byte_by_byte(
    to, desk, adapter, people, safe, elsewhere, clock, request
):
    forget(desk, people[0])
    desk.create_key("k", ["audit"])
    desk.add_endpoint("https://example.com/hook")
    desk.checkpoint()
    made = desk.backup(safe)
    before, files = content(desk), tree(desk.settings.home / "adapters")
    assert made.manifest.missing == ()
    if to == "postgresql":
        elsewhere = Settings(**elsewhere.model_dump() | {"database_url": request.getfixturevalue("far")})
    found = restore(elsewhere, made.path, NOTHING, clock())
    assert (found.replayed.withheld, found.replayed.lost, found.since) == ((), (), 0)
    again = opened(elsewhere, clock)
    after = content(again)
    said = after["ledger"][len(before["ledger"]) :]
    assert [entry["action"] for entry in said] == ["restored", "ledger_key_retired"]
    moved = str(elsewhere.home)
    for name in before.keys() - {"ledger", "ledger_nodes", "errands"}:
        assert json.dumps(after[name]).replace(moved, str(desk.settings.home)) == json.dumps(before[name]), name
    assert after["ledger"][: len(before["ledger"])] == before["ledger"]
    assert tree(elsewhere.home / "adapters") == files
    assert again.check_ledger() == len(after["ledger"])
    run_errands(again, elsewhere)
    assert (elsewhere.home / "adapters" / adapter.id / "current").resolve().is_relative_to(elsewhere.home)
    for kind in ("train", "holdout"):
        stored = [one.corpus(one.adapter("bot"), kind).records for one in (desk, again)]
        assert stored[0] == stored[1]
    forget(again, people[1])  # numbers go on where they were
    again.close()


def test_every_damage_is_found(desk, adapter, people, safe):
    forget(desk, people[0])
    path = desk.backup(safe).path
    key = desk.settings.identity_hash_key
    Archive(path, key).verify()
    files = [place for place in sorted(path.rglob("*")) if place.is_file()]
    chance = random.Random(7)
    weights = [1 + place.stat().st_size ** 0.5 for place in files]
    for _ in range(100):
        place = chance.choices(files, weights)[0]
        good = place.read_bytes()
        at = chance.randrange(len(good) + 1)
        bad = {
            "flip": good[:at] + bytes([good[at] ^ 1 << chance.randrange(8)]) + good[at + 1 :]
            if at < len(good)
            else good + b"\n",
            "cut": good[:at],
            "more": good[:at] + b"0" + good[at:],
        }[chance.choice(["flip", "cut", "more"])]
        if bad == good:
            continue
        place.write_bytes(bad)
        with pytest.raises((BackupBroken, BadInput)):
            Archive(path, key).verify()
        place.write_bytes(good)
    for place in files:
        place.rename(place.with_name("away"))
        with pytest.raises((BackupBroken, BadInput)):
            Archive(path, key).verify()
        place.with_name("away").rename(place)
    (path / "tables" / "more.jsonl").touch()
    with pytest.raises(BackupBroken, match=r"more\.jsonl"):
        Archive(path, key).verify()


def test_whoever_was_forgotten_since_is_forgotten_again_before_the_adapter_serves(
    desk, adapter, people, safe, elsewhere, tmp_path, clock
):
    forget(desk, people[0])
    path = desk.backup(safe).path
    later = [forget(desk, person) for person in people[1:3]]
    asked = journal_of(desk, tmp_path)
    whole = content(desk)["ledger"]
    found = restore(elsewhere, path, asked, clock())
    assert (found.source, found.since) == ("journal", len(whole) - found.entries)
    assert (found.replayed.requests, found.replayed.reapplied, found.replayed.withheld) == (2, 2, ("bot",))

    again = opened(elsewhere, clock)
    assert content(again)["ledger"][: len(whole)] == whole  # the same ledger goes on: no fork
    assert "deletion_reapplied" in actions(again)
    assert again.check_ledger() > len(whole)
    assert again.adapter("bot").current.number == 2
    assert set(again.adapter("bot").awaits) == {request.id for request in later}
    link = elsewhere.home / "adapters" / adapter.id / "current"
    link.symlink_to("v1")  # of a serving side that was not told yet
    run_errands(again, elsewhere)
    assert not link.is_symlink()
    with pytest.raises(Withheld, match="2 deletions"):
        again.check_serving()

    for request in later:
        assert (again.request(request.id).state, again.request(request.id).subject_hash) == (
            "pending",
            request.subject_hash,
        )
        again.sweep()
        run_errands(again, elsewhere)
        assert not link.is_symlink()  # one of two is not enough
        finish(again, work(again, again.request(request.id).jobs[-1].id))
        assert again.request(request.id).state == "completed"
    again.sweep()
    assert again.adapter("bot").awaits == ()
    again.check_serving()
    run_errands(again, elsewhere)
    assert link.resolve().name.startswith("v4.")
    again.close()


def test_a_person_may_let_an_adapter_go(desk, adapter, people, safe, elsewhere, tmp_path, clock):
    path = desk.backup(safe).path
    request = forget(desk, people[0])
    restore(elsewhere, path, journal_of(desk, tmp_path), clock())
    again = opened(elsewhere, clock)
    again.hold(work(again, again.request(request.id).jobs[-1].id), None, REFUSED)
    again.sweep()
    assert again.adapter("bot").awaits == (request.id,)
    again.reject(request.id, "legal_obligation", "kept for the tax office")
    again.sweep()
    assert again.adapter("bot").awaits == ()
    again.close()


def test_of_a_shared_job_only_whom_it_released_counts_until_a_person_lets_the_other_pass(
    desk, adapter, people, safe, elsewhere, tmp_path, clock
):
    path = desk.backup(safe).path
    one, other = desk.submit(people[0]), desk.submit(people[1])
    claim = work(desk, one.jobs[0].id)
    own = {one.subject_hash: Own("released", ()), other.subject_hash: Own("refused", ())}
    finish(desk, claim, own)
    finish(desk, work(desk, other.jobs[0].id), {other.subject_hash: Own("refused", ())})
    journal = journal_of(desk, tmp_path)
    assert restore(elsewhere, path, journal, clock(), only_check=True).replayed.reapplied == 1
    desk.release_as_it_is(other.id, "seen by two of us")
    assert desk.request(other.id).state == "completed"
    assert restore(elsewhere, path, journal_of(desk, tmp_path), clock()).replayed.reapplied == 2


def test_what_people_decided_since_stays_decided(desk, adapter, people, safe, elsewhere, tmp_path, clock):
    key, _ = desk.create_key("k", ["audit"])
    waits, cancelled, rejected = (desk.submit(person) for person in people[:3])
    path = desk.backup(safe).path
    desk.put_on_hold(waits.id, "court order")
    desk.cancel(cancelled.id)
    desk.reject(rejected.id, "legal_claims", "a lawsuit")
    desk.revoke_key(key.id)
    new = desk.submit(people[3], external_id="ticket-9")
    nobody = desk.submit("customer:nobody")
    restore(elsewhere, path, journal_of(desk, tmp_path), clock())
    again = opened(elsewhere, clock)
    states = [again.request(one.id).state for one in (waits, cancelled, rejected, new, nobody)]
    assert states == ["pending", "cancelled", "rejected", "pending", "completed"]
    assert again.request(waits.id).held_at is not None
    assert again.request(rejected.id).decision["ground"] == "legal_claims"
    assert again.request(new.id).due_at == desk.request(new.id).due_at
    assert [job.state for one in (waits, cancelled, rejected) for job in again.request(one.id).jobs] == [
        "cancelled"
    ] * 3
    assert again.request(new.id).jobs[0].state == "queued"
    revoked = again.keys()[0]
    assert (revoked.id, revoked.revoked_at is not None) == (key.id, True)
    assert again.adapter("bot").awaits == ()
    assert salted(again, new) == salted(desk, new)  # the ledger calls them what it called them
    again.close()


def salted(desk: Desk, request) -> str | None:
    with desk.store.reading() as session:
        return salts.known_pseudonym(session, "ctl_default", request.subject_hash)


def test_an_adapter_that_was_retired_since_stays_so_and_one_that_came_since_is_named(
    desk, adapter, inputs, people, safe, elsewhere, tmp_path, clock
):
    path = desk.backup(safe).path
    desk.register_adapter("late", **inputs)
    forget(desk, people[0])
    desk.retire("bot")
    found = restore(elsewhere, path, journal_of(desk, tmp_path), clock())
    again = opened(elsewhere, clock)
    assert found.replayed.lost == ("late",)
    assert (found.replayed.withheld, again.adapter("bot").retired_at is not None) == ((), True)
    again.close()


def test_what_was_purged_since_is_purged_again(desk, adapter, people, safe, elsewhere, tmp_path, clock):
    forget(desk, people[0])
    path = desk.backup(safe).path
    clock.forward(400 * 86400)
    sweep(desk, desk.settings)
    first = Path(adapter.current.path)
    assert not first.exists()
    restore(elsewhere, path, journal_of(desk, tmp_path), clock())
    again, back = opened(elsewhere, clock), elsewhere.home / "adapters" / adapter.id / first.name
    assert back.is_dir()
    clock.forward(1)
    sweep(again, elsewhere)
    assert not back.exists()
    assert again.backup(safe).manifest.missing == ()
    again.close()


def test_a_job_that_is_done_again_gets_a_fence_of_its_own(desk, adapter, people, safe, elsewhere, tmp_path, clock):
    job_id = desk.submit(people[0]).jobs[0].id
    path = desk.backup(safe).path
    for _ in range(2):
        claim = work(desk, job_id)
        desk.give_back(claim)
    restore(elsewhere, path, journal_of(desk, tmp_path), clock())
    again = opened(elsewhere, clock)
    assert work(again, job_id).fence == claim.fence + 1
    again.close()


def test_a_job_under_way_is_begun_anew_and_its_attempt_does_not_count(desk, adapter, people, safe, elsewhere, clock):
    job_id = desk.submit(people[0]).jobs[0].id
    work(desk, job_id)
    restore(elsewhere, desk.backup(safe).path, NOTHING, clock())
    again = opened(elsewhere, clock)
    assert (again.job(job_id).state, again.job(job_id).attempt) == ("queued", 0)
    finish(again, work(again, job_id))
    again.close()


def test_the_database_of_then_says_what_happened_and_the_ledger_goes_on(desk, adapter, people, safe, clock, settings):
    path = desk.backup(safe).path
    request = forget(desk, people[0])
    whole = content(desk)["ledger"]
    desk.close()
    with pytest.raises(Conflict, match="--replace"):
        restore(settings, path, Asked(), clock())
    if settings.database_url is not None:
        with pytest.raises(Conflict, match="UNLEARN_DATABASE_URL"):
            restore(settings, path, Asked(), clock(), replace=True)
        return
    found = restore(settings, path, Asked(), clock(), replace=True)
    assert (found.source, found.replayed.reapplied) == ("database", 1)
    again = opened(settings, clock)
    assert content(again)["ledger"][: len(whole)] == whole
    assert again.adapter("bot").awaits == (request.id,)
    again.close()
    aside = {one.name.partition(".replaced-")[0]: one for one in found.aside}
    old = opened(Settings(**settings.model_dump() | {"database_url": f"sqlite:///{aside['unlearn.db']}"}), clock)
    assert content(old)["ledger"] == whole
    old.close()
    assert any(aside["adapters"].rglob("adapter_model.safetensors"))


def test_the_database_of_then_may_be_another(desk, adapter, people, safe, elsewhere, clock, settings):
    path = desk.backup(safe).path
    forget(desk, people[0])
    found = restore(elsewhere, path, Asked(database=settings.effective_database_url), clock())
    assert (found.source, found.replayed.withheld) == ("database", ("bot",))


def test_without_a_word_of_what_happened_since_nothing_is_restored(desk, adapter, people, safe, elsewhere, clock):
    path = desk.backup(safe).path
    before = tree(elsewhere.home)
    with pytest.raises(Conflict, match="--nothing-since"):
        restore(elsewhere, path, Asked(), clock())
    assert tree(elsewhere.home).keys() - before.keys() <= {"house.lock"}
    with pytest.raises(BadInput, match="--reason"):
        Asked(nothing=" ")
    restore(elsewhere, path, Asked(nothing="the site was closed"), clock())
    again = opened(elsewhere, clock)
    facts = next(entry["facts"] for entry in content(again)["ledger"] if entry["action"] == "restored")
    assert (facts["since"], facts["reason"], facts["by"]) == ("nothing", "the site was closed", "operator")
    before, after = (claimed(one.checkpoint()).origin for one in (desk, again))
    assert after == f"{before}/2"  # what follows may contradict what was published: it is another ledger, and says so
    again.inspect_ledger()
    again.rotate_ledger_key()
    again.inspect_ledger([("now", again.checkpoint())])
    again.close()


def test_nothing_is_not_believed_against_the_journal(desk, adapter, people, safe, elsewhere, clock):
    path = desk.backup(safe).path
    forget(desk, people[0])
    desk.keep_journal()
    shutil.copy(desk.settings.effective_journal, elsewhere.effective_journal)
    with pytest.raises(Conflict, match="something did happen"):
        restore(elsewhere, path, NOTHING, clock())
    assert restore(elsewhere, path, Asked(), clock()).source == "journal"


def test_a_journal_with_a_gap_an_edit_or_another_origin_is_refused(
    desk, adapter, people, safe, elsewhere, tmp_path, clock
):
    forget(desk, people[0])
    path = desk.backup(safe).path
    forget(desk, people[1])
    asked = journal_of(desk, tmp_path)
    lines = asked.journal.read_text().splitlines(keepends=True)
    size = Archive(path, desk.settings.identity_hash_key).manifest.ledger_size

    def refused(kind, match, *given):
        asked.journal.write_text("".join(given))
        with pytest.raises(kind, match=match):
            restore(elsewhere, path, asked, clock())
        assert not (elsewhere.home / "unlearn.db").exists()
        assert not any(elsewhere.home.glob(".restore-*"))

    refused(Conflict, "1 are missing before entry", *lines[:size], *lines[size + 1 :])
    refused(Conflict, f"ends with entry {size - 1}", *lines[: size - 1])
    refused(
        Exception,
        f"entry {size + 1} was edited",
        *lines[:size],
        lines[size].replace('"by": "operator"', '"by": "nobody"'),
    )
    refused(BadInput, f"line {size + 1} ", *lines[:size], lines[size][1:])
    refused(BackupBroken, "another service's", lines[0].replace('"hash": "', '"hash": "0'), *lines[1:])
    asked.journal.write_text("".join(lines) + '{"seq":')  # a line that was being written
    assert restore(elsewhere, path, asked, clock()).source == "journal"


def test_a_checkpoint_shows_what_is_missing(desk, adapter, people, safe, elsewhere, tmp_path, clock):
    path = desk.backup(safe).path
    asked = journal_of(desk, tmp_path)
    forget(desk, people[0])
    with desk.store.reading() as session:
        size = ledger.size(session)
        root = ledger.root(session, size)
    known = sum(1 for _ in asked.journal.open())
    note = tmp_path / "checkpoint"
    note.write_text(Checkpoint("ledger.example", size, root).text + "\n— ledger.example AAAAAAAA\n")
    with pytest.raises(Conflict, match=f"{size - known} are missing"):
        restore(elsewhere, path, Asked(journal=asked.journal, checkpoint=note), clock())
    asked = journal_of(desk, tmp_path)
    note.write_text(Checkpoint("ledger.example", size, bytes(32)).text + "\n— ledger.example AAAAAAAA\n")
    with pytest.raises(Exception, match="fork"):
        restore(elsewhere, path, Asked(journal=asked.journal, checkpoint=note), clock())
    note.write_text(Checkpoint("ledger.example", size, root).text + "\n— ledger.example AAAAAAAA\n")
    restore(elsewhere, path, Asked(journal=asked.journal, checkpoint=note), clock())


@contextmanager
def small_files(size):
    """A disk that takes files up to some size alone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 3000, 40_000])
def test_a_backup_that_breaks_off_leaves_nothing(size, desk, adapter, safe, clock):
    with pytest.raises(Unavailable, match="can't be written"), small_files(size):
        make_backup(desk.store, desk.settings, safe, clock())
    assert list(safe.iterdir()) == []


@pytest.mark.parametrize("size", [3000, 40_000, 300_000])
def test_a_restore_that_breaks_off_changes_nothing(size, desk, adapter, people, safe, clock, settings):
    path = desk.backup(safe).path
    forget(desk, people[0])
    run_errands(desk, settings)
    if settings.database_url is not None:
        pytest.skip("the files are the same; a server's database is not on this disk")
    desk.close()
    before = {name: body for name, body in tree(settings.home).items() if not name.endswith(("-shm", "-wal"))}
    with pytest.raises((Unavailable, Conflict)), small_files(size):
        restore(settings, path, Asked(), clock(), replace=True)
    after = {name: body for name, body in tree(settings.home).items() if not name.endswith(("-shm", "-wal"))}
    assert {**before, "house.lock": b""} == after


READER = """
import sys, unlearn.cases.store.engine as engine
store = engine.Store(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


def test_a_database_that_another_process_has_open_is_not_set_aside(desk, adapter, people, safe, clock, settings):
    if settings.database_url is not None:
        pytest.skip("a server's database is never set aside")
    path = desk.backup(safe).path
    request = forget(desk, people[0])
    desk.close()
    command = [sys.executable, "-c", READER, settings.effective_database_url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout.readline() == "open\n"
        with pytest.raises(Unavailable, match="stop the API, the workers"):
            restore(settings, path, Asked(), clock(), replace=True)
        reader.communicate()
    again = opened(settings, clock)
    assert again.request(request.id).state == "completed"
    again.close()
    assert restore(settings, path, Asked(), clock(), replace=True).aside


def test_a_living_home_is_left_alone(desk, adapter, people, safe, elsewhere, clock):
    path = desk.backup(safe).path
    (elsewhere.home / "adapters" / "adp_other").mkdir(parents=True)
    with pytest.raises(Conflict, match="is not empty"):
        restore(elsewhere, path, NOTHING, clock())
    assert restore(elsewhere, path, NOTHING, clock(), only_check=True).aside == ()
    assert [one.name for one in (elsewhere.home / "adapters").iterdir()] == ["adp_other"]
    found = restore(elsewhere, path, NOTHING, clock(), replace=True)
    assert [[one.name for one in place.iterdir()] for place in found.aside] == [["adp_other"]]


def test_a_database_that_nobody_can_read_is_set_aside_as_it_is(desk, adapter, people, safe, elsewhere, clock):
    path = desk.backup(safe).path
    (elsewhere.home / "unlearn.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(Conflict, match="database holds"):
        restore(elsewhere, path, NOTHING, clock())
    found = restore(elsewhere, path, NOTHING, clock(), replace=True)
    assert found.aside[0].read_bytes() == b"no database at all" * 100
    opened(elsewhere, clock).adapter("bot")


def test_a_backup_holds_no_secret(desk, adapter, people, safe):
    _, token = desk.create_key("k", ["audit"])
    desk.keep_local_key()
    _, secret = desk.add_endpoint("https://example.com/hook")
    desk.checkpoint()
    private = (desk.settings.home / "keys" / "ledger.pem").read_bytes().splitlines()[1]
    forget(desk, people[0])
    path = desk.backup(safe).path
    tokens = [token.encode(), desk.settings.local_key_file.read_bytes().strip()]
    hidden = [*(one.split(b"_", 2)[2] for one in tokens), secret.encode(), b"PRIVATE KEY", private]
    hidden += [key := desk.settings.identity_hash_key, bytes.fromhex(key.decode())]
    hidden += [people[0].encode(), people[0].partition(":")[2].encode()]
    for name, body in tree(path).items():
        assert not [one for one in hidden if one in body], name
    assert (path / "ledger.pub").read_text().split() == [key.public.text for key in desk.ledger_keys()]


def test_versions_go_to_an_object_store_and_come_back_from_one(
    desk,
    adapter,
    people,
    safe,
    tmp_path,
    company,
    clock,
    plain_bucket,  # noqa: F811
):
    forget(desk, people[0])
    far = beside(tmp_path / "far", desk, company, store=plain_bucket.url)
    restore(far, desk.backup(safe).path, NOTHING, clock())
    there = opened(far, clock)
    assert there.adapter("bot").current.path.startswith(f"{plain_bucket.url}/{adapter.id}/v2.")
    clock.forward(1)
    made = there.backup(safe)
    assert made.manifest.missing == ()
    there.close()
    keys = plain_bucket.keys()
    shutil.rmtree(far.home)
    far = beside(tmp_path / "far", desk, company, store=plain_bucket.url)
    restore(far, made.path, NOTHING, clock())  # the database was lost, and the store was not
    assert plain_bucket.keys() == keys
    near = beside(tmp_path / "near", desk, company)
    restore(near, made.path, NOTHING, clock())
    assert tree(near.home / "adapters") == tree(desk.settings.home / "adapters")


def test_only_the_identity_key_of_then_opens_it(desk, adapter, safe, elsewhere, clock):
    path = desk.backup(safe).path
    (elsewhere.home / "keys" / "identity.key").unlink()
    with pytest.raises(BadInput, match=r"identity\.key"):
        restore(elsewhere, path, NOTHING, clock())
    assert not (elsewhere.home / "keys" / "identity.key").exists()
    (elsewhere.home / "keys" / "identity.key").write_text("0" * 64)
    with pytest.raises(BackupBroken, match="another identity key"):
        restore(Settings(**elsewhere.model_dump()), path, NOTHING, clock())


def test_what_the_disk_lost_is_named_and_the_rest_saved(desk, adapter, people, safe, elsewhere, clock):
    forget(desk, people[0])
    first = Path(adapter.current.path)
    (first / "adapter_model.safetensors").write_bytes(b"worn out")
    made = desk.backup(safe)
    assert [one.split(":")[0] for one in made.manifest.missing] == [f"version 1 of adapter {adapter.id}"]
    assert restore(elsewhere, made.path, NOTHING, clock()).missing == made.manifest.missing
    assert (elsewhere.home / "adapters" / adapter.id).is_dir()
    with pytest.raises(BadInput, match="lies under"):
        desk.backup(desk.settings.home / "backups")


def test_the_journal_goes_on_where_it_ended(desk, adapter, people):
    file = desk.settings.effective_journal
    assert desk.keep_journal() == 1
    forget(desk, people[0])
    assert desk.keep_journal() == 7
    assert desk.keep_journal() == 0
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])  # a crash in the middle of a line
    assert desk.keep_journal() == 1
    assert file.read_bytes() == whole
    assert file.stat().st_mode & 0o077 == 0
    file.write_text(whole.decode().replace('"hash": "', '"hash": "f'))  # of another ledger
    assert desk.keep_journal() == 8
    assert file.read_bytes() == whole
    assert file.with_name(f"{file.name}.1").exists()


def test_the_journal_forgets_whom_the_ledger_forgot(desk, adapter, people, safe, elsewhere, tmp_path, clock):
    request = forget(desk, people[0])
    path = desk.backup(safe).path
    desk.keep_journal()
    assert request.subject_hash in desk.settings.effective_journal.read_text()
    desk.shred("ctl_default", request.subject_hash)
    asked = journal_of(desk, tmp_path)
    assert request.subject_hash not in asked.journal.read_text()
    restore(elsewhere, path, asked, clock())
    again = opened(elsewhere, clock)
    assert salted(again, request) is None
    again.close()


def test_from_the_command_line(desk, adapter, people, safe, elsewhere, tmp_path, run, monkeypatch, settings):
    monkeypatch.setenv("UNLEARN_HOME", str(desk.settings.home))
    if settings.database_url is not None:
        monkeypatch.setenv("UNLEARN_DATABASE_URL", settings.database_url)
    code, out, _ = run("backup", safe, "--json")
    told = json.loads(out)
    assert (code, told["missing"], told["ledger_size"]) == (0, [], 3)
    forget(desk, people[0])
    desk.keep_journal()
    monkeypatch.delenv("UNLEARN_DATABASE_URL", raising=False)
    monkeypatch.setenv("UNLEARN_HOME", str(elsewhere.home))
    code, _, err = run("restore", told["path"], "--nothing-since")
    assert (code, "--reason" in err) == (2, True)
    journal = desk.settings.effective_journal
    code, out, _ = run("restore", told["path"], "--journal", journal, "--check", "--json")
    assert (code, json.loads(out)["replayed"]["withheld"]) == (0, ["bot"])
    assert not (elsewhere.home / "unlearn.db").exists()
    code, out, _ = run("restore", told["path"], "--journal", journal)
    assert code == 0
    assert "withheld  bot: 1 deletions" in out


def test_nothing_is_not_believed_against_the_database_that_is_replaced(desk, adapter, people, safe, clock, settings):
    path = desk.backup(safe).path
    forget(desk, people[0])
    desk.close()
    if settings.database_url is None:
        with pytest.raises(Conflict, match="something did happen"):
            restore(settings, path, NOTHING, clock(), replace=True)


def test_a_backup_older_than_the_retention_is_refused(desk, adapter, people, safe, elsewhere, tmp_path, clock):
    """Whom it brings back nobody could name any more."""
    path = desk.backup(safe).path
    request = forget(desk, people[0])
    desk.shred("ctl_default", request.subject_hash)
    with pytest.raises(Conflict, match="older than the retention"):
        restore(elsewhere, path, journal_of(desk, tmp_path), clock())


def test_a_database_that_went_back_in_time_is_noticed_and_the_journal_believed(
    desk, adapter, people, safe, clock, settings, tmp_path
):
    if settings.database_url is not None:
        pytest.skip("files are put back")
    path = desk.backup(safe).path
    desk.store.close()
    shutil.copy(settings.home / "unlearn.db", tmp_path / "then.db")
    request = forget(desk, people[0])
    desk.keep_journal()
    desk.close()
    for file in settings.home.glob("unlearn.db*"):
        file.unlink()
    shutil.copy(tmp_path / "then.db", settings.home / "unlearn.db")
    back = opened(settings, clock)
    with pytest.raises(Unavailable, match="went back in time"):
        back.keep_journal()
    back.close()
    found = restore(settings, path, Asked(), clock(), replace=True)
    assert (found.source, found.replayed.withheld) == ("journal", ("bot",))
    again = opened(settings, clock)
    assert again.adapter("bot").awaits == (request.id,)
    submitter = Actor("key:x", HERE, frozenset({"requests:write", "requests:read"}))
    with pytest.raises(NotAllowed):
        again.cancel(request.id, submitter)
    again.close()


def test_journals_that_were_set_aside_forget_as_well_whenever_the_process_is_killed(desk, adapter, people, monkeypatch):
    request = forget(desk, people[0])
    desk.keep_journal()
    file = desk.settings.effective_journal
    shutil.copy(file, file.with_name(f"{file.name}.1"))
    desk.shred("ctl_default", request.subject_hash)
    with monkeypatch.context() as patch:
        patch.setattr("unlearn.cases.journal._write", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            desk.keep_journal()
    desk.keep_journal()
    for kept in file.parent.glob(f"{file.name}*"):
        assert request.subject_hash not in kept.read_text()
