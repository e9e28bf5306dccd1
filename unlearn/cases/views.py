"""What the case wing tells others: frozen records of its state. Knows no SQL and no wire format."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from unlearn.cases.clock import Regulation

RequestState = Literal["pending", "in_progress", "completed", "needs_review", "cancelled", "rejected"]
UNANSWERED: tuple[RequestState, ...] = ("pending", "in_progress", "needs_review")
"""States in which the controller still waits for an answer: the clock runs."""
JobKind = Literal["erasure", "shadows"]
CorpusKind = Literal["train", "holdout"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]
ErrandKind = Literal["callback", "opendsr", "deploy", "checkpoint"]
ErrandState = Literal["waiting", "done", "failed", "overtaken"]


OPENDSR_STATUS: dict[RequestState, Literal["pending", "in_progress", "completed", "cancelled"]] = {
    "pending": "pending",
    "in_progress": "in_progress",
    "needs_review": "in_progress",
    "completed": "completed",
    "cancelled": "cancelled",
    "rejected": "cancelled",
}
"""Our states in OpenDSR's words (OpenDSR 2.0, section 8)."""


@dataclass(frozen=True)
class Trace:
    """Where a job stands, and where weights lie that rows name as its own: versions and a held candidate."""

    state: JobState
    fence: int
    places: frozenset[str]

    @property
    def ended(self) -> bool:
        """Whether nobody will work on it any more."""
        return self.state not in ("queued", "running")


@dataclass(frozen=True)
class CorpusView:
    """A corpus that the service keeps of a version; `sha256` is that of its JSON Lines, not of the sealed file."""

    kind: CorpusKind
    sha256: str
    records: int


@dataclass(frozen=True)
class VersionView:
    """One immutable set of weights of an adapter, with its corpora; purged once its quarantine is over.

    `made_from` is the number of the version that its job began with; None of the first.
    `config_sha256` is that of its adapter_config.json; None of a version from before that was noted.
    """

    number: int
    sha256: str
    path: str
    job_id: str | None
    created_at: datetime
    quarantined_at: datetime | None = None
    purge_after: datetime | None = None
    purged_at: datetime | None = None
    corpora: tuple[CorpusView, ...] = ()
    config_sha256: str | None = None
    made_from: int | None = None

    def is_made_of(self, sha256: str, config_sha256: str) -> bool:
        """Whether these are the digests of its weights and, as far as it was noted, of its config."""
        return sha256 == self.sha256 and self.config_sha256 in (None, config_sha256)


@dataclass(frozen=True)
class AdapterView:
    """A registered adapter; `versions` from the first to the newest, `current` the one that serves.

    A retired one serves no more. One out of an old backup awaits requests, by id, before it serves. `recipe` is how it
    was trained; None if nobody said, or it was registered before that was kept.

    `served_as` is its name on the servers that hooks tell, which no adapter of another company has.

    `shadows` is the state of the job that makes its shadow table, or None if none was asked for.
    """

    id: str
    name: str
    served_as: str
    base: str
    base_sha256: str
    train: str
    train_sha256: str
    train_records: int
    holdout: str
    holdout_sha256: str
    holdout_records: int
    policy: dict[str, Any]
    recipe: dict[str, Any] | None
    shadows: JobState | None
    created_at: datetime
    retired_at: datetime | None
    awaits: tuple[str, ...]
    current: VersionView
    versions: tuple[VersionView, ...]


@dataclass(frozen=True)
class Progress:
    """Where a running job is; `steps` is 0 in stages without steps."""

    stage: str
    step: int
    steps: int


@dataclass(frozen=True)
class JobSummary:
    """A job as its request shows it.

    Where several requests share it, `verdict` is the request's own and `findings` are what the gates found of its
    subject alone; the job's report is about all of them.
    """

    id: str
    adapter: str
    state: JobState
    verdict: str | None
    progress: Progress | None
    records: int
    findings: tuple[dict[str, Any], ...] | None = None


@dataclass(frozen=True)
class Own:
    """What the gates say of one subject of a job that several share: her verdict, and each gate's finding as JSON.

    The verdict is never better than the job's.
    """

    verdict: Literal["released", "refused", "inconclusive"]
    findings: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class RequestView:
    """One deletion request; the subject is there as a keyed hash alone.

    `received_at` is when the controller got it, `created_at` when we did, and said so: our answer confirms its receipt.
    `held_by` is a request of the same subject under a legal hold, which may be this one, while it waits for that to be
    lifted. `decision` is what a person decided of it.
    """

    id: str
    external_id: str | None
    state: RequestState
    subject_hash: str
    regulation: Regulation
    submitted_by: str
    received_at: datetime
    due_at: datetime
    confirm_by: datetime | None
    extended_at: datetime | None
    extension_reason: str | None
    held_at: datetime | None
    hold_reason: str | None
    held_by: str | None
    decision: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    jobs: tuple[JobSummary, ...]

    @property
    def confirmed_at(self) -> datetime:
        """When its receipt was confirmed."""
        return self.created_at

    @property
    def confirmed_late(self) -> bool:
        """Whether that was after it was to be confirmed, where the regulation asks for it."""
        return self.confirm_by is not None and self.created_at > self.confirm_by


@dataclass(frozen=True)
class Touched:
    """An adapter that has records of a subject, and how many it learned; when they were erased, if they were.

    It learned none of one whom the holdout alone names.
    """

    adapter: str
    records: int
    erased_at: datetime | None


