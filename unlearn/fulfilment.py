"""The way of one request, top to bottom: a job from lease to release. The only place where the two wings meet.

    claim the job -> split by keyed hashes -> measure, erase, measure, judge -> release, hold, or fail

Every write carries the claim's fence, so a worker that lost its lease can change nothing. MLflow is told as it
happens; the database decides.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from unlearn import logs
from unlearn.attempt import Case, shadow_plan
from unlearn.cases.desk import Desk
from unlearn.cases.identity import subject_hash
from unlearn.cases.views import Claim, Own
from unlearn.erasure.shadow_table import ShadowTable, read_shadows
from unlearn.erasure.shadows import make_shadows
from unlearn.errors import BadInput, ErasureFailed, LeaseLost, ModelError, Unavailable
from unlearn.following import Follower, Heart
from unlearn.guards import WORSE, alone
from unlearn.ladder import Outcome, climb
from unlearn.lm.base import load_base
from unlearn.lm.finetune import recorded_recipe
from unlearn.policy import Policy, parse_policy
from unlearn.settings import Settings
from unlearn.shadow_file import drop_rows
from unlearn.storage import Handover, Loan, Vault
from unlearn.tracking.deferred import DeferredRun
from unlearn.tracking.review import write_review
from unlearn.tracking.runs import open_run
from unlearn.weights import read_base

log = logging.getLogger(__name__)

AGAIN_SECONDS = 0.5
"""Between two questions to a database that does not answer."""

T = TypeVar("T")


def fulfil(job_id: str, *, desk: Desk, settings: Settings, owner: str) -> None:
    """Carry out the most urgent job that is there to be claimed; whatever happens ends in the database.

    Args:
        job_id: for which the doorbell rang: by now another may be more urgent, and this one another doorbell's. A
            repeated or late doorbell finds nothing to claim.
        desk: the case wing.
        settings: where things are.
        owner: name of this worker, for the lease.
    """
    owner = f"{owner}:{secrets.token_hex(4)}"  # of this doorbell: a claim whose answer is lost is not made twice
    claim = _outlasting(lambda: desk.claim_first(owner), settings.lease_seconds)  # or the doorbell would be spent
    if claim is None:
        log.info("the doorbell of job %s found nothing to claim", job_id)
        return
    with logs.about(logs.job_id, claim.job_id):
        _carry_out(claim, desk, settings)


def _carry_out(claim: Claim, desk: Desk, settings: Settings) -> None:
    workshop = settings.home / "jobs" / claim.job_id / f"f{claim.fence}"
    handover = Handover(desk.vault, _state(claim, settings), claim.job_id, claim.fence)
    run = _run(desk, claim, settings)
    try:
        with Heart(desk, claim, settings.heartbeat_seconds) as heart, Loan(settings) as loan, handover:
            _describe(run, claim)
            follower = Follower(desk, claim, heart, run)
            if claim.kind == "shadows":
                _make_shadows(desk, claim, settings, loan, follower, run)
            else:
                case = _case(desk, claim, settings, loan)
                if _nothing_left(case):
                    _leave(desk, claim, settings, case)
                else:
                    outcome = climb(case, workshop / "adapter", follower)
                    _record(run, outcome)
                    _decide(desk, claim, settings, heart, case, outcome)
            handover.remove()
            run.finish()
    except LeaseLost:
        log.warning("job %s: lease of fence %d lost; leaving it to its new owner", claim.job_id, claim.fence)
        shutil.rmtree(workshop, ignore_errors=True)
    except (BadInput, ErasureFailed) as error:
        if _fail(desk, claim, run, str(error), final=True):
            handover.remove()
    except Unavailable as error:
        _put_off(desk, claim, run, settings, str(error))
    except Exception as error:
        # The message may hold anything; the log keeps the trace, the database only the kind.
        log.exception("job %s: attempt %d failed", claim.job_id, claim.attempt)
        _fail(
            desk,
            claim,
            run,
            f"unexpected {type(error).__name__}; the worker's log has the details",
            final=False,
        )
    except BaseException:  # told to stop: whoever comes next goes on from the last checkpoint
        _give_back(desk, claim)
        raise


def _case(desk: Desk, claim: Claim, settings: Settings, loan: Loan) -> Case:
    """The attempt's case, its subjects told apart by keyed hashes alone.

    Raises:
        BadInput: weights or a stored corpus are not what they were.
    """

    hashed = _hashing(settings)
    adapter = desk.vault.version(claim.adapter.current.path, loan)
    if not claim.adapter.current.is_made_of(adapter.sha256, adapter.config_sha256):
        what = "SHA-256" if adapter.sha256 != claim.adapter.current.sha256 else "adapter_config.json"
        raise ModelError(
            f"version {claim.adapter.current.number} of adapter '{claim.adapter.name}' is not what was registered: its "
            f"{what} differs; restore the file or register it anew"
        )
    base = loan.base(claim.adapter.base)
    if read_base(base).sha256 != claim.adapter.base_sha256:
        raise ModelError(f"base '{base}' changed since the adapter was registered; restore it or register it anew")
    case = Case(
        base=base,
        adapter=adapter,
        train=desk.corpus(claim.adapter, "train"),
        holdout=desk.corpus(claim.adapter, "holdout"),
        is_forgotten=lambda subject: hashed(subject) in claim.subject_hashes,
        already_erased=lambda subject: hashed(subject) in claim.erased_hashes,
        policy=_policy(claim),
        device=settings.device,
        state=_state(claim, settings),
        judged_before=claim.judged_before,
    )
    table = desk.vault.lend(_table(desk.vault, claim), loan)
    return case if table is None else replace(case, shadows=_shadows(desk.vault, table, claim, case))


def _shadows(vault: Vault, path: Path, claim: Claim, case: Case) -> ShadowTable:
    """The adapter's table, for its corpora as they are now: what it was made for, less whoever was erased since."""
    table = read_shadows(path)
    stay = {record.id for corpus in (case.train, case.holdout) for record in corpus.records}
    gone = {record for record, _ in (*table.rows, *table.tests)} - stay
    if gone and drop_rows(path, gone):  # of a case that closed just before its worker ended
        vault.replace(path, _table(vault, claim))
        table = read_shadows(path)
    kept = [corpus for version in claim.adapter.versions for corpus in version.corpora]
    about = dict(table.about)
    for kind, registered, now in (
        ("train", claim.adapter.train_sha256, case.train.sha256),
        ("holdout", claim.adapter.holdout_sha256, case.holdout.sha256),
    ):
        if about[f"{kind}_sha256"] in {registered, *(corpus.sha256 for corpus in kept if corpus.kind == kind)}:
            about[f"{kind}_sha256"] = now
    return replace(table, about=about)


