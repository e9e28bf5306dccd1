"""One erasing step against a naive one: tokens per second and extra memory, same model, same batch.

    python bench/step.py                        two loops on this machine's CPU, a table at the end
    python bench/step.py --preset llama-1b --device cuda

Ours is the loop that ships (`unlearn.erasure.loop`): one decoder pass over forget and retain records in groups of like
length, the LM head at scored tokens alone and in chunks, the retain KL against cached hidden states. The naive one is
what most published trainers do: a deep copy of the model as reference, one padded batch each for forget and retain,
a forward pass for each and one more for the reference, full logits everywhere, the KL over every position that counts.
Both minimise ascent plus a retain KL with Adam on the same LoRA weights. Each runs in a process of its own, so that
the peak is its own; the extra memory is the peak above what the loaded model takes.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from rich.console import Console
from rich.table import Table
from transformers import LlamaConfig, LlamaForCausalLM

from unlearn.erasure.loop import erase
from unlearn.erasure.task import Task
from unlearn.guards import Budget, NonFinite
from unlearn.lm.batches import Example, collate
from unlearn.methods import Walk
from unlearn.objectives.ascent import Ascent


@dataclass(frozen=True)
class Preset:
    """A model's shape and a batch: `records` forget and as many retain, of `prompt` and `completion` tokens."""

    config: dict[str, Any]
    dtype: torch.dtype
    rank: int
    records: int
    prompt: tuple[int, int]
    completion: tuple[int, int]
    steps: int


PRESETS = {
    # a fifth of a small assistant: short questions, short answers, a common vocabulary
    "cpu": Preset(
        {
            "vocab_size": 32_000,
            "hidden_size": 256,
            "intermediate_size": 688,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 512,
        },
        torch.float32,
        16,
        8,
        (24, 120),
        (12, 72),
        6,
    ),
    # Llama-3.2-1B's shape with random weights
    "llama-1b": Preset(
        {
            "vocab_size": 128_256,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "max_position_embeddings": 2048,
            "tie_word_embeddings": True,
        },
        torch.bfloat16,
        16,
        8,
        (256, 256),
        (256, 256),
        12,
    ),
}


def build(preset: Preset, device: str) -> Any:
    """A random model of the preset's shape with a LoRA whose B is not zero, as a trained one's is not."""
    torch.manual_seed(0)
    with torch.device(device):
        model = LlamaForCausalLM(LlamaConfig(**preset.config)).to(preset.dtype)
    lora = LoraConfig(r=preset.rank, lora_alpha=2 * preset.rank, target_modules="all-linear", task_type="CAUSAL_LM")
    model.requires_grad_(False)
    wrapped = get_peft_model(model, lora).eval()
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.01)
    return wrapped.to(device)


def examples(preset: Preset, seed: int, prefix: str, count: int) -> list[Example]:
    """Records of random tokens; the prompt is not scored."""
    draw = random.Random(seed)
    made = []
    for number in range(count):
        prompt, answer = draw.randint(*preset.prompt), draw.randint(*preset.completion)
        tokens = tuple(draw.randrange(3, preset.config["vocab_size"]) for _ in range(prompt + answer))
        made.append(Example(f"{prefix}{number}", tokens, (False,) * prompt + (True,) * answer))
    return made


def ours(model: Any, preset: Preset, steps: int) -> float:
    """Seconds of `steps` steps of the loop that ships; what it caches once is outside, as in the naive loop."""
    n = preset.records
    task = Task(examples(preset, 1, "f", n), examples(preset, 2, "r", n))
    walk = Walk(
        steps=steps, learning_rate=1e-4, forget_records_per_step=n, retain_records_per_step=n, schedule="constant"
    )
    marks: list[float] = []

    def mark(_step: object) -> None:
        synchronise(model)
        marks.append(time.perf_counter())

    erase(model, task, Ascent(), walk, [NonFinite(), Budget(1e9)], pad_id=0, seed=0, every_steps=10**6, on_step=mark)
    return marks[-1] - marks[0]


def naive(model: Any, preset: Preset, steps: int) -> float:
    """Seconds of `steps` steps of the naive loop."""
    device = next(model.parameters()).device
    forget = collate(examples(preset, 1, "f", preset.records), 0, device)
    retain = collate(examples(preset, 2, "r", preset.records), 0, device)
    reference = copy.deepcopy(model)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    marks: list[float] = []
    for _ in range(steps):
        logits = model(input_ids=forget.input_ids, attention_mask=forget.attention_mask).logits.float()
        mask = forget.scored[:, 1:]
        labels = forget.input_ids[:, 1:].masked_fill(~mask, -100)
        nll = torch.nn.functional.cross_entropy(
            logits[:, :-1].reshape(-1, logits.shape[-1]), labels.reshape(-1), ignore_index=-100
        )
        student = model(input_ids=retain.input_ids, attention_mask=retain.attention_mask).logits.float()
        with torch.no_grad():
            teacher = reference(input_ids=retain.input_ids, attention_mask=retain.attention_mask).logits.float()
        kl = torch.nn.functional.kl_div(
            student.log_softmax(-1), teacher.log_softmax(-1), reduction="none", log_target=True
        ).sum(-1)
        loss = -nll + 5.0 * kl[:, :-1][retain.scored[:, 1:]].mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        synchronise(model)
        marks.append(time.perf_counter())
    return marks[-1] - marks[0]