@dataclass(frozen=True)
class EndpointView:
    """An address that is told what becomes of a company's requests, without its secrets.

    `old_secret_until` is when the secret of before stops signing, or stopped; None if there was none.
    """

    id: str
    url: str
    created_at: datetime
    created_by: str
    old_secret_until: datetime | None
    disabled_at: datetime | None
    disabled_reason: str | None


@dataclass(frozen=True)
class MessageView:
    """A callback or a deployment, and how it went. `target` is the endpoint's id or the hook's name."""

    id: str
    kind: ErrandKind
    target: str
    event: str
    about: str
    state: ErrandState
    attempts: int
    next_at: datetime | None
    last_error: str | None
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class Task:
    """A leased errand, with what it takes to run it; `attempt` is its fence, each of `secrets` signs."""

    id: str
    attempt: int
    kind: ErrandKind
    target: str
    payload: dict[str, Any]
    url: str | None
    secrets: tuple[str, ...]
    first_attempt_at: datetime


@dataclass(frozen=True)
class KeyView:
    """An API key, without its secret."""

    id: str
    controller: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True)
class Superseded:
    """A version that still knew whom a job erased, and what became of it and its corpora."""

    number: int
    sha256: str
    quarantined_at: datetime | None
    purge_after: datetime | None
    purged_at: datetime | None


@dataclass(frozen=True)
class JobView:
    """One erasing on one adapter, for one or more requests; or the making of its shadow table, for none.

    `erased` says which records left which corpus, by id; `superseded` which versions knew the people before, the newest
    first; `purged_at` when the job's own files, and a candidate that nobody released, were purged.
    """

    id: str
    kind: JobKind
    adapter: str
    request_ids: tuple[str, ...]
    state: JobState
    attempt: int
    verdict: str | None
    progress: Progress | None
    mlflow_run_id: str | None
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    report: dict[str, Any] | None
    erased: dict[str, Any] | None = None
    superseded: tuple[Superseded, ...] = ()
    purged_at: datetime | None = None


@dataclass(frozen=True)
class Purge:
    """What is due to be purged: a version with its corpora, corpora that others replaced, or what a job left behind.

    Attributes:
        adapter_id: the adapter's.
        number: of the version; None for a job's.
        job_id: of the job; None for a version's.
        places: paths or URLs of files and directories.
        run_id: of the MLflow run whose copy of the weights goes too.
        since: when it was begun, if it was.
    """

    adapter_id: str
    number: int | None
    job_id: str | None
    places: tuple[str, ...]
    run_id: str | None
    since: datetime | None
    edition: int | None = None
    """Of the version's corpora, where these alone are to go."""


@dataclass(frozen=True)
class Wait:
    """How many wait, and how long the oldest of them has."""

    number: int
    oldest_seconds: float


@dataclass(frozen=True)
class Figures:
    """The service in numbers: of one controller, or of all.

    Attributes:
        requests: by state.
        overdue: not ended, and past their due date.
        confirmed_late: whose receipt was confirmed after it was to be, whatever became of them.
        due_soon: not ended, and due within a week.
        held: not ended, and under a legal hold.
        jobs: by kind and state.
        queue: jobs that a worker could take now.
        expired_leases: running jobs whose worker fell silent.
        outbox: doorbells that have not rung.
        errands: callbacks and deployments, by kind and state.
        errands_due: those that could be run now.
        errands_retried: those that failed and are tried again, by kind.
        errand_failures: attempts that failed, by kind.
        errand_seconds: since the oldest that still waits was planned, by kind.
        verdicts: of the gates, by verdict and method.
        attempts: starts of jobs, by kind.
        job_seconds: from first start to end, of each job that ended within the last day, by kind.
        stage_seconds: what each of those spent in a stage, over all its attempts, by stage.
    """

    requests: dict[str, int]
    overdue: int
    confirmed_late: int
    due_soon: int
    held: int
    jobs: dict[tuple[str, str], int]
    queue: Wait
    expired_leases: int
    outbox: Wait
    errands: dict[tuple[str, str], int]
    errands_due: Wait
    errands_retried: dict[str, int]
    errand_failures: dict[str, int]
    errand_seconds: dict[str, float]
    verdicts: dict[tuple[str, str], int]
    attempts: dict[str, int]
    job_seconds: dict[str, tuple[float, ...]]
    stage_seconds: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Claim:
    """A leased job: everything a worker needs, and the fence that every write of it must carry."""

    job_id: str
    kind: JobKind
    fence: int
    attempt: int
    adapter: AdapterView
    subject_hashes: frozenset[str]
    erased_hashes: frozenset[str]
    request_ids: tuple[str, ...]
    mlflow_run_id: str | None
    policy: dict[str, Any]
    next_number: int
    judged_before: int = 0


@dataclass(frozen=True)
class EntryView:
    """An entry of the ledger; of another company's, the hash alone."""

    seq: int
    hash: str
    at: str | None = None
    action: str | None = None
    facts: dict[str, Any] | None = None


def rfc3339(moment: datetime) -> str:
    """The moment in UTC with milliseconds, as RFC 3339 spells it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_json(view: RequestView | JobView) -> dict[str, Any]:
    """The view as JSON types."""

    def plain(value: Any) -> Any:
        if isinstance(value, datetime):
            return rfc3339(value)
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return value

    return {key: plain(value) for key, value in asdict(view).items()}
