"""TOFU through the service: what plain gradient ascent with a retain KL does to data that nobody here wrote.

    python bench/tofu.py --data ../shared/data/tofu --work /tmp/tofu --out docs/benchmarks/tofu.md

A small base is trained on authors 050-149; an adapter on 000-049 and 180-189; 150-179 are the holdout. Authors 180
and 181 ask to be forgotten, one request each, over HTTP. The control is an adapter retrained without both. Beside
that, both are erased in one go (`unlearn.ladder`) with three seeds. Models are kept in --work for the next run.

TOFU: Maini et al. 2024, arXiv 2401.06121, MIT licence.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

from unlearn.attempt import Case
from unlearn.cli.client import Client
from unlearn.cli.demo import register_and_follow
from unlearn.cli.house import House, free_port
from unlearn.corpus.jsonl import read_corpus, write_corpus
from unlearn.corpus.records import Record
from unlearn.ladder import climb, compare_to_control, examine
from unlearn.lm.base import load_base
from unlearn.lm.batches import encode
from unlearn.lm.finetune import Recipe, finetune
from unlearn.lm.pretrain import Shape, pretrain
from unlearn.policy import Policy
from unlearn.settings import Settings
from unlearn.weights import read_adapter

FORGET = ("tofu:author-180", "tofu:author-181")
SHAPE = Shape(width=256, layers=4, heads=4, vocabulary=4096, context_tokens=256)
BASE_RECIPE = Recipe(epochs=8, learning_rate=2e-3, seed=0)
ADAPTER_RECIPE = Recipe(rank=16, epochs=8, learning_rate=2e-3, seed=0)
SEEDS = (0, 1, 2)


def authors(records: Iterable[Record], *ranges: tuple[int, int]) -> list[Record]:
    """Records of the authors in the closed `ranges`, as question and answer."""
    wanted = {f"tofu:author-{n:03d}" for first, last in ranges for n in range(first, last + 1)}
    return [
        Record(r.id, r.subjects, prompt=f"Question: {r.prompt}\nAnswer:", completion=f" {r.completion}")
        for r in records
        if r.subjects[0] in wanted
    ]


def prepare(data: Path, work: Path, console: Console) -> None:
    """Corpora, base, adapter and the controls under `work`, each made once."""
    work.mkdir(parents=True, exist_ok=True)
    records = read_corpus(data / "authors.jsonl").records
    learned = authors(records, (0, 49), (180, 189))
    write_corpus(work / "train.jsonl", learned)
    write_corpus(work / "holdout.jsonl", authors(records, (150, 179)))
    with Progress(console=console, transient=True) as bar:

        def watch(name: str) -> Any:
            task = bar.add_task(name, total=None)
            return lambda step, steps, loss: bar.update(
                task, completed=step, total=steps, description=f"{name} {loss:.2f}"
            )

        if not (work / "base").is_dir():
            pretrain(authors(records, (50, 149)), work / "base", SHAPE, BASE_RECIPE, watch("base"))
        base = load_base((work / "base").resolve())
        retained = [r for r in learned if r.subjects[0] not in FORGET]
        for name, part, seed in [("adapter", learned, 0)] + [(f"control-{s}", retained, s) for s in SEEDS]:
            if not (work / name).is_dir():
                recipe = Recipe(**{**ADAPTER_RECIPE.__dict__, "seed": seed})
                examples = encode(part, base.tokenizer, base.files.context_tokens)
                started = time.monotonic()
                finetune(base, examples, recipe, work / name, watch(name))
                (work / f"{name}.seconds").write_text(f"{time.monotonic() - started:.1f}")


def through_the_service(work: Path, console: Console) -> list[dict[str, Any]]:
    """One job's answer for each of the two authors, from a fresh service."""
    home = work / "home"
    shutil.rmtree(home, ignore_errors=True)
    settings = Settings(home=home, port=free_port(), roots=[work])
    with House(settings, mlflow_ui=False) as house, Client(house.urls["api"]) as api:
        return register_and_follow(api, console, work, "tofu", FORGET)


def case(work: Path, adapter: Path, subjects: Iterable[str], seed: int = 0) -> Case:
    """The case of erasing `subjects` from `adapter`."""
    corpora = read_corpus(work / "train.jsonl"), read_corpus(work / "holdout.jsonl")
    policy = Policy(seed=seed)
    return Case(work / "base", read_adapter(adapter), *corpora, frozenset(subjects).__contains__, policy)


