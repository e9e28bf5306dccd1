"""What the standard battery of attacks costs, in plain forward evaluations of the same records; and attack by attack.

    python bench/battery.py                 1,000 records of 128 tokens, a table at the end

`one evaluation` is a forward pass of every record and its NLL: the least that any audit does. `the battery` is the audit
as it ships: base and adapter read once each, all attacks on what they said. `attack by attack` gives each attack a
pass of its own (two where it compares with the base), as public evaluations do. One process, one batch size, weights
drawn at random: what a forward costs does not depend on them.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from statistics import median

import torch
from peft import LoraConfig, get_peft_model
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from transformers import LlamaConfig, LlamaForCausalLM

from unlearn.attacks import ATTACKS, Signals
from unlearn.lm.batches import Example
from unlearn.lm.likelihood import readings, record_log_probs, record_nlls

COMPARING = ("reference", "error_zone")
"""Attacks that read the base, too."""


def main() -> None:
    """Time the three and print their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--tokens", type=int, default=128, help="of each record, all scored")
    parser.add_argument("--repeats", type=int, default=3, help="medians of so many, taken in turns")
    given = parser.parse_args()
    torch.manual_seed(0)
    shape = {"hidden_size": 256, "intermediate_size": 682, "num_hidden_layers": 4, "num_attention_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=4096, **shape)).eval()  # type: ignore[arg-type]
    model = get_peft_model(model, LoraConfig(r=16, target_modules="all-linear", init_lora_weights=False)).eval()
    draw = random.Random(0)
    scored = (False, *[True] * (given.tokens - 1))
    examples = [
        Example(f"r{n}", tuple(draw.randrange(1, 4096) for _ in range(given.tokens)), scored)
        for n in range(given.records)
    ]
    sizes = {e.id: 100 for e in examples}

    def plain() -> None:
        record_nlls(model, examples, 0)

    def battery() -> None:
        with model.disable_adapter():
            base = record_log_probs(model, examples, 0)
        signals = Signals(readings(model, examples, 0), base, sizes)
        for attack in ATTACKS.values():
            attack(signals)

    def one_by_one() -> None:
        for name, attack in ATTACKS.items():
            read, base = readings(model, examples, 0), {}
            if name in COMPARING:
                with model.disable_adapter():
                    base = record_log_probs(model, examples, 0)
            attack(Signals(read, base, sizes))

    runs: dict[str, Callable[[], None]] = {
        "one evaluation": plain,
        "the battery": battery,
        "attack by attack": one_by_one,
    }
    plain()  # the first pass finds the memory cold
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    console = Console()
    with Progress(console=console, transient=True) as bar:
        for _ in bar.track(range(given.repeats), description="reading"):
            for name, run in runs.items():
                started = time.monotonic()
                run()
                seconds[name].append(time.monotonic() - started)
    middle = {name: median(values) for name, values in seconds.items()}
    table = Table(box=None, header_style="dim", title=f"{given.records} records of {given.tokens} tokens")
    table.add_column("")
    table.add_column("seconds", justify="right")
    table.add_column("plain evaluations", justify="right")
    for name, value in middle.items():
        table.add_row(name, f"{value:.1f}", f"{value / middle['one evaluation']:.2f}")
    console.print(table)
    ratio = middle["attack by attack"] / middle["the battery"]
    console.print(f"{len(ATTACKS)} attacks at once cost {ratio:.1f} times less than one after another.")


if __name__ == "__main__":
    main()
