"""The ladder: one method after another, each from the adapter as it was given, until the gates release one.

    prepare -> [attempt -> gates] per rung -> the best candidate, and the report on all of them

This is the whole science of a job in the order it happens; `unlearn.fulfilment` puts a request around it and the
command line runs it bare.
"""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy
import peft
import scipy
import sklearn
import torch
import transformers
from scipy import stats

from unlearn import __version__
from unlearn.attacks.audit import audit
from unlearn.attacks.shadow_scores import TOO_DEAR
from unlearn.attacks.statistics import has_power
from unlearn.attacks.tokens import TOKENWISE
from unlearn.attacks.truth_ratio import truth_ratios
from unlearn.attacks.two_models import Remembered
from unlearn.attempt import (
    Case,
    Prepared,
    Tried,
    Unwatched,
    Watcher,
    attempt,
    judge,
    panel_of,
    prepare,
    split_of,
    unchallenged,
)
from unlearn.corpus.splits import never_seen
from unlearn.errors import ErasureFailed, ModelError
from unlearn.guards import GATES, WORSE, Finding, Verdict, verdict
from unlearn.guards.robustness import recoveries
from unlearn.lm.base import Base, attached, load_base
from unlearn.measurement import Measurement
from unlearn.rungs import Rungs, rungs_of
from unlearn.weights import AdapterFiles, copy_adapter

SCHEMA = "unlearn/report/v1"
WANTING = ("membership", "retain_drift")
"""Gates that have no interval where there are too few records or people."""


