"""Directories of weights as plain data: configs, tensor shapes, digests, and what fits on what.

Reads headers and JSON, never a tensor's values, so both wings can use it. Must not import torch.
Weights are safetensors or nothing: a pickle is never opened.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from unlearn.corpus.records import Corpus
from unlearn.durable import sync
from unlearn.errors import CorpusError, ModelError

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
RECIPE = "recipe.json"
LINEAGE = "lineage.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class BaseFiles:
    """A base model's directory: `sha256` covers the config and every weight file; `shapes` by tensor name."""

    path: Path
    sha256: str
    config: dict[str, Any]
    shapes: Shapes

    @property
    def context_tokens(self) -> int | None:
        """The longest sequence the model takes, in tokens; None when its config sets no limit."""
        for key in ("max_position_embeddings", "n_positions", "n_ctx"):
            if isinstance(self.config.get(key), int):
                return int(self.config[key])
        return None


@dataclass(frozen=True)
class AdapterFiles:
    """A LoRA's directory: `sha256` is that of the weight file; `recipe` how it was trained, when recorded.

    `config_sha256` is that of `adapter_config.json`, which scales the weights and says where they go.

    `lineage` is what erasures did to it since it was last fitted: for each the method, and the retain NLL before and
    its rise, nats per token; empty for an exact fit. `stored` is where the store has it, if that is not `path`.
    """

    path: Path
    sha256: str
    config_sha256: str
    config: dict[str, Any]
    shapes: Shapes
    recipe: dict[str, Any] | None
    lineage: tuple[dict[str, Any], ...] = ()
    stored: str | None = None

    @property
    def place(self) -> str:
        """Where others find it: its directory, or its URL in an object store."""
        return self.stored or str(self.path)

    @property
    def rank(self) -> int:
        """The LoRA rank r of the config."""
        return int(self.config["r"])


def read_base(path: Path) -> BaseFiles:
    """The base model in the directory `path`.

    Raises:
        ModelError: no directory, no config, a tokenizer without a pad token, or no safetensors weights.
    """
    config = _read_json(path, "config.json", "base")
    files = sorted(path.glob("*.safetensors"))
    if not files:
        raise ModelError(_no_safetensors(path, "base", "*.safetensors"))
    shapes: Shapes = {}
    for file in files:
        shapes |= _shapes(file)
    base = BaseFiles(path, _digest([path / "config.json", *files]), config, shapes)
    _check_tokenizer(base)
    return base


def read_adapter(path: Path) -> AdapterFiles:
    """The LoRA adapter in the directory `path`.

    Raises:
        ModelError: not a LoRA, rank 0, extra trained modules, a target that the engine can't hold fixed,
            or weights that are not safetensors.
    """
    config = _read_json(path, ADAPTER_CONFIG, "adapter")
    weights = path / ADAPTER_WEIGHTS
    if not weights.is_file():
        raise ModelError(_no_safetensors(path, "adapter", ADAPTER_WEIGHTS))
    recipe = _read_json(path, RECIPE, "adapter") if (path / RECIPE).is_file() else None
    digests = _digest([weights]), _digest([path / ADAPTER_CONFIG])
    adapter = AdapterFiles(path, *digests, config, _shapes(weights), recipe, _lineage(path))
    _check_lora(adapter)
    return adapter


def check_pair(base: BaseFiles, adapter: AdapterFiles) -> None:
    """Check that `adapter` was trained on `base`: every LoRA pair fits a weight, and the recorded base agrees.

    Raises:
        ModelError: it was trained on another base, or names a module that this base does not have.
    """
    recorded = (adapter.recipe or {}).get("base", {}).get("sha256")
    if recorded and recorded != base.sha256:
        raise ModelError(
            f"adapter '{adapter.path}' was trained on base sha256:{recorded[:12]}…, not on '{base.path}' "
            f"(sha256:{base.sha256[:12]}…); name the base it was trained on"
        )
    for module, pair in _lora_pairs(adapter).items():
        weight = _base_weight(base.shapes, module)
        if weight is None:
            raise ModelError(
                f"adapter '{adapter.path}' was trained on another base: '{base.path}' has no module '{module}'"
            )
        if sorted(pair) != sorted(weight):
            raise ModelError(
                f"adapter '{adapter.path}' was trained on another base: module '{module}' is {weight} in "
                f"'{base.path}', the adapter's is {pair}"
            )
    if not recorded:
        _check_base_name(base, adapter)


