"""One attempt at an erasing: measure, erase, measure again, let the gates judge. No queue, no database.

This is the whole science of a job in the order it happens; `unlearn.fulfilment` puts a request around it and the
command line runs it bare.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import peft
import torch
import transformers

from unlearn import __version__
from unlearn.attacks.audit import Panel, audit, panel
from unlearn.corpus.records import Corpus
from unlearn.corpus.splits import Split, check_disjoint, split
from unlearn.erasure.loop import Step, erase
from unlearn.errors import CorpusError
from unlearn.guards import GATES, Finding, Verdict, verdict
from unlearn.lm.base import Base, attached, load_base, save_adapter
from unlearn.lm.batches import encode
from unlearn.measurement import Measurement
from unlearn.objectives import OBJECTIVES
from unlearn.policy import Policy
from unlearn.weights import RECIPE, AdapterFiles

SCHEMA = "unlearn/report/v1"


@dataclass(frozen=True)
class Case:
    """What an attempt is about.

    Attributes:
        base: directory of the base model.
        adapter: the version to erase from.
        train, holdout: the corpora.
        is_forgotten: whether a subject, as the corpus spells it, is to be forgotten.
        already_erased: whether an earlier job erased it; its records are in no part of the split.
        policy: objective, loop, gates and seed.
        device: torch device.
    """

    base: Path
    adapter: AdapterFiles
    train: Corpus
    holdout: Corpus
    is_forgotten: Callable[[str], bool]
    policy: Policy
    device: str = "cpu"
    already_erased: Callable[[str], bool] = lambda subject: False


class Watcher(Protocol):
    """Who follows an attempt. Any method may raise to stop it."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def step(self, step: Step, steps: int) -> None:
        """The loop took a step."""

    def measured(self, when: str, measurement: Measurement) -> None:
        """A measurement was made: "before", "after" or "control"."""


class Unwatched:
    """Follows nothing."""

    def stage(self, name: str) -> None:
        """Ignore it."""

    def step(self, step: Step, steps: int) -> None:
        """Ignore it."""

    def measured(self, when: str, measurement: Measurement) -> None:
        """Ignore it."""


@dataclass(frozen=True)
class Outcome:
    """What an attempt made: the candidate's files, its verdict, both measurements, and the report."""

    adapter: AdapterFiles
    verdict: Verdict
    before: Measurement
    after: Measurement
    report: dict[str, Any]


def attempt(case: Case, destination: Path, watcher: Watcher | None = None) -> Outcome:
    """Erase and judge. The candidate is written to `destination` whatever the verdict; releasing it is not done here.

    Args:
        case: what to erase from what.
        destination: directory of the new adapter; must not exist.
        watcher: told of stages, steps and measurements.

    Raises:
        BadInput: the case can't be run; nothing was written.
        ErasureFailed: the loop diverged or changed nothing; nothing was written.
    """
    watcher, started = watcher or Unwatched(), time.monotonic()
    watcher.stage("loading")
    parts = _split(case)
    base = load_base(case.base, case.device)
    pad_id = int(base.tokenizer.pad_token_id)
    records = panel(base, parts.forget, parts.retain_check, parts.audit)
    pool = encode(parts.retain_pool, base.tokenizer, base.files.context_tokens)
    with attached(base, case.adapter) as model:
        watcher.stage("measuring before")
        before = audit(model, records, pad_id)
        watcher.measured("before", before)
        watcher.stage("erasing")
        steps = case.policy.loop.steps
        trace = erase(
            model,
            [records.examples[r.id] for r in parts.forget],
            pool,
            OBJECTIVES[case.policy.method],
            case.policy.loop,
            pad_id=pad_id,
            seed=case.policy.seed,
            on_step=lambda step: watcher.step(step, steps),
        )
        watcher.stage("measuring after")
        after = audit(model, records, pad_id)
        watcher.measured("after", after)
        watcher.stage("judging")
        findings = [make(case.policy.gates)(before, after) for make in GATES.values()]
        adapter = save_adapter(model, destination, _recipe(case.adapter))
    report = _report(case, parts, base, before, after, findings, trace, time.monotonic() - started)
    report["adapter"]["after_sha256"] = adapter.sha256
    return Outcome(adapter, verdict(findings), before, after, report)


