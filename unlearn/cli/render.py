"""What a person sees in the terminal: progress bars, and tables of before and after. Decides nothing."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from unlearn.erasure.state import Step
    from unlearn.measurement import Measurement

VERDICT_STYLE = {"released": "bold green", "refused": "bold red", "inconclusive": "bold yellow"}
OUTCOME = {"pass": ("✓", "green"), "fail": ("✗", "red"), "inconclusive": ("?", "yellow"), "untested": ("-", "dim")}


def progress(*, silent: bool = False) -> Progress:
    """Progress bars on standard error, gone when done."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=silent,
    )


class BarWatcher:
    """Follows an attempt with a bar a stage."""

    def __init__(self, bar: Progress) -> None:
        self._bar, self._task = bar, bar.add_task("starting", total=None)

    def stage(self, name: str) -> None:
        """A new line for each stage."""
        self._bar.update(self._task, total=1, completed=1)
        self._task = self._bar.add_task(name, total=None)

    def step(self, step: Step, steps: int, behind: int) -> None:
        """The loop's numbers beside its bar."""
        self._bar.update(
            self._task,
            total=steps,
            completed=step.step,
            description=f"erasing  forget {step.forget_nll_nats:.2f}  retain KL {step.retain_kl_nats:.3f}",
        )

    def training(self, step: int, steps: int, loss: float) -> None:
        """A retraining's loss beside its bar."""
        self._bar.update(self._task, total=steps, completed=step, description=f"retraining  {loss:.3f} nats/token")

    def measured(self, when: str, measurement: Measurement) -> None:
        """Nothing: the table says it at the end."""


def before_after_table(report: dict[str, Any]) -> RenderableType:
    """The figures of an erasing side by side, each gate's finding, and the verdict."""
    from unlearn.measurement import in_form  # with SciPy, which takes a second

    before, after = report["before"], report["after"]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", "before", "after", "change"):
        table.add_column(name, justify="left" if not name else "right")
    for label, key in (
        ("forget NLL (nats)", "forget_nll_nats"),
        ("retain NLL (nats)", "retain_nll_nats"),
        ("holdout NLL (nats)", "holdout_nll_nats"),
    ):
        change = f"{after[key] / before[key] - 1:+.1%}" if before[key] else "-"
        table.add_row(label, f"{before[key]:.3f}", f"{after[key]:.3f}", change)
    for name, found in before["membership"].items():
        later = after["membership"][name]
        change = f"{later['auc'] - found['auc']:+.3f}"
        said = "no power" if name in report.get("attacks_without_power", []) else ""
        table.add_row(f"{_attack(name)} AUC" + (f" ({said})" if said else ""), _auc(found), _auc(later), change)
    if before.get("log10_queries"):
        earlier, later = (min(found["log10_queries"].values()) for found in (before, after))
        table.add_row("tries for a record", f"10^{earlier:.1f}", f"10^{later:.1f}", f"x 10^{later - earlier:.1f}")
    policy, gates = report["policy"], report["policy"]["gates"]
    gating = {
        *gates["membership_attacks"],
        *gates.get("record_attacks", ()),
        in_form(policy["audit"].get("deployed") or ""),
    }
    for name, found in after.get("subject_tests", {}).items():
        if name in gating:
            earlier = before["subject_tests"].get(name)
            cells = ("-" if one is None else _shift(one) for one in (earlier, found))
            table.add_row(f"off the never seen (sd), {_attack(name)}", *cells, "")
    _add_recoveries(table, report, "")
    if before.get("unscorable"):
        table.add_row("records too short for an attack", str(before["unscorable"]), str(after["unscorable"]), "")
    return Group(table, "", *_way(report), "", *_findings(report))


def _add_recoveries(table: Table, report: dict[str, Any], *before: str) -> None:
    """What each challenge brings back, behind cells for what is before that."""
    for name, share in sorted(report.get("recoveries", {}).items(), key=lambda item: -item[1]):
        table.add_row(f"comes back: {name}", *before, f"{share:.1%}")


