"""The tables of the case wing. Shapes and constraints alone; `store` speaks SQL, `desk` decides."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

ACTIVE = text("state = 'running'")
OPEN = text("state IN ('pending', 'in_progress')")
HELD = text("held_at IS NOT NULL")
WAITING = text("state = 'waiting'")
OF_KEYS = text("action IN ('ledger_key_added', 'ledger_key_retired')")


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite stores it without a zone and gets it back with one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC; a moment without a zone is an error."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """With its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Table(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map = {dict[str, Any]: JSON, list[str]: JSON, datetime: UtcDateTime}  # noqa: RUF012


class Controller(Table):
    """A company whose requests these are (GDPR, article 4(7)): no key sees another's rows."""

    __tablename__ = "controllers"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]


class ApiKey(Table):
    """A key of a controller; of its secret the SHA-256 alone."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    controller_id: Mapped[str] = mapped_column(ForeignKey("controllers.id"), index=True)
    name: Mapped[str] = mapped_column(String(64))
    secret_sha256: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(80))
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Idempotency(Table):
    """What was answered under an Idempotency-Key (its keyed hash), so that the same question gets the same answer."""

    __tablename__ = "idempotency"

    controller_id: Mapped[str] = mapped_column(ForeignKey("controllers.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    body_sha256: Mapped[str] = mapped_column(String(64))
    request_ids: Mapped[list[str]]
    created_at: Mapped[datetime] = mapped_column(index=True)


class Adapter(Table):
    """A named LoRA with its base, corpora and policy; `current` is the number of the serving version.

    `train` and `holdout` are the client's files as they were registered, `recipe` says how it was trained, `admitted`
    on which ground records came in that had been erased before. Where it `awaits` requests, it is withheld: no version
    serves until they are answered.
    """

    __tablename__ = "adapters"
    __table_args__ = (Index("one_adapter_of_a_name", "controller_id", "name", unique=True),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    controller_id: Mapped[str] = mapped_column(ForeignKey("controllers.id"))
    name: Mapped[str] = mapped_column(String(64))
    base: Mapped[str] = mapped_column(Text)
    base_sha256: Mapped[str] = mapped_column(String(64))
    train: Mapped[str] = mapped_column(Text)
    train_sha256: Mapped[str] = mapped_column(String(64))
    train_records: Mapped[int] = mapped_column(Integer)
    holdout: Mapped[str] = mapped_column(Text)
    holdout_sha256: Mapped[str] = mapped_column(String(64))
    holdout_records: Mapped[int] = mapped_column(Integer)
    policy: Mapped[dict[str, Any]]
    recipe: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    admitted: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    current: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]
    awaits: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))


class AdapterVersion(Table):
    """One immutable set of weights, with the corpora that belong to it.

    `config_sha256` is that of its adapter_config.json; versions of before that was noted have none. It is in
    quarantine while it does not serve, from `purge_after` on it is to be purged, and from `purging_at` on
    nothing brings it back.
    """

    __tablename__ = "adapter_versions"

    adapter_id: Mapped[str] = mapped_column(ForeignKey("adapters.id"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    config_sha256: Mapped[str | None] = mapped_column(String(64))
    path: Mapped[str] = mapped_column(Text)
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    created_at: Mapped[datetime]
    quarantined_at: Mapped[datetime | None]
    purge_after: Mapped[datetime | None] = mapped_column(index=True)
    purging_at: Mapped[datetime | None]
    purged_at: Mapped[datetime | None]


class AdapterSubject(Table):
    """How many train records of an adapter name a subject, and when it was erased from the adapter.

    None do of one whom the holdout alone names.
    """

    __tablename__ = "adapter_subjects"

    subject_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    adapter_id: Mapped[str] = mapped_column(ForeignKey("adapters.id"), primary_key=True)
    records: Mapped[int] = mapped_column(Integer)
    erased_at: Mapped[datetime | None]


class Request(Table):
    """One deletion request of one subject; at most one open request a subject.

    `received_at` is when the controller got it, `created_at` when we did. `decision` is what a person decided of it:
    kind, reason, legal ground, who and when. `callback_urls` are addresses, checked by their spelling alone, that want
    to hear of its states.
    """

    __tablename__ = "requests"
    __table_args__ = (
        Index(
            "one_open_request_per_subject",
            "controller_id",
            "subject_hash",
            unique=True,
            sqlite_where=OPEN,
            postgresql_where=OPEN,
        ),
        Index("held_requests", "controller_id", "subject_hash", sqlite_where=HELD, postgresql_where=HELD),
        Index("requests_by_arrival", "controller_id", "created_at", "id"),
        Index("requests_by_due_date", "controller_id", "due_at", "id"),
        Index("one_request_of_an_external_id", "controller_id", "external_id", unique=True),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    controller_id: Mapped[str] = mapped_column(ForeignKey("controllers.id"))
    external_id: Mapped[str | None] = mapped_column(String(64))
    subject_hash: Mapped[str] = mapped_column(String(64))
    regulation: Mapped[str] = mapped_column(String(10))
    state: Mapped[str] = mapped_column(String(20))
    submitted_by: Mapped[str] = mapped_column(String(80))
    received_at: Mapped[datetime]
    due_at: Mapped[datetime]
    confirm_by: Mapped[datetime | None]
    extended_at: Mapped[datetime | None]
    extension_reason: Mapped[str | None] = mapped_column(Text)
    held_at: Mapped[datetime | None]
    hold_reason: Mapped[str | None] = mapped_column(Text)
    decision: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    told_soon_at: Mapped[datetime | None]
    told_overdue_at: Mapped[datetime | None]
    callback_urls: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]


class Job(Table):
    """One piece of work on one adapter, an erasing or the making of its shadow table; one at a time runs on it.

    `due_at` is that of its most urgent request; before `ready_at` it waits for requests to join it, or for another
    attempt. `away_since` is when something that its attempts need was first found away. `policy` is used in the place
    of the adapter's; `candidate` is the directory of weights that the guards did not release. `stages` are
    the seconds that its attempts spent in each stage they left, `stage_since` is when the present one began. `erased`
    says which records left which corpus, by id. From `purging_at` on, what it left behind is being purged.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index("one_active_job_per_adapter", "adapter_id", unique=True, sqlite_where=ACTIVE, postgresql_where=ACTIVE),
        Index("jobs_by_state", "state", "created_at"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    adapter_id: Mapped[str] = mapped_column(ForeignKey("adapters.id"))
    kind: Mapped[str] = mapped_column(String(20), default="erasure", server_default="erasure")
    state: Mapped[str] = mapped_column(String(20))
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    fence: Mapped[int] = mapped_column(BigInteger, default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(200))
    lease_until: Mapped[datetime | None]
    base_version: Mapped[int | None] = mapped_column(Integer)
    due_at: Mapped[datetime | None]
    ready_at: Mapped[datetime | None]
    away_since: Mapped[datetime | None]
    policy: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    candidate: Mapped[str | None] = mapped_column(Text)
    progress: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    stages: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    stage_since: Mapped[datetime | None]
    verdict: Mapped[str | None] = mapped_column(String(20))
    error: Mapped[str | None] = mapped_column(Text)
    report: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    mlflow_run_id: Mapped[str | None] = mapped_column(String(64))
    erased: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    purging_at: Mapped[datetime | None]
    purged_at: Mapped[datetime | None]


class JobRequest(Table):
    """Which requests a job is for, and how many records of the adapter name the request's subject.

    `verdict` is the request's own, `findings` what the gates found of its subject alone, where others share the job.
    `erased` says that the version which the job made counts as one without the subject.
    """

    __tablename__ = "job_requests"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"), primary_key=True, index=True)
    records: Mapped[int] = mapped_column(Integer)
    verdict: Mapped[str | None] = mapped_column(String(20))
    findings: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True))
    erased: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())


