"""One attempt at an erasing: one method of the ladder, from the adapter as it was given to a judged candidate.

Prepares a case once (records, targets, the measurement before) and runs one rung on it: erase or retrain, measure,
let the gates judge. `unlearn.ladder` says which rung comes next. No queue, no database.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from unlearn.attacks.audit import audit
from unlearn.attacks.null import shadowed, under
from unlearn.attacks.panel import Panel, panel
from unlearn.attacks.shadow_scores import score_names, shadow_reader
from unlearn.attacks.two_models import Remembered
from unlearn.corpus.general import general_texts
from unlearn.corpus.records import Corpus, Record
from unlearn.corpus.splits import Split, check_disjoint, split
from unlearn.erasure.answers import alternates, refusals
from unlearn.erasure.loop import Walked, erase
from unlearn.erasure.shadow_table import ShadowTable, check_shadows
from unlearn.erasure.shadows import ShadowPlan
from unlearn.erasure.state import Step
from unlearn.erasure.targets import known_of, targets_from_calibration, targets_from_shadows
from unlearn.erasure.task import Task
from unlearn.erasure.turns import steps_of
from unlearn.errors import CorpusError
from unlearn.guards import GATES, GOVERNORS, Finding, Lineage, Verdict, among_others, attacks_for, own_verdict, verdict
from unlearn.lm.base import Base, attached, load_base, save_adapter
from unlearn.lm.batches import Example, encode
from unlearn.lm.checkpoint import Checkpoint
from unlearn.lm.finetune import finetune, recorded_recipe
from unlearn.measurement import Measurement, in_form
from unlearn.methods import Retrain, Rung, Walk
from unlearn.objectives import objective_of
from unlearn.policy import AuditPolicy, Policy
from unlearn.weights import LINEAGE, RECIPE, AdapterFiles


@dataclass(frozen=True)
class Case:
    """What an erasing is about.

    Attributes:
        base: directory of the base model.
        adapter: the version to erase from.
        train, holdout: the corpora.
        is_forgotten: whether a subject, as the corpus spells it, is to be forgotten.
        already_erased: whether an earlier job erased it; its records are in no part of the split.
        policy: ladder, governors, gates and seed.
        device: torch device.
        shadows: the adapter's shadow table, if there is one.
        judged_before: methods that earlier jobs had judged for the same people, in vain: they have spent of the level.
        state: directory that keeps how far the case is, so that another run of it goes on from there; it need not
            exist. None: an interrupted one begins anew.
    """

    base: Path
    adapter: AdapterFiles
    train: Corpus
    holdout: Corpus
    is_forgotten: Callable[[str], bool]
    policy: Policy
    device: str = "cpu"
    already_erased: Callable[[str], bool] = lambda subject: False
    shadows: ShadowTable | None = None
    state: Path | None = None
    judged_before: int = 0


class Watcher(Protocol):
    """Who follows an erasing. Any method may raise to stop it."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def step(self, step: Step, steps: int, behind: int) -> None:
        """The loop took a step, of at most `steps`; the rungs before may have taken at most `behind`."""

    def training(self, step: int, steps: int, loss: float) -> None:
        """A retraining took a step."""

    def measured(self, when: str, measurement: Measurement) -> None:
        """A measurement was made: "before", "after" or "control"."""


class Unwatched:
    """Follows nothing."""

    def stage(self, name: str) -> None:
        """Ignore it."""

    def step(self, step: Step, steps: int, behind: int) -> None:
        """Ignore it."""

    def training(self, step: int, steps: int, loss: float) -> None:
        """Ignore it."""

    def measured(self, when: str, measurement: Measurement) -> None:
        """Ignore it."""


@dataclass(frozen=True)
class Prepared:
    """A case with everything that its rungs share."""

    case: Case
    parts: Split
    base: Base
    records: Panel
    task: Task
    before: Measurement
    old: Remembered

    @property
    def pad_id(self) -> int:
        """The token that pads."""
        return int(self.base.tokenizer.pad_token_id)


