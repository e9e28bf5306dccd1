"""The kinds of problems: one catalogue, the errors, the page and the addresses say the same of each."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import pytest
from test_endpoints import is_problem

import api.opendsr_answers
import api.problems
import unlearn
from api.catalogue import KINDS, page
from unlearn.errors import UnlearnError

DOCS = Path(__file__).resolve().parents[2] / "docs"
FRONT = "".join(Path(module.__file__).read_text() for module in (api.problems, api.opendsr_answers))
NAMED = set(re.findall(r'_own\([^"]*"([a-z-]+)"|problem\([^"]*"([a-z-]+)"', FRONT))


def tree(kind=UnlearnError):
    return {kind}.union(*map(tree, kind.__subclasses__()))


@pytest.fixture(scope="module")
def errors():
    for module in pkgutil.walk_packages(unlearn.__path__, "unlearn."):
        if not module.name.startswith(("unlearn.cases.migrations", "unlearn.cli")):
            importlib.import_module(module.name)
    return {kind.kind: kind for kind in tree() if kind.__module__.startswith("unlearn.")}


def test_every_error_of_the_program_is_in_the_catalogue_as_its_class_has_it(errors):
    assert len(errors) >= 20
    assert {name: (kind.status, kind.title) for name, kind in errors.items()} == {
        name: (KINDS[name].status, KINDS[name].title) for name in errors if name in KINDS
    }


def test_every_problem_of_the_front_is_in_the_catalogue_and_nothing_else_is(errors):
    front = {name for names in NAMED for name in names if name}
    assert {"not-json", "body-too-large", "method-not-allowed", "unsupported-media-type"} <= front
    assert front | set(errors) == set(KINDS)


def test_the_page_is_made_from_the_catalogue():
    assert (DOCS / "problems.md").read_text(encoding="utf-8") == page()


def test_every_type_can_be_opened_without_a_key(api):
    del api.headers["Authorization"]
    for name, kind in KINDS.items():
        answer = api.get(f"/problems/{name}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
        assert kind.title in answer.text
        assert kind.do in answer.text
        assert answer.text in page().replace("## ", "# ")


def test_the_type_of_an_answer_leads_to_its_title(api):
    problem = is_problem(api.post("/v1/requests", json={}), 422, "bad-input")
    assert api.get(problem["type"]).text.startswith(f"# {problem['title']}\n")


def test_a_kind_that_is_none_is_not_found(api):
    is_problem(api.get("/problems/none"), 404, "not-found")
    is_problem(api.get("/problems/N0NE"), 422, "bad-input")
