"""A checkpoint: what is kept comes back to the last bit, and what is damaged or of other inputs does not at all."""

from __future__ import annotations

import math
import stat
from dataclasses import replace

import pytest
import torch

from unlearn.lm.checkpoint import Checkpoint

ABOUT = {"third": 1 / 3, "none": None, "nan": math.nan, "names": ["é", "a\nb"]}
TENSORS = {"half": torch.tensor([1.5], dtype=torch.bfloat16), "bytes": torch.arange(5, dtype=torch.uint8)}


@pytest.fixture
def checkpoint(tmp_path):
    kept = Checkpoint(tmp_path / "state" / "loop", "these inputs")
    kept.keep(ABOUT, TENSORS)
    return kept


def test_what_was_kept_last_comes_back_bit_for_bit(checkpoint):
    checkpoint.keep({}, {})
    assert checkpoint.kept() == ({}, {})
    checkpoint.keep(ABOUT, TENSORS)
    about, tensors = checkpoint.kept()
    assert math.isnan(about.pop("nan"))
    assert about == {name: value for name, value in ABOUT.items() if name != "nan"}
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def test_nobody_else_on_the_machine_can_read_it(checkpoint):
    assert stat.S_IMODE(checkpoint.file.stat().st_mode) == 0o600
    assert [path.name for path in checkpoint.file.parent.iterdir()] == ["loop"]


def test_a_state_of_other_inputs_is_none_and_is_removed(checkpoint):
    assert replace(checkpoint, inputs="others").kept() is None
    assert checkpoint.kept() is None
    assert not checkpoint.file.exists()


def test_a_state_with_any_byte_changed_or_cut_off_is_none(checkpoint):
    whole = checkpoint.file.read_bytes()
    damaged = [whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in range(len(whole))]
    for content in [*damaged, *(whole[:n] for n in range(len(whole))), whole + b"\0"]:
        checkpoint.file.write_bytes(content)
        assert checkpoint.kept() is None
    assert checkpoint.kept() is None
    checkpoint.file.write_bytes(whole)
    assert checkpoint.kept() is not None