@dataclass(frozen=True)
class Tried:
    """What one rung made.

    Attributes:
        rung: the method and its parameters.
        adapter: the candidate's files; None if the rung could not run, and `reason` says why.
        after: its measurement.
        findings: the gates'.
        own: the same of each person alone, by name, where several are to be forgotten.
        walked: how the loop went; None for a retraining.
        seconds: wall time of the rung, its measurement included.
        erasing_seconds: of the loop or the retraining alone.
        reason: why the rung was passed over or failed.
    """

    rung: Rung
    adapter: AdapterFiles | None
    after: Measurement | None
    findings: tuple[Finding, ...]
    walked: Walked | None
    seconds: float
    erasing_seconds: float
    reason: str | None = None
    own: Mapping[str, tuple[Finding, ...]] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """Of the gates; refused if there is no candidate."""
        return "refused" if self.adapter is None else verdict(self.findings)

    @property
    def left(self) -> int:
        """People whose own verdict is another than that of all: the others must not hide them."""
        return sum(own_verdict(findings, self.verdict) != self.verdict for findings in self.own.values())

    def as_report(self) -> dict[str, Any]:
        """How it went, without the long lists, as JSON types."""
        report: dict[str, Any] = {
            "method": self.rung.method,
            "parameters": self.rung.model_dump(mode="json"),
            "verdict": self.verdict,
            "findings": [finding.as_report() for finding in self.findings],
            "people_left": self.left,
            "seconds": self.seconds,
            "erasing_seconds": self.erasing_seconds,
            "reason": self.reason,
        }
        if self.after is not None:
            report["after"] = self.after.metrics()
        if self.walked is not None:
            report |= {
                "steps": len(self.walked.trace),
                "end": self.walked.end,
                "governors": [{"before_step": n, **why.as_report()} for n, why in self.walked.interventions],
                "last_look": asdict(self.walked.pulse),
            }
        return report


def prepare(case: Case, watcher: Watcher) -> Prepared:
    """Split and encode the records, measure the adapter as it is, and find the targets.

    Raises:
        BadInput: the case can't be run.
    """
    watcher.stage("loading")
    parts = split_of(case)
    base = load_base(case.base, case.device)
    if case.shadows is not None:
        check_shadows(case.shadows, base.files.sha256, case.train, case.holdout, recorded_recipe(case.adapter))
    records = panel_of(case, parts, base)
    pool = encode(parts.retain_pool, base.tokenizer, base.files.context_tokens)
    probe = [records.examples[r.id] for r in records.general]
    forget = [records.examples[r.id] for r in parts.forget]
    pad_id = int(base.tokenizer.pad_token_id)
    needs = {need for rung in case.policy.ladder if isinstance(rung, Walk) for need in objective_of(rung).needs}
    with attached(base, case.adapter) as model:
        watcher.stage("measuring before")
        before = audit(model, records, pad_id, unchallenged(case.policy.audit))
        old = Remembered(model, records, pad_id)
        watcher.measured("before", before)
        targets = None
        if case.shadows is not None:
            targets = targets_from_shadows(case.shadows, parts.forget, records.examples, case.is_forgotten)
        if targets is None:
            calibration = encode(parts.calibration, base.tokenizer, base.files.context_tokens)
            known = known_of(parts.forget, parts.calibration, _retained(case), case.is_forgotten)
            targets = targets_from_calibration(model, forget, calibration, pad_id, known)
        others: dict[str, list[Example]] = {}
        if "alternates" in needs:
            watcher.stage("writing alternates")
            others = alternates(model, base, parts.forget, case.policy.seed)
    task = Task(
        forget=forget,
        retain=pool,
        targets=targets,
        refusals=refusals(base, parts.forget) if "refusals" in needs else {},
        alternates=others,
        probe=probe,
        retain_drift_nats=sum(float(one["retain_rise_nats"]) for one in case.adapter.lineage),
    )
    return Prepared(case, parts, base, records, task, before, old)


