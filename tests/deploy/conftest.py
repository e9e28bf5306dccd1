"""Releases of one adapter on a shelf, as the service lays them out."""

from __future__ import annotations

import pytest

from unlearn.deploy import Release


@pytest.fixture
def released(tmp_path):
    """A release of version `number`, its directory made."""

    def release(number, *, previous=None, fence=1, shelf=None, **given):
        path = (shelf or tmp_path / "adapters" / "adp_1") / f"v{number}.f{fence}"
        path.mkdir(parents=True, exist_ok=True)
        (path / "adapter_model.safetensors").write_bytes(b"weights of %d" % number)
        if previous is None and number > 1:
            previous = number - 1
        return Release(
            adapter=given.pop("adapter", "support"),
            adapter_id=given.pop("adapter_id", "adp_1"),
            number=number,
            path=path,
            sha256=given.pop("sha256", f"{number:064x}"),
            previous=previous,
            **given,
        )

    return release