def _way(report: dict[str, Any]) -> Iterable[RenderableType]:
    """Where the targets came from, and what each rung of the ladder came to."""
    if "targets" in report:
        yield Text(f"targets  {report['targets']['sentence']}", style="dim")
    tried = [
        f"{number}. {one['method']}: {one['reason'] or one['verdict']}"
        for number, one in enumerate(report.get("attempts", []), 1)
    ]
    if tried:
        yield Text(f"ladder   {'  '.join(tried)}", style="dim")
    for warning in report.get("warnings", []):
        yield Text(f"warning  {warning}", style="yellow")


def audit_table(report: dict[str, Any]) -> RenderableType:
    """The figures of one adapter, beside a control's if there is one."""
    columns = [("adapter", report["after"])] + ([("control", report["control"])] if "control" in report else [])
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    for name, _ in columns:
        table.add_column(name, justify="right")
    for key in ("forget_nll_nats", "retain_nll_nats", "holdout_nll_nats"):
        table.add_row(f"{key.split('_')[0]} NLL (nats/token)", *(f"{column[key]:.3f}" for _, column in columns))
    for name in report["after"]["membership"]:
        aucs = (column["membership"].get(name) for _, column in columns)
        table.add_row(f"{_attack(name)} AUC", *("-" if one is None else _auc(one) for one in aucs))
    for name in report["after"].get("subject_tests", {}):
        tests = (column["subject_tests"].get(name) for _, column in columns)
        table.add_row(f"{_attack(name)}, people off (sd)", *("-" if one is None else _shift(one) for one in tests))
    if "control" in report:
        for key, said in AGREEMENT.items():
            if key in report["control"]:
                table.add_row(said, f"{report['control'][key]:.3f}", "")
    _add_recoveries(table, report)
    return Group(table, "", *_way(report), "", *_findings(report))


AGREEMENT = {
    "mean_gap_nats": "mean gap to the control (nats)",
    "correlation": "correlation with the control",
    "agreement": "records that agree with the control",
    "ks_p_value_truth_ratio": "forget quality, truth ratio (KS p)",
    "ks_p_value": "forget quality, NLL (KS p)",
    "ks_p_value_min_k_plus_plus": "forget quality, Min-K %++ (KS p)",
    "priv_leak": "PrivLeak, Min-40 % (0: like the control)",
}

STATE_STYLE = {
    "pending": "cyan",
    "in_progress": "blue",
    "completed": "green",
    "needs_review": "yellow",
    "cancelled": "dim",
    "rejected": "red",
}


def requests_table(requests: Iterable[dict[str, Any]]) -> RenderableType:
    """Requests, one a line."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("request", "state", "due", "adapters", "verdicts"):
        table.add_column(name, no_wrap=name in ("request", "due"))
    for request in requests:
        jobs = request["jobs"]
        table.add_row(
            request["id"],
            Text.assemble(_state(request["state"]), " held" if request["held_at"] or request["held_by"] else ""),
            _due(request),
            ", ".join(job["adapter"] for job in jobs),
            ", ".join(job["verdict"] or job["state"] for job in jobs),
        )
    return table


def request_view(request: dict[str, Any], reports: list[dict[str, Any]]) -> RenderableType:
    """One request: its state, a line a job, and what each ended job measured."""
    received, held = request["received_at"][:10], request["held_at"]
    head = Text.assemble(request["id"], "  ", _state(request["state"]), f"  received {received}  due ", _due(request))
    if held:
        head.append(f"\non hold since {held[:10]}: {request['hold_reason']}", style="yellow")
    elif request["held_by"]:
        head.append(f"\nwaits until the legal hold of {request['held_by']} is lifted", style="yellow")
    if request["decision"]:
        decided = request["decision"]
        why = ", ".join(filter(None, (decided["ground"], decided["reason"])))
        head.append(f"\n{decided['kind']} by {decided['by']}{why and ': '}{why}", style="dim")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("job", "adapter", "state", "verdict", "records", "progress"):
        table.add_column(name, justify="right" if name == "records" else "left")
    for job in request["jobs"]:
        at = job["progress"]
        where = "" if at is None else f"{at['stage']} {at['step']}/{at['steps']}" if at["steps"] else at["stage"]
        verdict = Text(job["verdict"] or "", style=VERDICT_STYLE.get(job["verdict"], ""))
        table.add_row(job["id"], job["adapter"], job["state"], verdict, str(job["records"]), where)
    alone = [job for job in request["jobs"] if job["findings"]]
    own = [part for job in alone for part in ("", f"{job['adapter']}: this subject alone", *_findings(job))]
    return Group(head, "", table, *(part for report in reports for part in ("", before_after_table(report))), *own)


def follow(requests: Iterable[dict[str, Any]], *, silent: bool = False) -> dict[str, Any]:
    """Show where a request is until it has ended; the ended one."""
    request: dict[str, Any] = {}
    with progress(silent=silent) as bar:
        task = bar.add_task("waiting for a worker", total=None)
        for request in requests:
            running = [job["progress"] for job in request["jobs"] if job["state"] == "running" and job["progress"]]
            if running:
                now = running[0]
                bar.update(task, description=now["stage"], completed=now["step"], total=now["steps"] or None)
    return request


def touched_table(touched: Iterable[dict[str, Any]]) -> RenderableType:
    """The adapters that a request would touch, one a line."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("adapter", "records", "erased"):
        table.add_column(name, justify="right" if name == "records" else "left")
    for one in touched:
        table.add_row(one["adapter"], str(one["records"]), (one["erased_at"] or "")[:10])
    return table