@dataclass(frozen=True)
class Outcome:
    """What a job made: the candidate's files, its verdict, both measurements, and the report.

    `own` has what the gates find of each person alone, by name, where several were to be forgotten.
    """

    adapter: AdapterFiles
    verdict: Verdict
    before: Measurement
    after: Measurement
    report: dict[str, Any]
    own: Mapping[str, tuple[Finding, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Examined:
    """What an audit found: measurements of the adapter as it was, as it is, and of a control; else as in `Outcome`."""

    before: Measurement | None
    after: Measurement
    control: Measurement | None
    report: dict[str, Any]
    own: Mapping[str, tuple[Finding, ...]] = field(default_factory=dict)


def climb(case: Case, destination: Path, watcher: Watcher | None = None) -> Outcome:
    """Erase and judge, rung by rung. The candidate is written to `destination` whatever the verdict.

    A rung that is released, for each person alone as well, ends the climb. So does one that is inconclusive for want of
    data alone: no other method brings more records. Of several that end it not, the least bad is kept, the later one
    of equals. What an earlier climb of the same case left in its directory of state is taken up, and stays there.

    Args:
        case: what to erase from what.
        destination: directory of the new adapter; must not exist.
        watcher: told of stages, steps and measurements.

    Raises:
        BadInput: the case can't be run; nothing was written.
        ErasureFailed: no rung made a candidate; nothing was written.
    """
    watcher, started = watcher or Unwatched(), time.monotonic()
    prepared, rungs = prepare(case, watcher), rungs_of(case)
    tries: list[Tried] = []
    drafts = destination.with_name(f".{destination.name}.rungs")
    shutil.rmtree(drafts, ignore_errors=True)
    try:
        for number in range(1, len(case.policy.ladder) + 1):
            tried = rungs.finished(number)
            if tried is None:
                tried = _try(prepared, number, drafts / str(number), watcher, rungs)
            tries.append(tried)
            if (tried.verdict == "released" and not tried.left) or _for_want_of_data(tried, case.policy.audit.deployed):
                break
        best = _best(tries)
        assert best.adapter is not None  # noqa: S101
        assert best.after is not None  # noqa: S101
        adapter = copy_adapter(best.adapter, destination)
    finally:
        shutil.rmtree(drafts, ignore_errors=True)
    report = _erasing_report(prepared, tries, best, time.monotonic() - started)
    report["adapter"] |= {"after_sha256": adapter.sha256, "after_config_sha256": adapter.config_sha256}
    return Outcome(adapter, best.verdict, prepared.before, best.after, report, best.own)


def _try(prepared: Prepared, number: int, draft: Path, watcher: Watcher, rungs: Rungs) -> Tried:
    """Run rung `number`, and keep what it made; a ladder of one rung that breaks has nothing to go on with."""
    ladder = prepared.case.policy.ladder
    rung = ladder[number - 1]
    try:
        tried = attempt(prepared, rung, draft, watcher, number, rungs.walk(number))
    except (ErasureFailed, ModelError) as error:  # what can't be measured is no candidate either
        if len(ladder) == 1:
            raise
        tried = Tried(rung, None, None, (), None, 0.0, 0.0, str(error))
    rungs.keep(number, tried)
    return tried


def _best(tries: list[Tried]) -> Tried:
    made = [tried for tried in tries if tried.adapter is not None]
    if not made:
        reasons = "; ".join(f"{tried.rung.method}: {tried.reason}" for tried in tries)
        raise ErasureFailed(f"no method of the ladder made an adapter: {reasons}")
    return min(reversed(made), key=lambda tried: (WORSE[tried.verdict], tried.left))


def _for_want_of_data(tried: Tried, deployed: str | None) -> bool:
    """Whether all that stands against a release is that too few records give no interval.

    A candidate of which the deployed format could not be read has none either, and another method's may be readable.
    """
    against = [finding for finding in tried.findings if finding.outcome in ("fail", "inconclusive")]
    unread = tried.after is not None and deployed in tried.after.skipped
    return (
        bool(against)
        and not unread
        and all(f.outcome == "inconclusive" and f.interval is None and f.gate in WANTING for f in against)
    )


def examine(
    case: Case,
    control: AdapterFiles | None = None,
    watcher: Watcher | None = None,
    original: AdapterFiles | None = None,
    *,
    retrained: bool = False,
) -> Examined:
    """Measure one adapter as it is, and a control beside it if there is one; the report has an erasing's shape.

    With the adapter as it was before an erasing, every gate judges. Without, `before` and `after` are the same
    measurement: the gates that compare the two have nothing to say, and the membership gate can refuse but not pass.

    Args:
        case: with the adapter in question.
        control: an adapter retrained without the people.
        watcher: is told how far it is.
        original: the adapter as it was.
        retrained: whoever asks says that the adapter was trained without the people, not erased. Nothing here can see
            that: it is judged by what an exact fit must show, and the report says who said so. Whatever files lie
            beside the weights, an adapter is judged as an erasing without it.

    Raises:
        BadInput: the case can't be run.
    """
    watcher, started = watcher or Unwatched(), time.monotonic()
    watcher.stage("loading")
    parts, policy = split_of(case), case.policy.audit
    base = load_base(case.base, case.device)
    records = panel_of(case, parts, base)

    old: Remembered | None = None

    def measure(adapter: AdapterFiles, when: str, *, tried: bool) -> Measurement:
        nonlocal old
        with attached(base, adapter) as model:
            pad_id = int(base.tokenizer.pad_token_id)
            found = audit(model, records, pad_id, policy if tried else unchallenged(policy), old)
            if control is not None and when != "before":
                found = replace(found, truth_ratios=truth_ratios(model, records, pad_id))
            if when == "before":
                old = Remembered(model, records, pad_id)
        watcher.measured(when, found)
        return found

    watcher.stage("measuring")
    before = None if original is None else measure(original, "before", tried=False)
    found = measure(case.adapter, "after", tried=before is not None)
    report, own = _audit_report(case, base, before, found, original, retrained=retrained)
    report |= {"records_forgotten": len(parts.forget), "seconds": time.monotonic() - started}
    other = None
    if control is not None:
        watcher.stage("measuring the control")
        other = measure(control, "control", tried=False)
        report["control"] = {
            "sha256": control.sha256,
            **other.as_report(),
            **compare_to_control(found, other),
        }
    return Examined(before, found, other, report, own)


def _audit_report(
    case: Case,
    base: Base,
    before: Measurement | None,
    found: Measurement,
    original: AdapterFiles | None,
    *,
    retrained: bool,
) -> tuple[dict[str, Any], dict[str, tuple[Finding, ...]]]:
    """What the gates say of an adapter that nobody erased here, of all together and of each person alone."""
    gates = ("membership", "alarm") if before is None else tuple(GATES)
    lineage = [] if retrained else [*(original or case.adapter).lineage, _erasure(before or found, found)]
    findings, own = judge(case.policy, lineage, before or found, found, gates=gates)
    report = _frame(case, base, before or found, found, findings) | {"method": "audit", "steps": 0, "trace": []}
    if retrained:
        said = "judged as retrained without the people, as whoever asked for the audit says"
        report["warnings"] = [*report.get("warnings", []), said]
    if original is not None:
        report["adapter"]["before_sha256"] = original.sha256
    report["adapter"]["after_sha256"] = case.adapter.sha256
    return report, own


def _erasure(before: Measurement, after: Measurement) -> dict[str, Any]:
    """One more erasure of a lineage, as it was measured."""
    drift = after.retain.mean - before.retain.mean
    return {"method": "unknown", "retain_nll_nats": before.retain.mean, "retain_rise_nats": drift}


def compare_to_control(found: Measurement, control: Measurement) -> dict[str, float]:
    """How far an adapter is from a control, one forget record by another, and as MUSE and TOFU would say it.

    Returns:
        Mean absolute gap in nats per token; Pearson correlation of the records' NLLs; share of records whose
        neighbour in the holdout's order (its rank among never-seen NLLs) is within a tenth of the control's; forget
        quality as the p-value of a two-sample Kolmogorov-Smirnov test on the truth ratios (TOFU, arXiv 2401.06121), on
        the NLLs and on the Min-K %++ scores; PrivLeak (MUSE, arXiv 2407.06460): 100 (AUC -
        AUC of the control) / AUC of the control, of non-members over members in Min-40 %. Without what can't be had.
    """
    ids = sorted(found.forget.nlls)
    ours, theirs = [found.forget.nlls[i] for i in ids], [control.forget.nlls[i] for i in ids]
    ranks = [
        numpy.searchsorted(numpy.sort(list(one.holdout.nlls.values())), side) / len(one.holdout.nlls)
        for one, side in ((found, ours), (control, theirs))
    ]
    numbers = {
        "mean_gap_nats": fmean(abs(a - b) for a, b in zip(ours, theirs, strict=True)),
        "ks_p_value": float(stats.ks_2samp(ours, theirs).pvalue),
        "agreement": float((numpy.abs(ranks[0] - ranks[1]) <= 0.1).mean()),
    }
    if len(set(ours)) > 1 and len(set(theirs)) > 1:
        numbers["correlation"] = float(stats.pearsonr(ours, theirs).statistic)
    if found.truth_ratios and control.truth_ratios:
        ratios = [list(one.truth_ratios.values()) for one in (found, control)]
        numbers["ks_p_value_truth_ratio"] = float(stats.ks_2samp(*ratios).pvalue)
    if "min_k_plus_plus" in found.scores and "min_k_plus_plus" in control.scores:
        sides = [
            [m.scores["min_k_plus_plus"][i] for i in ids if i in m.scores["min_k_plus_plus"]] for m in (found, control)
        ]
        numbers["ks_p_value_min_k_plus_plus"] = float(stats.ks_2samp(*sides).pvalue)
    if found.min_40_auc is not None and control.min_40_auc is not None and control.min_40_auc < 1:
        mine, reference = 1 - found.min_40_auc, 1 - control.min_40_auc
        numbers["priv_leak"] = 100 * (mine - reference) / reference
    return numbers


def _erasing_report(prepared: Prepared, tries: list[Tried], best: Tried, seconds: float) -> dict[str, Any]:
    assert best.after is not None  # noqa: S101
    parts, targets = prepared.parts, prepared.task.targets
    walked = best.walked
    report = _frame(prepared.case, prepared.base, prepared.before, best.after, best.findings) | {
        "method": best.rung.method,
        "records_forgotten": len(parts.forget),
        "steps": 0 if walked is None else len(walked.trace),
        "trace": [] if walked is None else [asdict(step) for step in walked.trace],
        "seconds": seconds,
        "attempts": [tried.as_report() | {"kept": tried is best} for tried in tries],
        "lineage": list(best.adapter.lineage) if best.adapter else [],
    }
    report["corpora"] |= {
        "retain_pool_records": len(parts.retain_pool),
        "calibration_records": len(parts.calibration),
    }
    before = prepared.case.judged_before
    warnings = report.get("warnings", [])
    if before:
        warnings.append(
            f"{before} methods were judged for these people before, in vain; each is tested at three quarters of what "
            "those before it left of the policy's level, so that all of them together keep within it"
        )
    if targets is not None:
        report["targets"] = {"source": targets.source, "sentence": targets.sentence, "nlls_nats": dict(targets.nlls)}
        if targets.source == "base":
            warnings.append("no holdout record was left to calibrate on: the targets are the base model's own")
    return report | ({"warnings": warnings} if warnings else {})


def _frame(
    case: Case, base: Base, before: Measurement, after: Measurement, findings: Iterable[Finding]
) -> dict[str, Any]:
    """What every report says."""
    findings = list(findings)
    return {
        "schema": SCHEMA,
        "verdict": verdict(findings),
        "findings": [finding.as_report() for finding in findings],
        "seed": case.policy.seed,
        "before": before.as_report(),
        "after": after.as_report(),
        "recoveries": recoveries(before, after),
        "worst_hit": worst_hit(before, after),
        "attacks_without_power": sorted(name for name, one in before.membership.items() if not has_power(one)),
        "policy": case.policy.model_dump(mode="json"),
        "base": {"sha256": base.files.sha256},
        "adapter": {"before_sha256": case.adapter.sha256},
        "corpora": {"train_sha256": case.train.sha256, "holdout_sha256": case.holdout.sha256},
        "shadows": None if case.shadows is None else dict(case.shadows.about),
        "versions": versions(),
        **({"warnings": warnings} if (warnings := [*_warnings(case), *unshadowed(after)]) else {}),
    }


def _warnings(case: Case) -> list[str]:
    """What whoever reads the report should know of the case."""
    known = len(case.holdout.records) - len(never_seen(case.train, case.holdout))
    if not known:
        return []
    return [f"{known} records of the holdout name people of the train corpus, and are left out of what was never seen"]


def unshadowed(found: Measurement) -> list[str]:
    """What a table that knows these people does not say of them: it was made under another policy, or before."""
    if not any(test.null == "shadows" for test in found.subject_tests.values()):
        return []
    person = found.forget.person
    warnings = []
    if not set(TOKENWISE) <= set(found.subject_tests):
        warnings.append(
            "the shadow table keeps no tokens, so that attacks on whole records judge these people, less surely: make "
            "the table anew"
        )
    missing = sorted(
        name
        for name, nlls in found.challenges.items()
        if name not in TOO_DEAR
        and not {person[r] for r in nlls if r in person} <= set(found.expected_falls.get(name, {}))
    )
    if missing:
        warnings.append(
            f"the shadow table does not say what {', '.join(missing)} would do to these people in adapters that never "
            "saw them; people never seen say it instead, less surely: make the table anew under this policy"
        )
    return warnings


def worst_hit(before: Measurement, after: Measurement, count: int = 5) -> dict[str, float]:
    """The retained records whose NLL rose most, by id, nats per token: a mean hides them."""
    rises = {record: after.retain.nlls[record] - nll for record, nll in before.retain.nlls.items()}
    return dict(sorted(rises.items(), key=lambda item: (-item[1], item[0]))[:count])


def versions() -> dict[str, str]:
    """What ran: this program, its libraries, Python."""
    return {
        "unlearn": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
        "python": platform.python_version(),
    }