def examine(case: Case, control: AdapterFiles | None = None, watcher: Watcher | None = None) -> dict[str, Any]:
    """Measure one adapter as it is, and a control beside it if there is one; the report has an attempt's shape.

    `before` and `after` are the same measurement; the gates that compare the two have nothing to say, so the
    membership gate alone judges.

    Raises:
        BadInput: the case can't be run.
    """
    watcher, started = watcher or Unwatched(), time.monotonic()
    watcher.stage("loading")
    parts = _split(case)
    base = load_base(case.base, case.device)
    records = panel(base, parts.forget, parts.retain_check, parts.audit)
    watcher.stage("measuring")
    found = _measure(base, case.adapter, records)
    watcher.measured("after", found)
    findings = [GATES["membership"](case.policy.gates)(found, found)]
    seconds = time.monotonic() - started
    report = _report(case, parts, base, found, found, findings, [], seconds) | {
        "method": "audit",
        "seconds": seconds,
    }
    report["adapter"]["after_sha256"] = case.adapter.sha256
    if control is not None:
        watcher.stage("measuring the control")
        other = _measure(base, control, records)
        watcher.measured("control", other)
        report["control"] = {
            "sha256": control.sha256,
            **other.as_report(),
            **compare_to_control(found.forget.nlls, other.forget.nlls),
        }
    return report


def compare_to_control(found: Mapping[str, float], control: Mapping[str, float]) -> dict[str, float]:
    """How far the forget records are, one by one, from where the control has them.

    Args:
        found, control: NLL of each forget record, nats per token, by record id; the same ids.

    Returns:
        Mean absolute gap in nats per token, Pearson correlation of the records' NLLs, p-value of the two-sample
        Kolmogorov-Smirnov test between their distributions.
    """
    from scipy import stats

    ids = sorted(found)
    ours, theirs = [found[i] for i in ids], [control[i] for i in ids]
    gap = sum(abs(a - b) for a, b in zip(ours, theirs, strict=True)) / len(ids)
    numbers = {"mean_gap_nats": gap, "ks_p_value": float(stats.ks_2samp(ours, theirs).pvalue)}
    if len(set(ours)) > 1 and len(set(theirs)) > 1:
        numbers["correlation"] = float(stats.pearsonr(ours, theirs).statistic)
    return numbers


def _measure(base: Base, adapter: AdapterFiles, records: Panel) -> Measurement:
    with attached(base, adapter) as model:
        return audit(model, records, int(base.tokenizer.pad_token_id))


def _split(case: Case) -> Split:
    check_disjoint(case.train, case.holdout)
    loop = case.policy.loop
    parts = split(
        case.train,
        case.holdout,
        case.is_forgotten,
        already_erased=case.already_erased,
        pool_records=loop.retain_pool_records,
        check_records=loop.retain_check_records,
        seed=case.policy.seed,
    )
    if not parts.retain_check:
        raise CorpusError(
            f"{case.train.path}: one record is left to retain, and two are the least: one to hold on to, one to check "
            "drift on; retire the adapter instead"
        )
    return parts


def _recipe(adapter: AdapterFiles) -> dict[str, str]:
    file = adapter.path / RECIPE
    return {RECIPE: file.read_text(encoding="utf-8")} if file.is_file() else {}


def _report(
    case: Case,
    parts: Split,
    base: Base,
    before: Measurement,
    after: Measurement,
    findings: Iterable[Finding],
    trace: Sequence[Step],
    seconds: float,
) -> dict[str, Any]:
    findings = list(findings)
    return {
        "schema": SCHEMA,
        "verdict": verdict(findings),
        "findings": [finding.as_report() for finding in findings],
        "method": case.policy.method,
        "seed": case.policy.seed,
        "records_forgotten": len(parts.forget),
        "steps": len(trace),
        "seconds": seconds,
        "before": before.as_report(),
        "after": after.as_report(),
        "trace": [asdict(step) for step in trace],
        "policy": case.policy.model_dump(mode="json"),
        "base": {"sha256": base.files.sha256},
        "adapter": {"before_sha256": case.adapter.sha256},
        "corpora": {
            "train_sha256": case.train.sha256,
            "holdout_sha256": case.holdout.sha256,
            "retain_pool_records": len(parts.retain_pool),
            "calibration_records": len(parts.calibration),
        },
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """What ran: this program, its libraries, Python."""
    return {
        "unlearn": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "python": platform.python_version(),
    }