def check_lengths(base: BaseFiles, corpus: Corpus) -> None:
    """Check that every record fits the model's context, end mark included.

    A chat template adds tokens that this check does not see; encoding the records finds those.

    Raises:
        CorpusError: names the file and the ids of the first records that do not fit.
    """
    limit = base.context_tokens
    if limit is None:
        return
    tokenizer = _tokenizer(base.path)
    encoded = tokenizer.encode_batch_fast([record.content for record in corpus.records])
    long = [(r.id, len(e.ids)) for r, e in zip(corpus.records, encoded, strict=True) if len(e.ids) + 1 > limit]
    if long:
        first = ", ".join(f"'{id_}' ({tokens + 1} tokens)" for id_, tokens in long[:5])
        raise CorpusError(
            f"{corpus.path}: {len(long)} records are too long for the model's {limit} tokens: {first}; "
            "split or shorten them"
        )


def copy_adapter(adapter: AdapterFiles, destination: Path) -> AdapterFiles:
    """Copy the adapter's files to `destination` in one step: it is there whole, or not at all.

    Raises:
        FileExistsError: something is at `destination` already.
        ModelError: the files changed since they were read.
    """
    if destination.exists():
        raise FileExistsError(destination)
    destination.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    try:
        for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS, LINEAGE):
            if (adapter.path / name).is_file():
                shutil.copyfile(adapter.path / name, draft / name)
        if adapter.recipe is not None:
            _write_recipe(adapter, draft / RECIPE)
        copied = read_adapter(draft)
        if (copied.sha256, copied.config_sha256) != (adapter.sha256, adapter.config_sha256):
            raise ModelError(f"adapter '{adapter.path}' changed while it was copied; register it again")
        settle(draft, destination)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return read_adapter(destination)


