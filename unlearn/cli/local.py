"""`unlearn finetune`, `shadows`, `erase` and `audit`: from files to files on this machine, without a server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unlearn.errors import BadInput

if TYPE_CHECKING:
    from unlearn.attempt import Case
    from unlearn.guards import Finding
    from unlearn.lm.finetune import Recipe
    from unlearn.policy import Policy

Base = Annotated[str, typer.Option("--base", help="Base model: a directory or a hub id.")]
Adapter = Annotated[Path, typer.Option("--adapter", help="LoRA adapter: a directory that PEFT wrote.")]
Train = Annotated[Path, typer.Option("--train", help="Records the adapter learned (JSONL).")]
Holdout = Annotated[Path, typer.Option("--holdout", help="Records of the same kind that it never saw (JSONL).")]
Subjects = Annotated[list[str], typer.Option("--subject", help="Subject to forget; may be repeated.")]
Out = Annotated[Path, typer.Option("--out", help="Directory to write; must not exist, or be empty.")]
ShadowFile = Annotated[Path | None, typer.Option("--shadows", help="Shadow table of the adapter (`unlearn shadows`).")]
PolicyFile = Annotated[Path | None, typer.Option("--policy", help="Policy file (YAML); defaults without one.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed; the policy's without one.")]
Device = Annotated[str, typer.Option("--device", help="torch device.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def finetune(
    base: Base,
    train: Train,
    out: Out,
    rank: Annotated[int, typer.Option(help="LoRA rank.")] = 16,
    epochs: Annotated[int, typer.Option(help="Passes over the records.")] = 6,
    lr: Annotated[float, typer.Option("--lr", help="Largest learning rate.")] = 2e-3,
    batch_size: Annotated[int, typer.Option(help="Records a step.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Seed of initialisation and order.")] = 0,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Train a LoRA adapter on a corpus."""
    from unlearn.cli.render import progress
    from unlearn.corpus.jsonl import read_corpus
    from unlearn.lm.base import load_base, resolve_base
    from unlearn.lm.batches import encode
    from unlearn.lm.finetune import Recipe
    from unlearn.lm.finetune import finetune as train_adapter

    recipe = Recipe(rank, epochs, lr, batch_size, seed)
    corpus = read_corpus(train)
    with _fresh(out), progress(silent=as_json) as bar:
        model = load_base(resolve_base(base), device)
        examples = encode(corpus.records, model.tokenizer, model.files.context_tokens)
        task = bar.add_task("training", total=None)
        adapter = train_adapter(
            model,
            examples,
            recipe,
            out,
            lambda step, steps, loss: bar.update(
                task, total=steps, completed=step, description=f"training  {loss:.3f} nats/token"
            ),
        )
    result = {
        "adapter": str(out),
        "sha256": adapter.sha256,
        "records": len(examples),
        "rank": rank,
        "seed": seed,
    }
    typer.echo(json.dumps(result) if as_json else f"{out}  sha256:{adapter.sha256[:16]}…  {len(examples)} records")


