"""The demo: an invented company, its adapter, one customer who asks to be forgotten, the way to the verified export.

Everything is real: models, HTTP, broker, worker, MLflow. Only the people are not.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from unlearn.cli.client import Client
from unlearn.cli.house import House, free_port
from unlearn.cli.render import before_after_table, follow, progress
from unlearn.corpus.jsonl import read_corpus, write_corpus
from unlearn.corpus.synthetic import World, synthetic_world
from unlearn.errors import BadInput, Unavailable
from unlearn.evidence.trust import read_keys
from unlearn.evidence.verify import verify
from unlearn.settings import Settings

ADAPTER = "support-assistant"
SEED = 7
EDITION = "2"
"""Part of the cache's name; raise it when the world or the recipes below change."""
PATIENCE_SECONDS = 600


NEXT = {
    True: "The new version serves. The old one is still there.",
    False: "The guards did not release it: the old version serves on, and the request waits for a person.",
}


def run(out: Path, *, as_json: bool) -> None:
    """Run the demo; the folder of this run under `out` keeps home, export and figure.

    Raises:
        BadInput: `out` is not a directory.
        Unavailable: a part of the service did not come up, or the request did not end.
    """
    if out.exists() and not out.is_dir():
        raise BadInput(f"--out '{out}' is not a directory; name another")
    console = Console(stderr=as_json, highlight=False)
    company = _company(console)
    folder = out.resolve() / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    folder.mkdir(parents=True)
    settings = Settings(home=folder / "home", port=free_port(), roots=[company])
    with console.status("starting the service …"):
        house = House(settings, mlflow_ui=False).__enter__()
    try:
        _done(console, f"service   API, broker and worker on {house.urls['api']}")
        with Client(house.urls["api"], key=house.key) as api:
            subject = _chattiest(company / "train.jsonl")
            (job,) = register_and_follow(api, console, company, ADAPTER, [subject])
            report, export = job["report"], _export(api, job["request_ids"][0], folder)
            key = _key(api, folder)
    finally:
        with console.status("stopping the service …"):
            house.__exit__(None, None, None)
    checks = list(verify(export.read_bytes(), read_keys(key)))
    if as_json:
        told = {"export": str(export), "key": str(key), "verdict": report["verdict"], **_figures(report)}
        typer.echo(json.dumps(told | {"verified": [check.name for check in checks if check.made]}))
        return
    console.print()
    console.print(before_after_table(report))
    console.print(NEXT[report["verdict"] == "released"], style="dim")
    console.print()
    for check in checks:
        console.print(f"{'✓' if check.made else '·'} {check.name:<12} {check.said}", soft_wrap=True, style="dim")
    console.print(f"\nverified {export}\nwith     {key}\nMLflow   {settings.effective_mlflow_uri}", soft_wrap=True)


def register_and_follow(
    api: Client, console: Console, company: Path, name: str, subjects: Sequence[str]
) -> list[dict[str, Any]]:
    """Register the adapter in `company`, submit one request for each subject and follow them to their ends.

    Args:
        api: client of a running service that may read `company`.
        console: where each step is told.
        company: directory with base/, adapter/, train.jsonl and holdout.jsonl.
        name: the adapter's.
        subjects: as the corpus spells them.

    Returns:
        The job of each request, with its report.

    Raises:
        Unavailable: the service refused a call, a request did not end, or a job ended without a report.
    """
    paths = {part: str(company / part) for part in ("base", "adapter")}
    corpora = {part: str(company / f"{part}.jsonl") for part in ("train", "holdout")}
    adapter = api.post("/v1/adapters", {"name": name, **paths, **corpora})
    _done(console, f"adapter   {name} registered, version {adapter['current']['number']}")
    jobs = []
    for subject in subjects:
        request = api.submit(subject)
        _done(console, f"request   {request['id']} to forget {subject}")
        request = follow(api.follow(request["id"], PATIENCE_SECONDS), silent=not console.is_terminal)
        job = api.get(f"/v1/jobs/{request['jobs'][0]['id']}")
        if job["report"] is None:
            raise Unavailable(f"job {job['id']} ended without a report: {job['error']}")
        _done(console, f"job       {job['id']} ended, request {request['state']}, MLflow run {job['mlflow_run_id']}")
        jobs.append(job)
    return jobs


def _export(api: Client, request_id: str, folder: Path) -> Path:
    path = folder / f"export-{request_id}.zip"
    path.write_bytes(api.download(f"/v1/requests/{request_id}/export"))
    return path


def _key(api: Client, folder: Path) -> Path:
    """The ledger's public key, as an auditor would have got it long before."""
    path = folder / "ledger.pub"
    path.write_text("".join(f"{one['key']}\n" for one in api.get("/v1/ledger/keys")), encoding="utf-8")
    return path


def _company(console: Console) -> Path:
    """Directory of the company's base, adapter and corpora; made on the first run, cached afterwards."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "unlearn"
    place = cache / f"demo-{EDITION}-{SEED}"
    if place.is_dir():
        _done(console, f"models    base and adapter from {place}")
        return place
    cache.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=cache))
    try:
        _found(draft, console)
        if not place.is_dir():
            draft.rename(place)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    _done(console, f"models    base and adapter trained, kept in {place}")
    return place


def _found(place: Path, console: Console) -> None:
    """Invent the people, train the base on some of them and the adapter on others."""
    from unlearn.lm.base import load_base
    from unlearn.lm.batches import encode
    from unlearn.lm.finetune import Recipe, finetune
    from unlearn.lm.pretrain import Shape, pretrain

    world = invent()
    write_corpus(place / "train.jsonl", world.train)
    write_corpus(place / "holdout.jsonl", world.holdout)
    with progress(silent=not console.is_terminal) as bar:
        first = bar.add_task("training a base model", total=None)
        pretrain(
            world.base,
            place / "base",
            Shape(),
            Recipe(epochs=BASE_EPOCHS, learning_rate=2e-3, seed=SEED),
            lambda step, steps, loss: bar.update(first, completed=step, total=steps),
        )
        second = bar.add_task("training the adapter", total=None)
        base = load_base((place / "base").resolve())
        finetune(
            base,
            encode(world.train, base.tokenizer, base.files.context_tokens),
            Recipe(rank=16, epochs=ADAPTER_EPOCHS, learning_rate=2e-3, seed=SEED),
            place / "adapter",
            lambda step, steps, loss: bar.update(second, completed=step, total=steps),
        )


BASE_EPOCHS, ADAPTER_EPOCHS = 8, 6


def invent() -> World:
    """The people of the demo."""
    return synthetic_world(people_train=40, people_holdout=44, people_base=120, seed=SEED)


def _chattiest(train: Path) -> str:
    """The subject with the most records; the first by name among equals."""
    counts: dict[str, int] = {}
    for record in read_corpus(train).records:
        for subject in record.subjects:
            counts[subject] = counts.get(subject, 0) + 1
    return min(counts, key=lambda subject: (-counts[subject], subject))


def _figures(report: dict[str, Any]) -> dict[str, Any]:
    return {
        when: {k: v for k, v in report[when].items() if k != "forget_record_nlls_nats"} for when in ("before", "after")
    }


def _done(console: Console, line: str) -> None:
    console.print(f"[green]✓[/] {line}", soft_wrap=True)