def _write_recipe(adapter: AdapterFiles, file: Path) -> None:
    """The recipe's file to the byte, unless the adapter was given another than it has."""
    own = adapter.path / RECIPE
    if own.is_file() and _read_json(adapter.path, RECIPE, "adapter") == adapter.recipe:
        shutil.copyfile(own, file)
    else:
        file.write_text(json.dumps(adapter.recipe, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def settle(draft: Path, destination: Path) -> None:
    """Flush every file of the directory `draft` to disk, then rename it to `destination`."""
    for file in [*draft.rglob("*"), draft]:
        sync(file)
    draft.chmod(0o755)
    draft.rename(destination)
    sync(destination.parent)


def _read_json(path: Path, name: str, what: str) -> dict[str, Any]:
    if not path.is_dir():
        raise ModelError(f"{what} '{path}' is not a directory")
    file = path / name
    if not file.is_file():
        raise ModelError(f"{what} '{path}' has no {name}; name the directory that save_pretrained wrote")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{what} '{file}' is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise ModelError(f"{what} '{file}' is not a JSON object")
    return data


def _lineage(path: Path) -> tuple[dict[str, Any], ...]:
    if not (path / LINEAGE).is_file():
        return ()
    erasures = _read_json(path, LINEAGE, "adapter").get("erasures")
    fields = {"method": str, "retain_nll_nats": float, "retain_rise_nats": float}
    if isinstance(erasures, list) and all(
        isinstance(one, dict) and all(isinstance(one.get(name), kind) for name, kind in fields.items())
        for one in erasures
    ):
        return tuple(erasures)
    raise ModelError(f"adapter '{path}': {LINEAGE} is not a list of erasures; restore the file as it was written")


def _shapes(file: Path) -> Shapes:
    try:
        _open(file).close()  # of what it may not read safetensors says that there is none
        with safe_open(file, framework="numpy") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(f"'{file}' is not a safetensors file: {error}") from None


def _open(file: Path) -> BufferedReader:
    try:
        return file.open("rb")
    except PermissionError:
        raise ModelError(f"user {os.geteuid()}, as whom this runs, may not read '{file}'; allow it to") from None


def _no_safetensors(path: Path, what: str, name: str) -> str:
    pickles = sorted(file.name for pattern in PICKLES for file in path.glob(pattern))
    if pickles:
        return (
            f"{what} '{path}' holds pickled weights ({', '.join(pickles[:3])}), which are never opened; "
            "save it again with safe_serialization=True"
        )
    return f"{what} '{path}' has no weights ({name})"


def _digest(files: list[Path]) -> str:
    """SHA-256 of one file, or of the names and digests of several."""
    digests = [_file_digest(f, f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    if len(digests) == 1:
        return digests[0]
    listing = "".join(f"{digest}  {file.name}\n" for file, digest in zip(files, digests, strict=True))
    return hashlib.sha256(listing.encode()).hexdigest()


@lru_cache(maxsize=256)
def _file_digest(file: Path, _size: int, _mtime_ns: int) -> str:
    with _open(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_tokenizer(base: BaseFiles) -> None:
    config = _read_json(base.path, "tokenizer_config.json", "base")
    if config.get("pad_token") is None and "pad_token" not in _special_tokens(base.path):
        raise ModelError(
            f"base '{base.path}': its tokenizer has no pad token; set one and save it: "
            "tokenizer.pad_token = tokenizer.eos_token; tokenizer.save_pretrained(...)"
        )
    size, rows = _tokenizer(base.path).get_vocab_size(), base.config.get("vocab_size")
    if isinstance(rows, int) and size > rows:
        raise ModelError(f"base '{base.path}': its tokenizer has {size} tokens, the model only {rows}")


def _special_tokens(path: Path) -> dict[str, Any]:
    file = path / "special_tokens_map.json"
    return _read_json(path, file.name, "base") if file.is_file() else {}


def _tokenizer(path: Path) -> Tokenizer:
    file = path / "tokenizer.json"
    if not file.is_file():
        raise ModelError(f"base '{path}' has no tokenizer.json; save a fast tokenizer beside it with save_pretrained")
    return _load_tokenizer(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _load_tokenizer(file: Path, _mtime_ns: int) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises the bare class
        raise ModelError(f"'{file}' is not a tokenizer: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _check_lora(adapter: AdapterFiles) -> None:
    where, config = f"adapter '{adapter.path}'", adapter.config
    if config.get("peft_type") != "LORA":
        raise ModelError(f"{where} is of type {config.get('peft_type')!r}; only LORA is supported")
    if not isinstance(config.get("r"), int) or config["r"] < 1:
        raise ModelError(f"{where} has rank {config.get('r')!r}; a LoRA needs a rank of 1 or more")
    for key, why in (
        ("modules_to_save", "trains whole modules beside the LoRA"),
        ("trainable_token_indices", "trains token embeddings beside the LoRA"),
        ("auto_mapping", "asks for its own code to be loaded"),
    ):
        if config.get(key):
            raise ModelError(f"{where} {why} ({key}); such an adapter can't be erased from yet")
    if config.get("bias", "none") != "none":
        raise ModelError(f"{where} trains biases (bias={config['bias']!r}); only bias='none' is supported")
    pairs = _lora_pairs(adapter)
    if not pairs:
        raise ModelError(f"{where} holds no LoRA weights")
    for module in pairs:
        if module.split(".")[-1] in {"lm_head", "embed_out", "embed_tokens", "wte", "wpe"}:
            raise ModelError(
                f"{where} adapts '{module}'; embeddings and head must stay the base's, because the retain KL is cached "
                "before the head"
            )


def _lora_pairs(adapter: AdapterFiles) -> dict[str, tuple[int, int]]:
    """Module name -> (output features, input features), from its lora_B [out, r] and lora_A [r, in]."""
    matrices: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in adapter.shapes.items():
        for kind in ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B"):
            module, mark, _ = name.partition(f".{kind}")
            if mark:
                matrices.setdefault(module.removeprefix("base_model.model."), {})[kind[-1]] = shape
    pairs: dict[str, tuple[int, int]] = {}
    for module, pair in matrices.items():
        if set(pair) != {"A", "B"} or len(pair["A"]) != 2 or len(pair["B"]) != 2:
            raise ModelError(f"adapter '{adapter.path}': module '{module}' has no complete pair of LoRA matrices")
        (rank, inputs), (outputs, rank_b) = pair["A"], pair["B"]
        if rank != rank_b or rank < 1:
            raise ModelError(f"adapter '{adapter.path}': module '{module}' has ranks {rank} and {rank_b}")
        pairs[module] = (outputs, inputs)
    return pairs


def _base_weight(shapes: Shapes, module: str) -> tuple[int, ...] | None:
    """Shape of the base's weight for `module`; checkpoints may leave out or add the model's own prefix."""
    for name in (module, module.partition(".")[2], f"model.{module}"):
        if f"{name}.weight" in shapes:
            return shapes[f"{name}.weight"]
    return None


def _check_base_name(base: BaseFiles, adapter: AdapterFiles) -> None:
    """Without a recorded digest the name is all there is: compare the directories, or their last parts."""
    name = adapter.config.get("base_model_name_or_path")
    if not name:
        return
    named = Path(name)
    if (named / "config.json").is_file() and any(named.glob("*.safetensors")):
        same = _digest([named / "config.json", *sorted(named.glob("*.safetensors"))]) == base.sha256
    else:
        # A hub snapshot lies under models--owner--name/snapshots/<commit>.
        same = named.name == base.path.name or f"models--{name.replace('/', '--')}" in base.path.parts
    if not same:
        raise ModelError(
            f"adapter '{adapter.path}' was trained on base '{name}', not on '{base.path}'; "
            "name that base, or correct base_model_name_or_path in its adapter_config.json if it has moved"
        )
