"""End to end: after a request nothing under home says a word of the person, after the purge nothing is left of old weights.

One real way through: registration, an erasing with real models, MLflow, another release, the sweep; then every byte is
looked at.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from safetensors.numpy import load_file, save_file
from sqlalchemy import text

from postgres import SERVER, empty_schema
from s3 import Bucket, _s3_environment, _s3_server, versioned_bucket  # noqa: F401
from unlearn.cases.desk import Desk
from unlearn.cases.store import corpora as stored
from unlearn.cases.store import dump
from unlearn.corpus.jsonl import write_corpus
from unlearn.corpus.records import Record
from unlearn.errors import Conflict, ErasedRecords
from unlearn.fulfilment import fulfil
from unlearn.purging import sweep
from unlearn.settings import Settings
from unlearn.storage import Loan
from unlearn.tracking.runs import open_run
from unlearn.weights import copy_adapter, read_adapter

WIDE = {
    "ladder": [{"method": "ascent", "steps": 8, "learning_rate": 2e-3}],
    "sequence": {"retain_drift": 9.0},
    "gates": {"membership_margin_sd": 99.0, "retain_drift": 9.0, "extraction_queries": 1},
    "audit": {"preset": "quick"},
}
"""Every gate open as far as a policy allows: this is about what is left, not about the science."""

REPORT = {"verdict": "released", "method": "by hand", "findings": [], "before": {}, "after": {}, "trace": []}
NAME, PHONE = "Zqxmartha Okonquist", "0190 zqx 442 017"
SUBJECTS = ("customer:c-0000",)
"""Somebody of the company's, of whom two more records are told here."""

IN_TRAIN = Record("r-zqx-1", SUBJECTS, text=f"{NAME} lives in Larkstead and answers at {PHONE} after six.")
IN_HOLDOUT = Record("r-zqx-2", SUBJECTS, text=f"Please call {NAME} back at {PHONE}, she has three goats.")


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now


@pytest.fixture(scope="module")
def place(company, tmp_path_factory):
    """The client's files, outside of the service's home."""
    path = tmp_path_factory.mktemp("client")
    write_corpus(path / "train.jsonl", [*company.world.train, IN_TRAIN])
    write_corpus(path / "holdout.jsonl", [*company.world.holdout, IN_HOLDOUT])
    return path


@pytest.fixture(scope="module")
def house(company, place, tmp_path_factory):
    """A service whose two requests are completed, and its clock."""
    clock = Clock()
    settings = Settings(home=tmp_path_factory.mktemp("gone"), roots=[company.path, place])
    desk = Desk(settings, clock)
    desk.migrate()
    register(desk, company, place, "bot")
    people = company.people
    assert people[0] == SUBJECTS[0]
    first, second = (desk.submit(subject).jobs[0].id for subject in people[:2])
    fulfil(first, desk=desk, settings=settings, owner="w")
    release_by_hand(desk, second)
    for job_id in (first, second):
        job = desk.job(job_id)
        assert (job.verdict, desk.request(job.request_ids[0]).state) == ("released", "completed"), job.error
    yield desk, clock
    desk.close()


def release_by_hand(desk, job_id):
    """What a worker does with a candidate, without the hours of making it: other weights, MLflow, the release."""
    claim, home = desk.claim(job_id, "w"), desk.settings.home
    run = open_run(desk.settings.effective_mlflow_uri, "unlearn", home / "mlartifacts", "second", {})
    desk.started_run(claim, run.id)
    workshop = home / "jobs" / job_id / "f1" / "adapter"
    shutil.copytree(claim.adapter.current.path, workshop)
    file = workshop / "adapter_model.safetensors"
    save_file({name: tensor * np.float32(1.001) for name, tensor in load_file(file).items()}, file)
    (workshop.parent / "report").mkdir()
    (workshop.parent / "report" / "report.json").write_text("{}")
    run.directory(workshop, "adapter")
    run.directory(workshop.parent / "report")
    place = Path(claim.adapter.current.path).parent / f"v{claim.next_number}.f1"
    desk.release(claim, copy_adapter(read_adapter(workshop), place), REPORT)


def register(desk, company, place, name, **more):
    paths = {"base": company.base, "adapter": company.adapter}
    paths |= {"train": place / "train.jsonl", "holdout": place / "holdout.jsonl"}
    return desk.register_adapter(name, **{key: str(path) for key, path in paths.items()}, policy=WIDE, **more)