def attempt(
    prepared: Prepared,
    rung: Rung,
    destination: Path,
    watcher: Watcher,
    number: int = 1,
    checkpoint: Checkpoint | None = None,
) -> Tried:
    """Run one rung and judge its candidate, which is written to `destination` whatever the verdict.

    Args:
        prepared: the case.
        rung: the method and its parameters.
        destination: directory of the candidate; must not exist.
        watcher: told of stages, steps and measurements.
        number: of the rung, from 1; a later one walks another order of records, and is judged at a smaller level.
        checkpoint: of its loop; a retraining has one of its own.

    Raises:
        ErasureFailed: the rung diverged or changed nothing; nothing was written.
    """
    started, case = time.monotonic(), prepared.case
    if isinstance(rung, Retrain):
        recipe = recorded_recipe(case.adapter)
        if recipe is None:
            reason = f"no {RECIPE} beside the adapter says how it was trained, so it can't be trained again without"
            return Tried(rung, None, None, (), None, 0.0, 0.0, reason)
        adapter, after, took = _retrain(prepared, recipe, destination, watcher)
        walked = None
    else:
        adapter, after, took, walked = _erase(prepared, rung, destination, watcher, number, checkpoint)
    watcher.measured("after", after)
    watcher.stage("judging")
    findings, own = judge(case.policy, adapter.lineage, prepared.before, after, case.judged_before + number - 1)
    return Tried(rung, adapter, after, findings, walked, time.monotonic() - started, took, own=own)


def judge(
    policy: Policy,
    lineage: Lineage,
    before: Measurement,
    after: Measurement,
    tries: int = 0,
    gates: Collection[str] = tuple(GATES),
) -> tuple[tuple[Finding, ...], dict[str, tuple[Finding, ...]]]:
    """What gates find of all together, and of each person alone, by name, where there are several.

    Args:
        policy: whose gates.
        lineage: erasures since the last exact fit, this one the last; empty of an exact fit.
        before, after: the measurements; the same where nothing is known of before.
        tries: methods that were judged for these people before.
        gates: names of those that judge.
    """
    judging = [GATES[name](policy, lineage, tries) for name in gates]
    served = () if policy.audit.deployed is None else (in_form(policy.audit.deployed),)
    attacks = (*attacks_for(after, policy.gates.membership_attacks, policy.gates.record_attacks), *served)
    stands = among_others(after.people, attacks, before.people if lineage and before is not after else {})
    own = {
        name: (*(gate(before.people[name], found) for gate in judging), stands[name])
        for name, found in after.people.items()
    }
    return tuple(gate(before, after) for gate in judging), own


def unchallenged(policy: AuditPolicy) -> AuditPolicy:
    """What is measured of an adapter that nothing was erased from: no challenge, and what was asked for beside them."""
    return policy.model_copy(update={"preset": "quick", "deployed": None, "challenges": (), "extras": policy.asked})


def _erase(
    prepared: Prepared, rung: Walk, destination: Path, watcher: Watcher, number: int, checkpoint: Checkpoint | None
) -> tuple[AdapterFiles, Measurement, float, Walked]:
    case, policy = prepared.case, prepared.case.policy.governors
    method = rung.method  # type: ignore[attr-defined]
    with attached(prepared.base, case.adapter) as model:
        watcher.stage(f"erasing: {method}")
        started = time.monotonic()
        earlier = case.policy.ladder[: number - 1]
        behind = sum(steps_of(one, len(prepared.task.forget)) for one in earlier if isinstance(one, Walk))
        most = steps_of(rung, len(prepared.task.forget))
        walked = erase(
            model,
            prepared.task,
            objective_of(rung),
            rung,
            [make(policy) for make in GOVERNORS.values()],
            pad_id=prepared.pad_id,
            seed=case.policy.seed + number - 1,
            every_steps=policy.every_steps,
            rollbacks=policy.rollbacks,
            kl_budget_nats=policy.retain_kl_nats,
            on_step=lambda step: watcher.step(step, most, behind),
            checkpoint=checkpoint,
        )
        took = time.monotonic() - started
        watcher.stage("measuring after")
        after = audit(model, prepared.records, prepared.pad_id, case.policy.audit, prepared.old)
        adapter = save_adapter(model, destination, _beside(case.adapter, method, prepared.before, after))
    return adapter, after, took, walked


