"""Base models and the adapters on them: loading, attaching, saving.

Knows transformers and peft. Knows nothing of losses, forget sets or files of records. A base stays frozen and
in evaluation mode; an adapter is attached for the length of a `with` block and leaves the base as it was.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from unlearn.errors import ModelError
from unlearn.lm.likelihood import check_head
from unlearn.weights import AdapterFiles, BaseFiles, check_pair, read_adapter, read_base, settle

transformers_logging.disable_progress_bar()
warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")

HUB_FILES = ("*.json", "*.safetensors", "*.jinja", "tokenizer.model")


@dataclass(frozen=True)
class Base:
    """A frozen causal LM with its tokenizer and what its directory says of it."""

    files: BaseFiles
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device


def resolve_base(name: str) -> Path:
    """The directory of the base `name`: itself a directory, or a hub id, which is fetched or found in the cache.

    Raises:
        ModelError: neither.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    if path.exists() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(f"base '{name}' is not a directory; name one, or a hub id such as owner/model")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(HUB_FILES)))
    except Exception as error:  # the hub client raises some twenty kinds
        raise ModelError(f"base '{name}' is no directory and can't be fetched from the hub: {error}") from None


@lru_cache(maxsize=1)
def _load(path: Path, _sha256: str, device: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    dtype: Any = torch.float32 if torch.device(device).type == "cpu" else "auto"
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, use_safetensors=True, trust_remote_code=False, local_files_only=True
        )
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"base '{path}' can't be loaded: {error}") from None
    model.requires_grad_(False).eval().to(device)
    check_head(model)
    return model, tokenizer


def load_base(path: Path, device: str = "cpu") -> Base:
    """Load the base in the directory `path`; the last one loaded is kept warm for the next call.

    float32 on a CPU, the checkpoint's own dtype elsewhere.

    Raises:
        ModelError: it can't be used; see `unlearn.weights.read_base`.
    """
    files = read_base(path)
    model, tokenizer = _load(files.path, files.sha256, device)
    return Base(files, model, tokenizer)


@contextmanager
def attached(base: Base, adapter: AdapterFiles) -> Iterator[PeftModel]:
    """`base` with `adapter` on it, its LoRA weights trainable, dropout off.

    Raises:
        ModelError: it was trained on another base, or its weights do not load whole.
    """
    check_pair(base.files, adapter)
    try:
        model = PeftModel.from_pretrained(base.model, str(adapter.path), is_trainable=True, use_safetensors=True)
    except (RuntimeError, ValueError, KeyError) as error:
        _detach(base)
        raise ModelError(f"adapter '{adapter.path}' does not load on '{base.files.path}': {error}") from None
    try:
        _check_loaded(model, adapter)
        yield model.eval()
    finally:
        model.unload()
        _detach(base)


@contextmanager
def fresh_lora(base: Base, config: LoraConfig, seed: int) -> Iterator[PeftModel]:
    """`base` with a new LoRA on it, initialised from `seed`.

    Raises:
        ModelError: the config names modules that this base does not have.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            model = get_peft_model(base.model, config)
        except ValueError as error:
            _detach(base)
            raise ModelError(f"no LoRA fits base '{base.files.path}': {error}") from None
    try:
        yield model
    finally:
        model.unload()
        _detach(base)


def _detach(base: Base) -> None:
    if hasattr(base.model, "peft_config"):
        del base.model.peft_config
    base.model.requires_grad_(False).eval()


def _check_loaded(model: PeftModel, adapter: AdapterFiles) -> None:
    loaded = sum(1 for name, _ in model.named_parameters() if "lora_" in name)
    if loaded != len(adapter.shapes):
        raise ModelError(
            f"adapter '{adapter.path}' holds {len(adapter.shapes)} tensors, {loaded} fit the base "
            f"'{model.get_base_model().name_or_path}'"
        )
    for name, parameter in lora_parameters(model):
        if not bool(torch.isfinite(parameter).all()):
            raise ModelError(f"adapter '{adapter.path}': tensor '{name}' is not finite")


def lora_parameters(model: PeftModel) -> list[tuple[str, torch.nn.Parameter]]:
    """The trainable LoRA tensors with their names, in a fixed order."""
    return sorted((name, p) for name, p in model.named_parameters() if p.requires_grad)


def snapshot(model: PeftModel) -> dict[str, torch.Tensor]:
    """A copy of the LoRA weights by name."""
    return {name: parameter.detach().clone() for name, parameter in lora_parameters(model)}


@torch.no_grad()
def restore(model: PeftModel, weights: Mapping[str, torch.Tensor]) -> None:
    """Set the LoRA weights to those of a `snapshot`."""
    for name, parameter in lora_parameters(model):
        parameter.copy_(weights[name])


SMALLEST_CHANGE = 1e-8
"""A move of a LoRA weight below this is none: float32 weights of usual size (1e-2) can't even hold it."""


def is_unchanged(model: PeftModel, before: dict[str, torch.Tensor]) -> bool:
    """Whether no LoRA weight moved from where it was in `before`."""
    moved = (float((parameter.detach() - before[name]).abs().max()) for name, parameter in lora_parameters(model))
    return max(moved, default=0.0) <= SMALLEST_CHANGE


def save_adapter(model: PeftModel, destination: Path, extra: dict[str, str] | None = None) -> AdapterFiles:
    """Write the adapter to `destination` in one step, as plain PEFT reads it.

    Args:
        model: with the adapter attached.
        destination: must not exist.
        extra: further text files of the adapter's directory, by name (the recipe).

    Raises:
        FileExistsError: something is at `destination`.
    """
    if destination.exists():
        raise FileExistsError(destination)
    destination.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft looks the base up on the hub for its vocabulary size
            model.save_pretrained(str(draft), safe_serialization=True, save_embedding_layers=False)
        (draft / "README.md").unlink(missing_ok=True)
        for name, text in (extra or {}).items():
            (draft / name).write_text(text, encoding="utf-8")
        settle(draft, destination)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return read_adapter(destination)
