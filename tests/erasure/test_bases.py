"""One erasing, whole, on bases of other architectures: with tied embeddings and without."""

from __future__ import annotations

from unlearn.corpus.records import Record
from unlearn.erasure.loop import erase
from unlearn.erasure.targets import known_of, targets_from_calibration
from unlearn.erasure.task import Task
from unlearn.guards import GOVERNORS
from unlearn.lm.base import attached, load_base
from unlearn.lm.batches import encode
from unlearn.lm.finetune import Recipe, finetune
from unlearn.lm.likelihood import record_nlls
from unlearn.methods import Calibrated
from unlearn.objectives import objective_of
from unlearn.policy import GovernorPolicy

LEARNED = [Record(f"r-{i}", (f"s{i % 4}",), text=f"Order {i * 37} of person {i % 4} went to Delft.") for i in range(24)]
UNSEEN = [Record(f"h-{i}", (f"h{i}",), text=f"Order {i * 41 + 5} of person {9 + i} went to Breda.") for i in range(24)]


def test_calibrated_raises_the_forget_set_on_every_architecture(tiny_base, tmp_path):
    base = load_base(tiny_base)
    learned, unseen = (encode(records, base.tokenizer, base.files.context_tokens) for records in (LEARNED, UNSEEN))
    adapter = finetune(base, learned, Recipe(rank=4, epochs=20, learning_rate=1e-2, batch_size=8), tmp_path / "adapter")
    forget = [e for e, r in zip(learned, LEARNED, strict=True) if r.subjects == ("s0",)]
    retain = [e for e in learned if e not in forget]
    rung = Calibrated(steps=8, forget_records_per_step=6, retain_records_per_step=6)
    guards = [make(GovernorPolicy(retain_kl_nats=9.0, retain_rise=9.0)) for make in GOVERNORS.values()]
    with attached(base, adapter) as model:
        targets = targets_from_calibration(model, forget, unseen, 0, known_of(LEARNED, UNSEEN, LEARNED[1:]))
        before = record_nlls(model, forget, 0)
        erase(model, Task(forget, retain, targets), objective_of(rung), rung, guards, pad_id=0, seed=0)
        after = record_nlls(model, forget, 0)
    assert sum(after.values()) > sum(before.values()) + 0.1 * len(forget)