def _nothing_left(case: Case) -> bool:
    """Whether there is nothing to forget: no train record named the subjects, or each that did is gone.

    One goes when somebody else is erased whom it named as well.
    """
    return not any(
        any(map(case.is_forgotten, record.subjects)) and not any(map(case.already_erased, record.subjects))
        for record in case.train.records
    )


def _leave(desk: Desk, claim: Claim, settings: Settings, case: Case) -> None:
    """Have the subjects' records leave the corpora, and the shadow table, where no weight is to change."""
    recorded = frozenset(map(_hashing(settings), case.train.subjects))
    _outlasting(lambda: desk.nothing_left(claim, recorded), settings.lease_seconds)
    if case.shadows is not None:
        _drop(desk.vault, claim, case, case.is_forgotten)


def _hashing(settings: Settings) -> Callable[[str], str]:
    @cache
    def hashed(subject: str) -> str:
        return subject_hash(settings.identity_hash_key, subject)

    return hashed


def _state(claim: Claim, settings: Settings) -> Path:
    """What outlives an attempt of the job, for the next one to go on from."""
    return settings.home / "jobs" / claim.job_id / "state"


def _table(vault: Vault, claim: Claim) -> str:
    """Where the adapter's shadow table is, once it is made."""
    return vault.place(claim.adapter.id, "shadows.parquet")