class Doorbell(Table):
    """The outbox: a job that a worker must be told of; written with the change of state that calls for it."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index("outbox_unsent", "id", sqlite_where=text("sent_at IS NULL"), postgresql_where=text("sent_at IS NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]


class Endpoint(Table):
    """An address of a controller that is told what becomes of its requests; its signing secrets are sealed.

    The old secret signs beside the other until `old_secret_until`.
    """

    __tablename__ = "endpoints"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    controller_id: Mapped[str] = mapped_column(ForeignKey("controllers.id"), index=True)
    url: Mapped[str] = mapped_column(Text)
    sealed_secret: Mapped[str] = mapped_column(Text)
    sealed_old_secret: Mapped[str | None] = mapped_column(Text)
    old_secret_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(80))
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str | None] = mapped_column(Text)


class Errand(Table):
    """Something to do outside the database, written with the change that calls for it: a callback, a deployment."""

    __tablename__ = "errands"
    __table_args__ = (
        Index("errands_due", "next_at", sqlite_where=WAITING, postgresql_where=WAITING),
        Index("errands_by_age", "controller_id", "created_at", "id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    controller_id: Mapped[str] = mapped_column(ForeignKey("controllers.id"))
    kind: Mapped[str] = mapped_column(String(20))
    target: Mapped[str] = mapped_column(String(200))
    event: Mapped[str] = mapped_column(String(40))
    about: Mapped[str] = mapped_column(String(40), index=True)
    payload: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(20))
    attempts: Mapped[int] = mapped_column(Integer)
    first_attempt_at: Mapped[datetime | None]
    next_at: Mapped[datetime]
    last_error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class LedgerEntry(Table):
    """One fact, a leaf of the ledger's tree; rows are only ever added, which triggers see to. `hash` is hexadecimal."""

    __tablename__ = "ledger"
    __table_args__ = (Index("ledger_keys", "seq", sqlite_where=OF_KEYS, postgresql_where=OF_KEYS),)

    seq: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False
    )
    at: Mapped[str] = mapped_column(String(40))
    action: Mapped[str] = mapped_column(String(40))
    facts: Mapped[dict[str, Any]]
    hash: Mapped[str] = mapped_column(String(64))