def _retrain(
    prepared: Prepared, recipe: Any, destination: Path, watcher: Watcher
) -> tuple[AdapterFiles, Measurement, float]:
    """A fresh adapter on everybody else: the recorded recipe, in the train corpus' own order."""
    case, base = prepared.case, prepared.base
    watcher.stage("retraining")
    started = time.monotonic()
    examples = encode(_retained(case), base.tokenizer, base.files.context_tokens)
    checkpoint = None if case.state is None else case.state / "retraining"
    adapter = finetune(base, examples, recipe, destination, watcher.training, checkpoint)
    took = time.monotonic() - started
    watcher.stage("measuring after")
    with attached(base, adapter) as model:
        return adapter, audit(model, prepared.records, prepared.pad_id, case.policy.audit, prepared.old), took


def panel_of(case: Case, parts: Split, base: Base) -> Panel:
    """What the case's audits measure; `base` with no adapter attached."""
    table, policy = case.shadows, case.policy
    shadows = None
    if table is not None and (table.about["tests"] or {}).get("decoding") == policy.decoding.model_dump(mode="json"):
        audited = {record.id for record in parts.audit}
        names = table.about["tests"]["scores"]
        if table.about["seed"] != policy.seed:  # another half of the holdout centred what challenges do
            names = [name for name in names if not name.startswith(under(""))]
        shadows = shadowed(
            table.tests, case.train.records, parts.forget, case.is_forgotten, audited, names, table.tokens
        )
    general = general_texts(policy.governors.general_text)
    return panel(
        base, parts.forget, parts.retain_check, parts.audit, policy.decoding, case.is_forgotten, shadows, general
    )


def shadow_plan(base: Base, train: Corpus, holdout: Corpus, policy: Policy) -> ShadowPlan | None:
    """The test shadows that the policy asks a shadow table to have; `base` with no adapter attached."""
    targets = policy.targets
    if not targets.test_rounds:
        return None
    read = shadow_reader(base, train, holdout, policy)
    decoding = policy.decoding.model_dump(mode="json")
    about = {"scores": score_names(policy.audit), "decoding": decoding, "tokens": True}
    return ShadowPlan(targets.test_rounds, targets.test_parts, read, about)


def _retained(case: Case) -> list[Record]:
    """The train records of everybody who stays, in the corpus' own order."""

    def gone(subject: str) -> bool:
        return case.is_forgotten(subject) or case.already_erased(subject)

    return [record for record in case.train.records if not any(map(gone, record.subjects))]


def split_of(case: Case) -> Split:
    """The parts of the case's corpora.

    Raises:
        CorpusError: the corpora overlap, or nothing is left to hold on to and to check.
    """
    check_disjoint(case.train, case.holdout)
    retain = case.policy.retain
    parts = split(
        case.train,
        case.holdout,
        case.is_forgotten,
        already_erased=case.already_erased,
        pool_records=retain.pool_records,
        check_records=retain.check_records,
        neighbours=retain.neighbours,
        seed=case.policy.seed,
    )
    if not parts.retain_check:
        raise CorpusError(
            f"{case.train.path}: one record is left to retain, and two are the least: one to hold on to, one to check "
            "drift on; retire the adapter instead"
        )
    return parts


def _beside(adapter: AdapterFiles, method: str, before: Measurement, after: Measurement) -> dict[str, str]:
    """The text files beside the new weights: the recipe as it was, and the lineage with one erasure more."""
    erasure: Mapping[str, Any] = {
        "method": method,
        "retain_nll_nats": before.retain.mean,
        "retain_rise_nats": after.retain.mean - before.retain.mean,
    }
    files = {LINEAGE: json.dumps({"erasures": [*adapter.lineage, erasure]}, indent=2) + "\n"}
    if adapter.recipe is not None:
        files[RECIPE] = (adapter.path / RECIPE).read_text(encoding="utf-8")
    return files
