"""The tree of errors: what a person, a client and a shell are told apart by."""

import re

import pytest

from unlearn import errors
from unlearn.errors import UnlearnError

TREE = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, UnlearnError)]


def test_the_tree_in_the_docstring_names_every_error() -> None:
    drawn = set(re.findall(r"^\s*[│├└─\s]*([A-Z]\w+) {2,}", errors.__doc__ or "", flags=re.MULTILINE))
    assert {kind.__name__ for kind in TREE} <= drawn


def test_every_kind_is_one_error_and_can_stand_in_a_uri() -> None:
    kinds = [kind.kind for kind in TREE]
    assert len(set(kinds)) == len(kinds)
    assert all(re.fullmatch(r"[a-z-]+", kind) for kind in kinds)


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_bad_input_is_the_callers_fault_and_a_failed_erasing_is_not(kind: type[UnlearnError]) -> None:
    if issubclass(kind, errors.BadInput):
        assert (kind.exit_code, kind.status // 100) == (2, 4)
    if issubclass(kind, errors.ErasureFailed):
        assert (kind.exit_code, kind.status // 100) == (3, 5)
    assert kind.exit_code in (1, 2, 3)
    assert kind.title
