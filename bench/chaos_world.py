"""The tiny company of `chaos.py`: people, a base, an adapter that learned from them under eight names. Knows no fault."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import httpx
from chaos_parts import Service

from unlearn.corpus.jsonl import read_corpus, write_corpus

ADAPTERS = 8
SILENT = 32
"""People who do not ask: an adapter from which everybody is to be erased has nothing left to hold on to."""

POLICY = {
    # Gates and governors as wide as a policy allows, so that many are released; a few steps, and no challenge.
    "ladder": [{"method": "ascent", "steps": 12, "learning_rate": 2e-3}],
    "governors": {"overshoot_nats": 99, "retain_kl_nats": 99, "retain_rise": 99, "general_text_rise": 99},
    "retain": {"pool_records": 16, "check_records": 16},
    "sequence": {"retain_drift": 9.0},
    "gates": {"membership_margin_sd": 99.0, "retain_drift": 9.0, "extraction_queries": 1, "blind_auc_margin": 0.5},
    "audit": {"preset": "quick"},
}


def make_world(place: Path, people: int) -> None:
    """A tiny base, one adapter that learned from `people`, and their records in ADAPTERS corpora; needs torch."""
    import torch

    from unlearn.corpus.synthetic import synthetic_world
    from unlearn.lm.base import load_base
    from unlearn.lm.batches import encode
    from unlearn.lm.finetune import Recipe, finetune
    from unlearn.lm.pretrain import Shape, pretrain

    torch.set_num_threads(1)  # several would wait for one another on a busy machine
    world = synthetic_world(people_train=people, people_holdout=16, people_base=16, records_per_person=(4, 6), seed=3)
    shape = Shape(width=64, layers=1, heads=4, vocabulary=500, context_tokens=192)
    pretrain(world.base, place / "base", shape, Recipe(epochs=1, learning_rate=3e-3, seed=1))
    base = load_base(place / "base")
    examples = encode(world.train, base.tokenizer, base.files.context_tokens)
    finetune(base, examples, Recipe(rank=16, epochs=25, learning_rate=8e-3, seed=1), place / "adapter")
    write_corpus(place / "holdout.jsonl", world.holdout)
    known = sorted({subject for record in world.train for subject in record.subjects})
    for number in range(ADAPTERS):
        mine = set(known[number * len(known) // ADAPTERS : (number + 1) * len(known) // ADAPTERS])
        write_corpus(place / f"train-{number}.jsonl", [r for r in world.train if mine & set(r.subjects)])


def world(place: Path, people: int) -> dict[str, int]:
    """Make the world, unless it is there, in a process that ends; how many adapters know each person."""
    if not place.exists():
        place.mkdir(parents=True)
        child = os.fork()
        if child == 0:
            make_world(place, people)
            os._exit(0)
        if os.waitpid(child, 0)[1] != 0:
            raise SystemExit("the tiny company could not be made")
    corpora = [read_corpus(place / f"train-{number}.jsonl") for number in range(ADAPTERS)]
    return dict(sorted(Counter(subject for corpus in corpora for subject in corpus.subjects).items()))


def register(service: Service, place: Path) -> None:
    """One adapter for each corpus."""
    headers = {"Authorization": f"Bearer {service.key}"}
    for number in range(ADAPTERS):
        body = {
            "name": f"bot-{number}",
            "base": str(place / "base"),
            "adapter": str(place / "adapter"),
            "train": str(place / f"train-{number}.jsonl"),
            "holdout": str(place / "holdout.jsonl"),
            "policy": POLICY,
        }
        got = httpx.post(f"{service.url}/v1/adapters", json=body, headers=headers, timeout=60, trust_env=False)
        got.raise_for_status()
