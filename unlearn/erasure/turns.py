"""How many steps a walk takes, and which records each of them is made of. Knows nothing of what is in a record."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence

from unlearn.lm.batches import Example
from unlearn.methods import Walk


def steps_of(walk: Walk, forget_records: int) -> int:
    """Most steps that `walk` takes over so many forget records."""
    if walk.passes is None:
        return walk.steps
    a_step = min(walk.forget_records_per_step, forget_records)
    return min(walk.steps, math.ceil(walk.passes * forget_records / a_step))


def shuffled(examples: Sequence[Example], seed: str) -> list[Example]:
    """The same in an order drawn from `seed`."""
    drawn = list(examples)
    random.Random(seed).shuffle(drawn)  # noqa: S311
    return drawn


def turns(examples: Sequence[Example], size: int) -> Iterator[list[Example]]:
    """Batches of `size` (fewer when there are fewer), every example once before any comes again, without end."""
    size = min(size, len(examples))
    start = 0
    while True:
        yield [examples[i % len(examples)] for i in range(start, start + size)]
        start = (start + size) % len(examples)