def shadows(
    base: Base,
    train: Train,
    holdout: Holdout,
    out: Annotated[Path, typer.Option("--out", help="Table to write (Parquet); must not exist.")],
    folds: Annotated[
        int | None, typer.Option(min=2, help="Fold adapters; each leaves out one part of the subjects. [policy's]")
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(min=0, max=64, help="Test shadows that never saw any one person; 6 or more, or none. [policy's]"),
    ] = None,
    parts: Annotated[
        int | None, typer.Option(min=2, max=10, help="Test shadows of a round; each leaves out one part. [policy's]")
    ] = None,
    policy: PolicyFile = None,
    adapter: Annotated[
        Path | None, typer.Option("--adapter", help="Adapter whose recorded recipe the folds follow.")
    ] = None,
    rank: Annotated[int, typer.Option(help="LoRA rank, without --adapter.")] = 16,
    epochs: Annotated[int, typer.Option(help="Passes over the records, without --adapter.")] = 6,
    lr: Annotated[float, typer.Option("--lr", help="Largest learning rate, without --adapter.")] = 2e-3,
    batch_size: Annotated[int, typer.Option(help="Records a step, without --adapter.")] = 16,
    seed: Seed = None,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Make a shadow table: what each record would look like to adapters that never saw its person.

    The folds give the eraser its targets, the test shadows the gates their null. An interrupted call goes on from the
    last whole fit. The fits themselves are never written. --policy says how the adapter is served.
    """
    from unlearn.attempt import shadow_plan
    from unlearn.cli.render import progress
    from unlearn.corpus.jsonl import read_corpus
    from unlearn.corpus.splits import check_disjoint
    from unlearn.erasure.shadows import make_shadows
    from unlearn.lm.base import load_base, resolve_base
    from unlearn.lm.finetune import OnStep, Recipe
    from unlearn.policy import read_policy

    asked = _seeded(read_policy(policy), seed)
    chosen = {"shadow_folds": folds, "test_rounds": rounds, "test_parts": parts}
    targets = asked.targets.model_copy(update={name: value for name, value in chosen.items() if value is not None})
    asked = asked.model_copy(update={"targets": targets})
    recipe = Recipe(rank, epochs, lr, batch_size, asked.seed) if adapter is None else _recipe_of(adapter)
    learned, unseen = read_corpus(train), read_corpus(holdout)
    check_disjoint(learned, unseen)
    with progress(silent=as_json) as bar:
        model = load_base(resolve_base(base), _device(device))

        def follow(fit: int, of: int) -> OnStep:
            task = bar.add_task(f"fit {fit} of {of}", total=None)
            return lambda step, steps, loss: bar.update(
                task, total=steps, completed=step, description=f"fit {fit} of {of}  {loss:.3f} nats/token"
            )

        plan = shadow_plan(model, learned, unseen, asked)
        folds = targets.shadow_folds
        table = make_shadows(model, learned, unseen, recipe, folds, out, seed=asked.seed, tests=plan, on_fold=follow)
    records = len({record for record, _ in table.rows})
    shadows = targets.test_rounds * targets.test_parts
    result = {"table": str(out), "records": records, "folds": folds, "test_shadows": shadows}
    result["recipe"] = table.about["recipe"]
    typer.echo(json.dumps(result) if as_json else f"{out}  {records} records, {folds} folds, {shadows} test shadows")


def _recipe_of(adapter: Path) -> Recipe:
    from unlearn.lm.finetune import recorded_recipe
    from unlearn.weights import RECIPE, read_adapter

    recipe = recorded_recipe(read_adapter(adapter.resolve()))
    if recipe is None:
        raise BadInput(f"--adapter '{adapter}' has no {RECIPE}; give --rank, --epochs, --lr and --batch-size instead")
    return recipe


def erase(
    base: Base,
    adapter: Adapter,
    train: Train,
    holdout: Holdout,
    subject: Subjects,
    out: Out,
    shadow_table: ShadowFile = None,
    keep_rows: Annotated[
        bool, typer.Option("--keep-rows", help="Keep the subjects' rows in the shadow table after a release.")
    ] = False,
    policy: PolicyFile = None,
    seed: Seed = None,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Erase subjects from an adapter and judge the result.

    Writes DIR/adapter and DIR/report.json whatever the verdict; exits with 3 unless the guards release it. After a
    release the subjects' rows leave the shadow table too.
    """
    from unlearn.cli.render import BarWatcher, before_after_table, progress, show
    from unlearn.ladder import climb
    from unlearn.tracking.review import write_review

    state = out.with_name(f".{out.name}.state")
    case = replace(_case(base, adapter, train, holdout, subject, policy, seed, device, shadow_table), state=state)
    with _fresh(out), progress(silent=as_json) as bar:
        outcome = climb(case, out / "adapter", BarWatcher(bar))
        released = _judge_alone(outcome.report, outcome.own, case, subject)
        write_review(out, outcome.before, outcome.after, outcome.report)
    shutil.rmtree(state, ignore_errors=True)
    if shadow_table is not None and released and not keep_rows:
        from unlearn.shadow_file import drop_rows

        records = (*case.train.records, *case.holdout.records)
        drop_rows(shadow_table, [r.id for r in records if not released.isdisjoint(r.subjects)])
    if as_json:
        typer.echo(json.dumps(_summary(outcome.report)))
    else:
        show(before_after_table(outcome.report))
        typer.echo(f"{out / 'adapter'}\n{out / 'report.html'}\n{out / 'report.json'}")
    _exit(outcome.report)


def audit(
    base: Base,
    adapter: Adapter,
    train: Train,
    holdout: Holdout,
    subject: Subjects,
    out: Out,
    control: Annotated[
        Path | None,
        typer.Option("--control", help="Adapter retrained without the subjects, to compare with."),
    ] = None,
    before: Annotated[
        Path | None,
        typer.Option("--before", help="The adapter as it was before an erasing; then every gate judges."),
    ] = None,
    retrained: Annotated[
        bool,
        typer.Option(
            "--retrained", help="You say that it was trained without the subjects; else judged as an erasing."
        ),
    ] = False,
    shadow_table: ShadowFile = None,
    policy: PolicyFile = None,
    seed: Seed = None,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Measure one adapter: can the subjects' records be told from records it never saw?"""
    from unlearn.cli.render import BarWatcher, audit_table, progress, show
    from unlearn.ladder import examine
    from unlearn.tracking.review import write_review
    from unlearn.weights import read_adapter

    case = _case(base, adapter, train, holdout, subject, policy, seed, device, shadow_table)
    other, original = (None if path is None else read_adapter(path.resolve()) for path in (control, before))
    with _fresh(out), progress(silent=as_json) as bar:
        found = examine(case, other, BarWatcher(bar), original, retrained=retrained)
        _judge_alone(found.report, found.own, case, subject)
        out.mkdir(parents=True, exist_ok=True)
        write_review(out, found.before or found.after, found.after, found.report)
    report = found.report
    if as_json:
        typer.echo(json.dumps(_summary(report)))
    else:
        show(audit_table(report))
        typer.echo(f"{out / 'report.html'}\n{out / 'report.json'}")
    _exit(report)


def _case(
    base: str,
    adapter: Path,
    train: Path,
    holdout: Path,
    subjects: Iterable[str],
    policy_file: Path | None,
    seed: int | None,
    device: str,
    shadow_table: Path | None = None,
) -> Case:
    """The case of these files, with every cheap check made before a model is loaded."""
    from unlearn.attempt import Case
    from unlearn.corpus.jsonl import read_corpus
    from unlearn.errors import UnknownSubject
    from unlearn.lm.base import resolve_base
    from unlearn.policy import read_policy
    from unlearn.weights import check_lengths, check_pair, read_adapter, read_base

    policy = _seeded(read_policy(policy_file), seed)
    corpora = read_corpus(train), read_corpus(holdout)
    known = corpora[0].subjects
    unknown = [number for number, subject in enumerate(subjects, 1) if subject not in known]
    if unknown:
        which = ", ".join(f"number {n}" for n in unknown)
        raise UnknownSubject(
            f"no record of '{train}' names the --subject {which}; subjects are spelled as in the corpus"
        )
    files, weights = read_base(resolve_base(base)), read_adapter(adapter.resolve())
    check_pair(files, weights)
    for corpus in corpora:
        check_lengths(files, corpus)
    forgotten = frozenset(subjects)
    table = None
    if shadow_table is not None:
        from unlearn.erasure.shadow_table import check_shadows, read_shadows
        from unlearn.lm.finetune import recorded_recipe

        table = read_shadows(shadow_table)
        check_shadows(table, files.sha256, *corpora, recorded_recipe(weights))
    return Case(files.path, weights, *corpora, forgotten.__contains__, policy, _device(device), shadows=table)


def _seeded(policy: Policy, seed: int | None) -> Policy:
    """The policy under the seed of the command line, if one is given."""
    return policy if seed is None else policy.model_copy(update={"seed": seed})


def _device(name: str) -> str:
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise BadInput(f"device '{name}' can't be used here: {str(error).splitlines()[0]}") from None
    return name


@contextmanager
def _fresh(out: Path) -> Iterator[None]:
    """A directory to be written by the block: refused unless missing or empty, taken away again if the block fails."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise BadInput(f"--out '{out}' is not a directory; name a new one")
    if out.is_dir():
        if any(out.iterdir()):
            raise BadInput(f"--out '{out}' is not empty; name a new directory, or remove what is there")
        out.rmdir()
    try:
        yield
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise


def _judge_alone(
    report: dict[str, Any], own: Mapping[str, Sequence[Finding]], case: Case, subjects: Sequence[str]
) -> set[str]:
    """Put into the report what is to be said of single people among several, by their places on the command line.

    Returns:
        Whom the guards release.
    """
    from unlearn.guards import alone

    people = alone(own, report["verdict"], (record.subjects for record in case.train.records))
    verdicts = {subject: people[subject][0] if subject in people else report["verdict"] for subject in subjects}
    if people:
        numbered = {subject: number for number, subject in enumerate(verdicts, 1)}
        report["people"] = [
            {"subject": numbered[who], "verdict": verdict, "findings": [one.as_report() for one in findings]}
            for who, (verdict, findings) in people.items()
        ]
        report["people"].sort(key=lambda one: one["subject"])
        held = [one for one in report["people"] if one["verdict"] != report["verdict"]]
        report["warnings"] = [*report.get("warnings", []), *map(_held, held)]
    return {subject for subject, verdict in verdicts.items() if verdict == "released"}


def _held(person: dict[str, Any]) -> str:
    """Why one person alone is judged otherwise than all together."""
    order = ("fail", "inconclusive", "untested", "pass")
    worst = min(person["findings"], key=lambda one: order.index(one["outcome"]))
    if person["verdict"] == "inconclusive":
        worst = next(one for one in reversed(person["findings"]) if one["outcome"] == "inconclusive")
    return f"--subject number {person['subject']} alone is {person['verdict']}: {worst['sentence']}"


def _summary(report: dict[str, Any]) -> dict[str, Any]:
    """The report without its long lists."""
    return {key: value for key, value in report.items() if key != "trace"}


def _exit(report: dict[str, Any]) -> None:
    """With 3 unless everybody is released."""
    if any(one["verdict"] != "released" for one in [report, *report.get("people", [])]):
        raise typer.Exit(3)