def keys_table(keys: Iterable[dict[str, Any]]) -> RenderableType:
    """API keys, one a line."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("key", "name", "of", "scopes", "expires", "revoked"):
        table.add_column(name, no_wrap=name == "key")
    for key in keys:
        ends = [(key[name] or "")[:10] for name in ("expires_at", "revoked_at")]
        table.add_row(key["id"], key["name"], key["controller"], ", ".join(key["scopes"]), *ends)
    return table


def settings_table(settings: Iterable[dict[str, Any]]) -> RenderableType:
    """Settings, one a line: the value that holds, where it comes from, what it is."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("variable", "value", "from", "what it is"):
        table.add_column(name, no_wrap=name in ("variable", "from"), overflow="fold")
    for one in settings:
        value = "" if one["value"] is None else str(one["value"])
        style = "bold" if one["source"] == "environment" else ""
        table.add_row(one["variable"], Text(value, style=style), one["source"], Text(one["description"], style="dim"))
    return table


def _due(request: dict[str, Any]) -> Text:
    """When it is due: red when that is over, yellow when it is soon, nothing to hurry for once it has ended."""
    due = datetime.fromisoformat(request["due_at"])
    left, ended = due - datetime.now(UTC), request["state"] in ("completed", "cancelled", "rejected")
    style = "dim" if ended else "red" if left < timedelta(0) else "yellow" if left < timedelta(days=7) else ""
    return Text(f"{due:%Y-%m-%d}{' extended' if request['extended_at'] else ''}", style=style)


def _state(state: str) -> Text:
    return Text(state, style=STATE_STYLE.get(state, ""))


def show(content: RenderableType) -> None:
    """Print to standard output."""
    Console(highlight=False).print(content)


def _attack(name: str) -> str:
    return {"loss": "loss attack", "min_k": "Min-K %", "min_k_plus_plus": "Min-K %++"}.get(name, name.replace("_", " "))


def _auc(found: dict[str, Any]) -> str:
    interval = found.get("interval_90")
    return f"{found['auc']:.3f}" + (f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")


def _shift(found: dict[str, Any]) -> str:
    low, high = found["interval_90"]
    return f"{found['shift']:+.2f} [{low:+.1f}, {high:+.1f}]"


def _findings(report: dict[str, Any]) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for finding in report["findings"]:
        mark, style = OUTCOME[finding["outcome"]]
        lines.append(Text.from_markup(f"[{style}]{mark}[/] [bold]{finding['gate']}[/]  {escape(finding['sentence'])}"))
    verdict = report["verdict"]
    lines.append(Text.from_markup(f"verdict  [{VERDICT_STYLE[verdict]}]{verdict}[/]"))
    return lines