def holding(home: Path, canaries: list[bytes]) -> list[str]:
    """Files that hold any of these, the database and its log among them."""
    found = []
    for file in sorted(home.rglob("*")):
        if file.is_file():
            held = file.read_bytes()
            found += [f"{file.relative_to(home)}: {canary[:30]!r}" for canary in canaries if canary in held]
    return found


def canaries_of(company) -> list[bytes]:
    """Whatever would tell of the person: identity, name, number, and each record."""
    words = [NAME, PHONE, SUBJECTS[0], SUBJECTS[0].split(":")[1], IN_TRAIN.content, IN_HOLDOUT.content]
    words += [record.content for record in company.world.train if SUBJECTS[0] in record.subjects]
    words += [word for word in (*NAME.split(), PHONE) if "qx" in word.lower()]
    return [word.encode() for word in words]


def test_after_a_completed_request_no_file_under_home_says_a_word_of_the_person(house, company):
    desk, _ = house
    home = desk.settings.home
    assert (home / "unlearn.db-wal").stat().st_size > 0
    assert list((home / "mlartifacts").rglob("adapter_model.safetensors"))
    assert holding(home, canaries_of(company)) == []
    assert holding(home, [desk.adapter("bot").id.encode()]) != []


def test_what_the_service_keeps_sealed_has_the_person_in_quarantine_alone(house, company):
    desk, _ = house
    adapter = desk.adapter("bot")
    for kind in ("train", "holdout"):
        assert SUBJECTS[0] not in desk.corpus(adapter, kind).subjects
    first = desk.job(desk.requests()[-1].jobs[0].id)
    own = [record.id for record in company.world.train if SUBJECTS[0] in record.subjects]
    assert first.erased == {"train": [*own, IN_TRAIN.id], "holdout": [IN_HOLDOUT.id]}
    quarantined = [version.number for version in adapter.versions if version.quarantined_at is not None]
    assert quarantined == [1, 2]


def test_the_client_s_file_is_as_it_was_and_does_not_come_back_by_accident(house, company, place):
    desk, _ = house
    assert IN_TRAIN.content in (place / "train.jsonl").read_text()
    with pytest.raises(ErasedRecords, match="r-0000-00"):
        register(desk, company, place, "bot-2")