class LedgerNode(Table):
    """The hash of a complete subtree of 2**level leaves, from level 1 on; leaves are the entries' own hashes."""

    __tablename__ = "ledger_nodes"

    level: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    index: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[bytes] = mapped_column(LargeBinary(32))


class LedgerSubject(Table):
    """Which requests an entry is about: a look-up beside the tree, not part of it."""

    __tablename__ = "ledger_subjects"

    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(ForeignKey("ledger.seq"), primary_key=True)


class SearchedList(Table):
    """The adapters that were searched for somebody, as canonical JSON, where the ledger has the digest of it alone."""

    __tablename__ = "searched_lists"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    adapters: Mapped[str] = mapped_column(Text)


class SignedCheckpoint(Table):
    """A signed note of the tree's root at one size; rows are only ever added."""

    __tablename__ = "checkpoints"

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    note: Mapped[str] = mapped_column(Text)
    made_at: Mapped[datetime]


class CosignedCheckpoint(Table):
    """A witness's line on a signed checkpoint; rows are only ever added. `witness` is its C2SP verifier key."""

    __tablename__ = "cosignatures"

    size: Mapped[int] = mapped_column(ForeignKey("checkpoints.size"), primary_key=True, autoincrement=False)
    witness: Mapped[str] = mapped_column(Text, primary_key=True)
    line: Mapped[str] = mapped_column(Text)
    cosigned_at: Mapped[datetime]
    added_at: Mapped[datetime]


class SubjectSalt(Table):
    """What links a subject to the name that entries have for it; once it is gone, nothing does."""

    __tablename__ = "subject_salts"

    controller_id: Mapped[str] = mapped_column(ForeignKey("controllers.id"), primary_key=True)
    subject_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    salt: Mapped[bytes] = mapped_column(LargeBinary(32))
