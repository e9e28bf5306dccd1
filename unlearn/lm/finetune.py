"""Fine-tuning: a LoRA adapter from encoded records and a recipe, and the plain training loop under it.

The recipe is written beside the weights (`recipe.json`), so that the same adapter can be fitted again without
some of its records. Knows nothing of forgetting.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel

from unlearn.errors import BadInput, Diverged, ModelError, Unchanged
from unlearn.lm.base import Base, fresh_lora, is_unchanged, lora_parameters, save_adapter, snapshot
from unlearn.lm.batches import Example, collate
from unlearn.lm.checkpoint import Checkpoint
from unlearn.lm.likelihood import Model, head_of, score, token_log_probs
from unlearn.weights import RECIPE, AdapterFiles

OnStep = Callable[[int, int, float], None]
"""Called after each step with its number from 1, the number of steps, and the loss in nats per token."""


@dataclass(frozen=True)
class Recipe:
    """How an adapter is trained. LoRA on every linear layer but the head, alpha = 2 r."""

    rank: int = 16
    epochs: int = 6
    learning_rate: float = 2e-3
    batch_size: int = 16
    seed: int = 0

    def steps(self, records: int) -> int:
        """Steps of a training on so many records."""
        return -(-records // self.batch_size) * self.epochs

    def __post_init__(self) -> None:
        """Refuse values that can't train."""
        for name in ("rank", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name.replace('_', ' ')} is {getattr(self, name)}; it must be 1 or more")
        if not 0 < self.learning_rate < float("inf"):
            raise BadInput(f"learning rate is {self.learning_rate}; it must be a positive number")


def finetune(
    base: Base,
    examples: Sequence[Example],
    recipe: Recipe,
    destination: Path,
    on_step: OnStep = lambda step, steps, loss: None,
    checkpoint: Path | None = None,
) -> AdapterFiles:
    """Train a LoRA adapter on `examples` and write it, with its recipe, to `destination`; see `fitted`.

    The same inputs and seed give the same weights bit for bit on a CPU.

    Raises:
        FileExistsError: something is at `destination`.
        Diverged: the loss stopped being finite.
        Unchanged: training left the adapter as it was initialised.
    """
    if destination.exists():
        raise FileExistsError(destination)
    with fitted(base, examples, recipe, on_step, checkpoint) as model:
        record = {"base": {"name": base.files.path.name, "sha256": base.files.sha256}, **asdict(recipe)}
        return save_adapter(model, destination, {RECIPE: json.dumps(record, indent=2, sort_keys=True) + "\n"})


@contextmanager
def fitted(
    base: Base,
    examples: Sequence[Example],
    recipe: Recipe,
    on_step: OnStep = lambda step, steps, loss: None,
    checkpoint: Path | None = None,
) -> Iterator[PeftModel]:
    """`base` with a LoRA adapter trained on `examples`, for the length of a `with` block; nothing is written.

    Args:
        base: the base model.
        examples: what it learns.
        recipe: how.
        on_step: called after each step.
        checkpoint: a file that keeps the state after each epoch; found there, the training goes on from it, to the
            same weights bit for bit. It is removed when the training is done.

    Raises:
        Diverged: the loss stopped being finite.
        Unchanged: training left the adapter as it was initialised.
    """
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=2 * recipe.rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with fresh_lora(base, config, recipe.seed) as model:
        before = snapshot(model)
        named = lora_parameters(model)
        kept = None if checkpoint is None else Checkpoint(checkpoint, _inputs(base, examples, recipe))
        fit(model, [p for _, p in named], examples, recipe, _pad_id(base), on_step, kept)
        if is_unchanged(model, before):
            raise Unchanged(f"training on {len(examples)} records left every LoRA weight as it was initialised")
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)
        yield model