def _drop(vault: Vault, claim: Claim, case: Case, is_gone: Callable[[str], bool]) -> None:
    """What the table keeps of people who are gone goes with them."""
    records = [r.id for r in (*case.train.records, *case.holdout.records) if any(map(is_gone, r.subjects))]
    with Loan(vault.settings) as loan:
        table = vault.lend(_table(vault, claim), loan)
        if table is not None and drop_rows(table, records):
            vault.replace(table, _table(vault, claim))


def _make_shadows(
    desk: Desk, claim: Claim, settings: Settings, loan: Loan, follower: Follower, run: DeferredRun
) -> None:
    """Fit the folds and keep their signals; folds that an earlier worker finished here are not fitted again.

    Raises:
        BadInput: a file is not what it was at registration, or the adapter's recipe can't be used.
    """
    vault = desk.vault
    case, place = _case(desk, claim, settings, loan), _table(vault, claim)
    recipe = recorded_recipe(case.adapter)
    if recipe is None:
        raise ModelError(f"adapter '{claim.adapter.name}' has no recipe any more; restore it or register it anew")

    def on_fold(fold: int, folds: int) -> Callable[[int, int, float], None]:
        follower.stage(f"fitting fold {fold} of {folds}")
        return partial(follower.training, behind=(fold - 1) * recipe.steps(len(case.train.records)))

    table = vault.lend(place, loan)
    if table is None:
        table = Path(place) if vault.is_local else _state(claim, settings) / "shadows.parquet"
        table.unlink(missing_ok=True)  # whole, but not put into the store
        targets = case.policy.targets
        base = load_base(case.base, settings.device)
        made = make_shadows(
            base,
            case.train,
            case.holdout,
            recipe,
            targets.shadow_folds,
            table,
            seed=case.policy.seed,
            tests=shadow_plan(base, case.train, case.holdout, case.policy),
            on_fold=on_fold,
        )
        for fold, level in enumerate(made.about["fold_holdout_nlls_nats"], 1):
            run.metrics({"shadows/fold_holdout_nll_nats": level}, fold)
        vault.replace(table, place)
    desk.finish_shadows(claim, hashlib.sha256(table.read_bytes()).hexdigest())


def _policy(claim: Claim) -> Policy:
    return parse_policy(claim.policy, f"policy of adapter '{claim.adapter.name}'")


def _decide(desk: Desk, claim: Claim, settings: Settings, heart: Heart, case: Case, outcome: Outcome) -> None:
    """Release the candidate, or hold it for a person."""
    heart.check()
    place = desk.vault.place(claim.adapter.id, f"v{claim.next_number}.{claim.job_id}.f{claim.fence}")
    version = desk.vault.shelve(outcome.adapter, place)  # beside the old one, to serve or to wait for a person
    hashed = _hashing(settings)
    own = _own(outcome, case, hashed)

    def end() -> frozenset[str]:
        if outcome.verdict == "released":
            return desk.release(claim, version, outcome.report, own)
        desk.hold(claim, version, outcome.report, own)
        return frozenset()

    # An error says nothing of what the database took: the copy stays, and `clearing` asks which rows name it.
    erased = _outlasting(end, settings.lease_seconds)
    if erased and case.shadows is not None:
        _drop(desk.vault, claim, case, lambda subject: hashed(subject) in erased)
    shutil.rmtree(outcome.adapter.path.parent, ignore_errors=True)  # it lies on the shelf now


def _own(outcome: Outcome, case: Case, hashed: Callable[[str], str]) -> dict[str, Own]:
    """What the gates say of each subject alone, by its hash; of one that is spelled in two ways, the worse."""
    people = alone(outcome.own, outcome.verdict, (record.subjects for record in case.train.records))
    found: dict[str, Own] = {}
    for subject, (verdict, findings) in people.items():
        own = Own(verdict, tuple(finding.as_report() for finding in findings))
        known = found.get(hashed(subject))
        if known is None or WORSE[known.verdict] < WORSE[own.verdict]:
            found[hashed(subject)] = own
    return found