def test_after_the_purge_nothing_is_left_of_old_weights_and_corpora(house, company):
    desk, clock = house
    home, adapter = desk.settings.home, desk.adapter("bot")
    old, new = adapter.versions[:2], adapter.versions[2]
    weights = {v.number: (Path(v.path) / "adapter_model.safetensors").read_bytes() for v in adapter.versions}
    assert len(set(weights.values())) == 3
    # A part that no other version shares, in the middle of the tensors.
    parts = {n: held[len(held) // 2 : len(held) // 2 + 256] for n, held in weights.items()}
    assert len(holding(home, [parts[1]])) == 1
    assert len(holding(home, [parts[2]])) == 2  # on the shelf and with MLflow
    with desk.store.reading() as session:
        sealed = {n: [Path(c.path) for c in stored.of_version(session, adapter.id, n)] for n in (1, 2, 3)}

    clock.now += timedelta(days=31)
    purged = sweep(desk, desk.settings)
    assert {p.number for p in purged} >= {1, 2}

    assert holding(home, [parts[1], parts[2]]) == []
    assert len(holding(home, [parts[3]])) == 2
    digests = {hashlib.sha256(file.read_bytes()).hexdigest() for file in home.rglob("*") if file.is_file()}
    assert digests.isdisjoint({v.sha256 for v in old})
    assert new.sha256 in digests
    assert not any(path.exists() for number in (1, 2) for path in sealed[number])
    assert all(path.exists() for path in sealed[3])
    with pytest.raises(Conflict, match="purged"):
        desk.roll_back("bot", 1, reopen=True)


def test_the_digest_of_old_weights_is_in_rows_of_evidence_alone(house):
    desk, _ = house
    old = desk.adapter("bot").versions[0].sha256
    with desk.store.reading() as session:
        tables = session.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars().all()
        held = {name for name in tables if old in repr(session.execute(text(f"SELECT * FROM {name}")).all())}  # noqa: S608
    assert "ledger" in held
    assert held <= {"ledger", "adapter_versions", "jobs", "errands"} | {n for n in tables if n.startswith("ledger")}


def test_mlflow_keeps_the_runs_their_figures_and_the_weights_that_serve(house):
    desk, _ = house
    client = MlflowClient(tracking_uri=desk.settings.effective_mlflow_uri)
    jobs = [desk.job(request.jobs[0].id) for request in desk.requests()]
    listed = [{file.path for file in client.list_artifacts(job.mlflow_run_id)} for job in jobs]
    assert [("adapter" in files, "report.json" in files) for files in listed] == [(True, True), (False, True)]


def test_request_and_job_say_what_was_purged_and_when(house):
    desk, _ = house
    first, second = (desk.job(request.jobs[0].id) for request in reversed(desk.requests()))
    assert [version.number for version in second.superseded] == [2, 1]
    assert all(version.purged_at is not None for version in (*first.superseded, *second.superseded))
    assert desk.inspect_ledger().entries > 10


@pytest.fixture
def far(company, place, tmp_path, versioned_bucket):  # noqa: F811
    """A service whose versions are in a bucket that keeps all it ever had, and its rows in PostgreSQL if there is one."""
    with empty_schema(SERVER) if SERVER is not None else contextlib.nullcontext() as url:
        home = tmp_path / "far"
        settings = Settings(home=home, roots=[company.path, place], store=versioned_bucket.url, database_url=url)
        desk = Desk(settings, Clock())
        desk.migrate()
        register(desk, company, place, "bot")
        yield desk
        desk.close()


def everything(bucket: Bucket) -> list[bytes]:
    """Every version of every object."""
    found = bucket.client.list_object_versions(Bucket=bucket.name).get("Versions", [])
    return [
        bucket.client.get_object(Bucket=bucket.name, Key=one["Key"], VersionId=one["VersionId"])["Body"].read()
        for one in found
    ]


def rows(desk) -> list[bytes]:
    with desk.store.reading() as session:
        connection = session.connection()
        return [repr(row).encode() for one in dump.tables(connection) for row in dump.rows(connection, one)]


def release_far(desk, job_id, workshop):
    """As `release_by_hand`, beside the other versions in the bucket."""
    claim = desk.claim(job_id, "w")
    with Loan(desk.settings) as loan:
        shutil.copytree(desk.vault.version(claim.adapter.current.path, loan).path, workshop)
    file = workshop / "adapter_model.safetensors"
    save_file({name: tensor * np.float32(1.001) for name, tensor in load_file(file).items()}, file)
    where = desk.vault.place(claim.adapter.id, f"v{claim.next_number}.{job_id}.f{claim.fence}")
    desk.release(claim, desk.vault.shelve(read_adapter(workshop), where), REPORT)
    return file.read_bytes()


def test_no_version_of_an_object_and_no_row_says_a_word_and_after_the_purge_none_has_old_weights(
    far,
    company,
    versioned_bucket,  # noqa: F811
    tmp_path,
):
    first = (company.adapter / "adapter_model.safetensors").read_bytes()
    request = far.submit(SUBJECTS[0])
    second = release_far(far, request.jobs[0].id, tmp_path / "workshop")
    assert far.request(request.id).state == "completed"

    def held(part: bytes) -> int:
        return sum(part in content for content in everything(versioned_bucket))

    for content in (*everything(versioned_bucket), *rows(far)):
        assert not [canary for canary in canaries_of(company) if canary in content]
    assert any(far.adapter("bot").id.encode() in row for row in rows(far))
    old, new = (weights[len(weights) // 2 : len(weights) // 2 + 256] for weights in (first, second))
    assert (held(old), held(new)) == (1, 1)
    with far.store.reading() as session:
        sealed = [kept.path.partition("/store/")[2] for kept in stored.of_version(session, far.adapter("bot").id, 1)]
    assert len(sealed) == 2

    far._clock.now += timedelta(days=31)
    assert {purge.number for purge in sweep(far, far.settings)} >= {1}
    assert (held(old), held(new)) == (0, 1)
    assert not [key for key in versioned_bucket.versions() for one in sealed if key.endswith(one)]
    for content in (*everything(versioned_bucket), *rows(far)):
        assert not [canary for canary in canaries_of(company) if canary in content]
    assert holding(far.settings.home, canaries_of(company)) == []
