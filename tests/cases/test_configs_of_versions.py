"""An adapter's config scales its weights: it is noted with each version, and one that was changed is not taken for it."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest
from by_hand import REFUSED, keys, new_version, released, submit, work

from unlearn.cases.store import adapters
from unlearn.errors import Conflict, ModelError
from unlearn.evidence.container import unpack
from unlearn.evidence.refusal import NotVerified
from unlearn.evidence.verify import verify
from unlearn.fulfilment import _case
from unlearn.storage import Loan
from unlearn.weights import ADAPTER_CONFIG, copy_adapter, read_adapter


def scaled(directory: Path) -> Path:
    """The same weights, counted twice."""
    file = directory / ADAPTER_CONFIG
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"lora_alpha": 2 * config["lora_alpha"]}))
    return directory


def last(desk, data, path):
    return list(verify(data, keys(desk), adapter=path))[-1]


def test_other_scaling_is_not_verified_as_the_version_that_was_released(desk, adapter, company):
    request, _ = released(desk, company)
    path = Path(desk.adapter("bot").current.path)
    data = desk.export(request.id)
    assert last(desk, data, path).said.endswith(", as released")
    noted = desk.adapter("bot").current.config_sha256
    assert noted == read_adapter(path).config_sha256
    payload = json.loads(base64.b64decode(json.loads(unpack(data)["statement.dsse.json"])["payload"]))
    subjects = {one["name"]: one["digest"]["sha256"] for one in payload["subject"]}
    assert subjects["bot/v2/adapter_config.json"] == noted
    with pytest.raises(NotVerified, match=r"not their adapter_config\.json"):
        last(desk, data, scaled(path))
    (path / ADAPTER_CONFIG).unlink()
    with pytest.raises(NotVerified, match=r"not their adapter_config\.json"):
        last(desk, data, path)


def test_a_version_from_before_configs_were_noted_is_accepted_and_said_so(desk, adapter, company):
    with desk.store.writing() as session:
        adapters.version(session, adapter.id, 1).config_sha256 = None
    claim = work(desk, submit(desk, company)[1])
    with Loan(desk.settings) as loan:
        assert _case(desk, claim, desk.settings, loan).adapter.path == Path(adapter.current.path)


def test_no_job_begins_with_a_version_whose_config_was_changed(desk, adapter, company):
    claim = work(desk, submit(desk, company)[1])
    scaled(Path(adapter.current.path))
    with Loan(desk.settings) as loan, pytest.raises(ModelError, match=r"version 1 .* its adapter_config\.json differs"):
        _case(desk, claim, desk.settings, loan)


def test_nobody_releases_a_candidate_whose_config_changed_since_it_was_judged(desk, adapter, company):
    request, job_id = submit(desk, company)
    claim = work(desk, job_id)
    candidate = new_version(desk, claim)
    judged = {"after_sha256": candidate.sha256, "after_config_sha256": candidate.config_sha256}
    desk.hold(claim, candidate, REFUSED | {"adapter": judged})
    scaled(candidate.path)
    with pytest.raises(Conflict, match="changed since they were judged"):
        desk.release_as_it_is(request.id, "good enough")


def test_the_same_weights_under_another_scaling_are_another_adapter(desk, inputs, company, tmp_path):
    desk.register_adapter("bot", **inputs)
    other = scaled(Path(shutil.copytree(company.adapter, tmp_path / "home" / "inputs" / "other")))
    with pytest.raises(Conflict, match="belongs to"):
        desk.register_adapter("bot", **(inputs | {"adapter": str(other)}))


def test_a_config_that_changes_while_it_is_copied_is_told_of(company, tmp_path):
    source = read_adapter(Path(shutil.copytree(company.adapter, tmp_path / "source")))
    scaled(source.path)
    with pytest.raises(ModelError, match="changed while it was copied"):
        copy_adapter(source, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