def _outlasting(ask: Callable[[], T], seconds: float) -> T:
    """Ask the database again and again, for so many seconds, when it does not answer.

    If it did the first time what it was asked, only its answer being lost, the next time the lease says so: it is held
    by then, or gone.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except Unavailable as error:
            if time.monotonic() > deadline:
                raise
            log.warning("waiting for the database: %s", error)
            time.sleep(AGAIN_SECONDS)


def _give_back(desk: Desk, claim: Claim) -> None:
    """Put the job back at once, rather than when its lease runs out; a worker that is ending has seconds for it."""
    try:
        desk.give_back(claim)
        log.info("job %s: handed back, since this worker was told to stop", claim.job_id)
    except Exception:
        log.warning("job %s: could not be handed back; its lease will run out", claim.job_id)


def _put_off(desk: Desk, claim: Claim, run: DeferredRun, settings: Settings, reason: str) -> None:
    """Leave the job for later, since something was away: that is no fault of the attempt's."""
    log.warning("job %s: put off: %s", claim.job_id, reason)
    run.finish(failed=True)
    try:
        _outlasting(lambda: desk.put_off(claim, reason), settings.lease_seconds)
    except LeaseLost:
        log.warning("job %s: lease lost before it was put off", claim.job_id)
    except Unavailable as error:
        log.warning("job %s: could not be put off, its lease will run out: %s", claim.job_id, error)


def _fail(desk: Desk, claim: Claim, run: DeferredRun, reason: str, *, final: bool) -> bool:
    """End an attempt that broke; whether the database took it."""
    log.error("job %s: attempt %d failed: %s", claim.job_id, claim.attempt, reason)
    run.finish(failed=True)
    try:
        desk.fail(claim, reason, final=final)
        return True
    except LeaseLost:
        log.warning("job %s: lease lost before the failure was noted", claim.job_id)
    except Unavailable as error:
        log.warning("job %s: the failure could not be noted, its lease will run out: %s", claim.job_id, error)
    return False


def _run(desk: Desk, claim: Claim, settings: Settings) -> DeferredRun:
    """The job's run, not yet opened; once it is, the database has its id before anything is told."""
    tags = {
        "unlearn.request": ",".join(claim.request_ids),
        "unlearn.adapter": claim.adapter.name,
        "unlearn.job": claim.job_id,
        "unlearn.attempt": str(claim.attempt),
    }
    return DeferredRun(
        partial(
            open_run,
            settings.effective_mlflow_uri,
            settings.mlflow_experiment,
            settings.home / "mlartifacts",
            f"{claim.adapter.name} {claim.job_id}",
            tags,
        ),
        claim.mlflow_run_id,
        lambda run_id: desk.started_run(claim, run_id),
    )


def _describe(run: DeferredRun, claim: Claim) -> None:
    policy = _policy(claim)
    run.params(
        {
            "ladder": " > ".join(rung.method for rung in policy.ladder),
            "seed": policy.seed,
            **_flat(policy.model_dump(mode="json")),
            "base_sha256": claim.adapter.base_sha256,
            "adapter_sha256": claim.adapter.current.sha256,
        }
    )


def _flat(data: dict[str, Any]) -> dict[str, Any]:
    """A policy's leaves by dotted names, the rungs by their number from 1."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if key == "ladder":
            for number, rung in enumerate(value, 1):
                flat |= {f"ladder.{number}.{name}": leaf for name, leaf in rung.items()}
        elif isinstance(value, dict):
            flat |= {f"{key}.{name}": leaf for name, leaf in value.items()}
    return flat


def _record(run: DeferredRun, outcome: Outcome) -> None:
    """Everything a reviewer opens: verdict, report, figure, the candidate itself."""
    run.tag({"unlearn.verdict": outcome.verdict, "unlearn.adapter_sha256": outcome.adapter.sha256})
    run.params({"records_forgotten": outcome.report["records_forgotten"], "method": outcome.report["method"]})
    with tempfile.TemporaryDirectory() as folder:
        write_review(Path(folder), outcome.before, outcome.after, outcome.report)
        run.directory(Path(folder))
    run.directory(outcome.adapter.path, "adapter")