def recorded_recipe(adapter: AdapterFiles) -> Recipe | None:
    """The recipe recorded beside the weights of `adapter`; None if there is none.

    Raises:
        ModelError: it is there and can't be used.
    """
    if adapter.recipe is None:
        return None
    names = {field.name for field in fields(Recipe)}
    try:
        return Recipe(**{name: value for name, value in adapter.recipe.items() if name in names})
    except (TypeError, BadInput) as error:
        raise ModelError(f"the recipe beside adapter '{adapter.path}' can't be used: {error}") from None


def _inputs(base: Base, examples: Sequence[Example], recipe: Recipe) -> str:
    digest = hashlib.sha256(f"{base.files.sha256}|{recipe}".encode())
    for example in examples:
        digest.update(repr(example).encode())
    return digest.hexdigest()


def _pad_id(base: Base) -> int:
    return int(base.tokenizer.pad_token_id)


def fit(
    model: Model,
    parameters: Sequence[torch.nn.Parameter],
    examples: Sequence[Example],
    recipe: Recipe,
    pad_id: int,
    on_step: OnStep,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Minimise the mean NLL of scored tokens: AdamW, linear warm-up over a twentieth, then linear decay to zero.

    Args:
        model: the model.
        parameters: what is trained.
        examples: the records.
        recipe: epochs, step size, batch size, seed.
        pad_id: token that pads.
        on_step: called after each step.
        checkpoint: where the state after the last whole epoch is kept.

    Raises:
        Diverged: the loss stopped being finite.
    """
    steps = recipe.steps(len(examples))
    warmup = max(1, steps // 20)
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=0.0)
    head, device = head_of(model), parameters[0].device
    order = random.Random(recipe.seed)  # noqa: S311
    done = 0 if checkpoint is None else _resume(checkpoint, parameters, optimizer)
    step = 0
    for epoch in range(recipe.epochs):
        for group in _shuffled(examples, recipe.batch_size, order):
            step += 1
            if epoch < done:
                continue  # the order of later epochs hangs on that of the earlier ones
            share = min(step / warmup, (steps - step + 1) / max(1, steps - warmup + 1))
            for param_group in optimizer.param_groups:
                param_group["lr"] = recipe.learning_rate * share
            loss = -token_log_probs(head, score(model, collate(group, pad_id, device))).mean()
            if not bool(torch.isfinite(loss)):
                raise Diverged(f"the training loss became {loss.item()} at step {step}; try a smaller learning rate")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            on_step(step, steps, loss.item())
        if checkpoint is not None and epoch >= done:
            _keep(checkpoint, epoch + 1, parameters, optimizer)


def _keep(
    checkpoint: Checkpoint,
    epochs: int,
    parameters: Sequence[torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write weights and moments after `epochs` whole epochs."""
    tensors = {}
    for number, parameter in enumerate(parameters):
        tensors[f"{number}.weight"] = parameter.detach()
        for name, value in optimizer.state[parameter].items():
            tensors[f"{number}.{name}"] = value
    checkpoint.keep({"epochs": epochs}, tensors)


@torch.no_grad()
def _resume(checkpoint: Checkpoint, parameters: Sequence[torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> int:
    """Take weights and moments from the checkpoint, if there are any: how many epochs are done."""
    kept = checkpoint.kept()
    if kept is None:
        return 0
    about, tensors = kept
    for number, parameter in enumerate(parameters):
        parameter.copy_(tensors[f"{number}.weight"])
        state = {name: tensors[f"{number}.{name}"].to(parameter.device) for name in ("exp_avg", "exp_avg_sq")}
        optimizer.state[parameter] = state | {"step": tensors[f"{number}.step"]}
    return int(about["epochs"])


def _shuffled(examples: Sequence[Example], size: int, order: random.Random) -> Iterator[list[Example]]:
    """Random batches of like length: shuffle, sort by length inside windows of eight batches, shuffle the batches."""
    shuffled = list(examples)
    order.shuffle(shuffled)
    batches: list[list[Example]] = []
    for start in range(0, len(shuffled), 8 * size):
        window = sorted(shuffled[start : start + 8 * size], key=lambda e: len(e.tokens))
        batches += [window[i : i + size] for i in range(0, len(window), size)]
    order.shuffle(batches)
    yield from batches