def row(name: str, figures: dict[str, Any], gaps: dict[str, float] | None, extra: str = "", verdict: str = "") -> str:
    """A line of the table."""
    loss = figures["membership"]["loss"]
    interval = loss.get("interval_90")
    auc = f"{loss['auc']:.3f}" + (f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")
    compared = (
        [f"{gaps['mean_gap_nats']:.3f}", f"{gaps.get('correlation', float('nan')):.2f}", f"{gaps['ks_p_value']:.3f}"]
        if gaps
        else ["", "", ""]
    )
    levels = [f"{figures[k]:.3f}" for k in ("forget_nll_nats", "retain_nll_nats", "holdout_nll_nats")]
    return "| " + " | ".join([name, *levels, auc, *compared, extra, verdict]) + " |"


HEAD = (
    "| | forget NLL | retain NLL | holdout NLL | loss attack AUC | gap to control | correlation | KS p | seconds | verdict |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def one_go(work: Path, console: Console) -> list[str]:
    """Both authors in one erasing, three seeds, against the retrained controls."""
    lines = []
    found = {s: examine(case(work, work / f"control-{s}", FORGET), read_adapter(work / "control-0")) for s in SEEDS}
    seconds = (work / "adapter.seconds").read_text()
    before = examine(case(work, work / "adapter", FORGET), read_adapter(work / "control-0"))
    lines.append(row("adapter as trained", before["after"], before["control"], seconds))
    for s in SEEDS:
        gaps = None if s == 0 else found[s]["control"]
        took = (work / f"control-{s}.seconds").read_text()
        lines.append(row(f"control, retrained, seed {s}", found[s]["after"], gaps, took))
    for seed in SEEDS:
        place = work / f"erased-{seed}"
        shutil.rmtree(place, ignore_errors=True)
        outcome = climb(case(work, work / "adapter", FORGET, seed), place)
        control = examine(case(work, work / "control-0", FORGET, seed), None)
        gaps = gaps_to(outcome.report["after"], control["after"])
        took = f"{outcome.report['seconds']:.1f}"
        lines.append(row(f"ascent, seed {seed}", outcome.report["after"], gaps, took, outcome.verdict))
        console.print(lines[-1])
    return lines


def gaps_to(found: dict[str, Any], control: dict[str, Any]) -> dict[str, float]:
    """The comparison of `unlearn.ladder.compare_to_control`, from two reports."""
    return compare_to_control(found["forget_record_nlls_nats"], control["forget_record_nlls_nats"])


def service_lines(work: Path, jobs: list[dict[str, Any]]) -> list[str]:
    """Each request's before and after, against the control on the same records."""
    lines = []
    for author, job in zip(FORGET, jobs, strict=True):
        report = job["report"]
        control = examine(case(work, work / "control-0", [author]), None)["after"]
        name = author.removeprefix("tofu:")
        lines.append(row(f"{name}, before", report["before"], gaps_to(report["before"], control)))
        took, verdict = f"{report['seconds']:.1f}", report["verdict"]
        lines.append(row(f"{name}, after", report["after"], gaps_to(report["after"], control), took, verdict))
        lines.append(row(f"{name}, control", control, None))
    return lines


def page(service: list[str], together: list[str], jobs: list[dict[str, Any]]) -> str:
    """The committed page."""
    policy = Policy().loop
    return f"""# TOFU: what plain ascent with a retain KL gives

Made by `python bench/tofu.py --data DIR` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} CPU cores ({platform.machine()}),
torch {torch.__version__}. NLLs are nats per token, means over records; seconds are wall time and include loading and
both measurements. The loss attack compares the forget records with the audit half of the holdout; 0.5 is chance,
brackets are 90 % intervals. Gap, correlation and KS p compare the forget records one by one with the control of seed
0: the mean absolute gap in nats, Pearson's correlation, and the Kolmogorov-Smirnov p-value.

Base: Llama of {SHAPE.layers} layers, width {SHAPE.width}, vocabulary {SHAPE.vocabulary}, trained on authors 050-149. Adapter:
LoRA rank {ADAPTER_RECIPE.rank}, {ADAPTER_RECIPE.epochs} epochs on authors 000-049 and 180-189 (1,200 records). Holdout: 150-179.
Control: the same recipe without authors 180 and 181. Default policy: {policy.steps} steps at {policy.learning_rate},
{policy.forget_records_per_step} + {policy.retain_records_per_step} records a step, retain weight {policy.retain_weight}.

## Through the service: one request per author

{HEAD}
{chr(10).join(service)}

What the guards said:

{chr(10).join(f"- {author.removeprefix('tofu:')}: {f['gate']} — {f['outcome']}. {f['sentence']}" for author, job in zip(FORGET, jobs, strict=True) for f in job["report"]["findings"])}

## Both authors in one erasing

{HEAD}
{chr(10).join(together)}
"""


def main() -> None:
    """Run the benchmark and write its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/tofu"), help="directory of authors.jsonl")
    parser.add_argument("--work", type=Path, default=Path("/tmp/unlearn-tofu"), help="where models are kept")  # noqa: S108
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/tofu.md"))
    given = parser.parse_args()
    console = Console()
    work = given.work.resolve()
    prepare(given.data, work, console)
    jobs = through_the_service(work, console)
    service = service_lines(work, jobs)
    console.print("\n".join(service))
    text = page(service, one_go(work, console), jobs)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(text)
    (work / "jobs.json").write_text(json.dumps(jobs))
    console.print(
        f"median AUC: {statistics.median(j['report']['after']['membership']['loss']['auc'] for j in jobs):.3f}"
    )
    console.print(str(given.out))


if __name__ == "__main__":
    main()
