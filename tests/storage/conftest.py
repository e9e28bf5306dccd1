"""A real S3 server over HTTP, and a real if tiny adapter."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from s3 import _s3_environment, _s3_server, bucket, plain_bucket, versioned_bucket  # noqa: F401
from unlearn.settings import Settings
from unlearn.weights import ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdapterFiles, read_adapter


@pytest.fixture
def tiny(tmp_path):
    """Writes a LoRA of two matrices; another `seed` is another LoRA."""

    def tiny(path=None, seed: int = 0) -> AdapterFiles:
        path = path or tmp_path / f"tiny{seed}"
        path.mkdir(parents=True)
        (path / ADAPTER_CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": 2, "base_model_name_or_path": "b"}))
        dice = np.random.default_rng(seed)
        shapes = {"lora_A": (2, 4), "lora_B": (6, 2)}
        tensors = {
            f"base_model.model.model.layers.0.q_proj.{name}.weight": dice.normal(size=shape).astype("float32")
            for name, shape in shapes.items()
        }
        save_file(tensors, path / ADAPTER_WEIGHTS)
        return read_adapter(path)

    return tiny


@pytest.fixture
def remote(tmp_path, bucket):  # noqa: F811
    """Settings whose versions live in the bucket; those of another machine have another home."""

    def remote(home: str = "home", **given) -> Settings:
        return Settings(home=tmp_path / home, store=bucket.url, **given)

    return remote
