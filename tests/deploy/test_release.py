"""A release: which versions it may replace, and what it can't be."""

from __future__ import annotations

from pathlib import Path

import pytest

from unlearn.deploy import HookFailed, Release
from unlearn.deploy.base import number_of
from unlearn.errors import Unavailable


def test_a_late_release_never_replaces_a_newer_one(released):
    assert released(2).may_replace(None)
    assert released(2).may_replace(1)
    assert released(2).may_replace(2)
    assert not released(2).may_replace(3)


def test_a_rollback_replaces_what_it_was_made_to_leave_and_nothing_released_since(released):
    rollback = released(2, previous=4, forced=True)
    assert rollback.may_replace(4)
    assert rollback.may_replace(3)
    assert not rollback.may_replace(5)


@pytest.mark.parametrize(
    ("name", "number"), [("v1", 1), ("v12.f3", 12), ("current", None), ("v", None), ("v3x", None), ("3", None)]
)
def test_the_number_of_a_version_is_in_the_name_of_its_directory(name, number):
    assert number_of(Path("/shelf") / name) == number


@pytest.mark.parametrize(
    ("place", "beside"),
    [
        ("/s/adp_2/v1", True),
        ("/elsewhere/adp_2/v1.f3", True),
        ("/s/adp_1/v9", False),
        ("/s/adp_2/current", False),
        ("/somebody/else/v99", False),
    ],
)
def test_a_version_of_another_adapter_is_known_by_its_place(released, place, beside):
    assert released(2).is_beside(Path(place)) == beside


@pytest.mark.parametrize(
    "wrong",
    [
        {"adapter": "../other"},
        {"adapter_id": ".."},
        {"adapter": "a'b"},
        {"path": Path("v2")},
        {"path": Path("/s/v3")},
        {"path": None, "url": "s3://bucket/adp_1/v3"},
        {"path": None},
    ],
)
def test_what_can_not_be_a_release_is_refused_before_any_server_hears_of_it(wrong):
    given = {"adapter": "support", "adapter_id": "adp_1", "number": 2, "path": Path("/s/v2"), "sha256": "0" * 64}
    with pytest.raises(ValueError, match=r"can't|relative|nowhere"):
        Release(**(given | {"previous": 1} | wrong))


def test_a_failed_hook_is_a_thing_to_try_again():
    assert issubclass(HookFailed, Unavailable)
    assert (HookFailed.kind, HookFailed.status) == ("hook-failed", 503)