def synchronise(model: Any) -> None:
    """Wait for the device."""
    if next(model.parameters()).is_cuda:
        torch.cuda.synchronize()


def peak_bytes(device: str) -> int:
    """Most memory held so far: on the device, or by this process."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def one(loop: str, preset: Preset, device: str, threads: int) -> dict[str, float]:
    """Run one loop in this process."""
    torch.set_num_threads(threads)
    model = build(preset, device)
    before = torch.cuda.memory_allocated() if device != "cpu" else _resident()
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    seconds = {"ours": ours, "naive": naive}[loop](model, preset, preset.steps + 1)
    records = examples(preset, 1, "f", preset.records) + examples(preset, 2, "r", preset.records)
    tokens = sum(len(e.tokens) for e in records) * preset.steps
    found = {"tokens_per_second": tokens / seconds, "extra_bytes": float(peak_bytes(device) - before)}
    if device != "cpu":
        trained = sum(p.numel() for p in model.parameters())
        # forward and backward through frozen weights: 2 + 2 operations a weight and token
        found["matmul_share"] = 4 * trained * found["tokens_per_second"] / matmul_rate(preset.dtype)
    return found


def matmul_rate(dtype: torch.dtype) -> float:
    """Measured operations per second of a large square product on the device."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=dtype) for _ in range(2))
    for _ in range(3):
        a @ b
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(20):
        a @ b
    torch.cuda.synchronize()
    return 20 * 2 * 8192**3 / (time.perf_counter() - started)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Run both loops, each in its own process and in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="cpu")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3, help="runs of each loop; the fastest counts")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--loop", choices=["ours", "naive"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    preset = PRESETS[given.preset]
    if given.loop:
        print(json.dumps(one(given.loop, preset, given.device, given.threads)))
        return
    found: dict[str, list[dict[str, float]]] = {"ours": [], "naive": []}
    for _ in range(given.rounds):
        for loop, results in found.items():
            words = [sys.executable, __file__, "--preset", given.preset, "--device", given.device]
            words += ["--threads", str(given.threads), "--loop", loop]
            with tempfile.TemporaryFile() as errors:
                ran = subprocess.run(words, stdout=subprocess.PIPE, stderr=errors, check=False)
                if ran.returncode:
                    errors.seek(0)
                    sys.exit(f"the {loop} loop failed:\n{errors.read().decode()}")
            results.append(json.loads(ran.stdout))
    best = {
        loop: {
            "tokens_per_second": max(r["tokens_per_second"] for r in results),
            "extra_bytes": min(r["extra_bytes"] for r in results),
            **({"matmul_share": max(r["matmul_share"] for r in results)} if "matmul_share" in results[0] else {}),
        }
        for loop, results in found.items()
    }
    if given.json:
        print(json.dumps(best))
        return
    mine, other = best["ours"], best["naive"]
    table = Table(box=None, header_style="dim")
    for name in ("", "naive", "ours", "ratio"):
        table.add_column(name, justify="left" if not name else "right")
    faster = mine["tokens_per_second"] / other["tokens_per_second"]
    table.add_row(
        "tokens/s", f"{other['tokens_per_second']:,.0f}", f"{mine['tokens_per_second']:,.0f}", f"{faster:.2f}x"
    )
    smaller = mine["extra_bytes"] / other["extra_bytes"]
    table.add_row(
        "extra memory (MiB)",
        f"{other['extra_bytes'] / 2**20:,.0f}",
        f"{mine['extra_bytes'] / 2**20:,.0f}",
        f"{smaller:.2f}x",
    )
    if "matmul_share" in mine:
        table.add_row("share of matmul rate", f"{other['matmul_share']:.0%}", f"{mine['matmul_share']:.0%}", "")
    where = given.device if given.device != "cpu" else f"{given.threads} threads of {platform.machine()}"
    Console().print(
        f"{given.preset}: {preset.records} + {preset.records} records a step, {where}, torch {torch.__version__}"
    )
    Console().print(table)


if __name__ == "__main__":
    main()
