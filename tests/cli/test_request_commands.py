"""`unlearn request` in front of something that is no service of ours, and with words that can't be."""

from __future__ import annotations

import json
import shlex

import pytest

from servers import Answer, Server


class Page(Answer):
    """Answers every search with an empty page that another follows; everything else without JSON."""

    def do_GET(self):
        status, headers = (307, {"location": "/elsewhere"}) if "moved" in self.path else (200, {})
        self.send(status, b"<html>welcome</html>", headers)

    def do_POST(self):
        self.server.came.append((dict(self.headers), json.loads(self.body())))
        self.send(200, json.dumps({"items": [], "next": "req_7"}).encode())


@pytest.fixture
def page(monkeypatch):
    server = Server(Page)
    server.came = []
    monkeypatch.setenv("UNLEARN_URL", server.url)
    monkeypatch.setenv("UNLEARN_API_KEY", "unl_0123_abc")
    yield server
    server.stop()


@pytest.mark.parametrize("id_", ["", "../adapters", "req/1", "req 1", "ключ", ".", ".."])
@pytest.mark.parametrize("what", ["show", "cancel", "export"])
def test_what_can_be_no_id_is_refused_before_it_becomes_an_address(page, run, what, id_, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, told = run("request", what, id_)
    assert (code, page.came) == (2, [])
    assert "the request's id must be" in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "req_1"], "does not speak JSON"),
        (["show", "moved"], "answered 307"),
        (["export", "moved"], "answered 307"),
        (["list", "--due-within", "99999999"], "3650"),
    ],
)
def test_what_is_not_the_service_and_numbers_beyond_all_bounds_are_one_line_and_no_trace(
    page, run, words, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, _, told = run("request", *words)
    assert code == 2
    assert message in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["ключ", "unl_1\nX-Other: 1", "unl_1 2", "\x7f"])
def test_a_key_that_no_header_can_carry_is_called_that(page, run, monkeypatch, key):
    monkeypatch.setenv("UNLEARN_API_KEY", key)
    code, _, told = run("request", "list")
    assert (code, page.came) == (2, [])
    assert "API key" in told
    assert key not in told


def test_the_command_for_the_next_page_asks_for_the_same(page, run):
    asked = ("--state", "pending", "--subject", "name:O'Neil Smith", "--adapter", "bot", "--not-held", "--urgent")
    code, out, _ = run("request", "list", *asked, "--limit", 3)
    assert code == 0
    more = shlex.split(out.splitlines()[-1].removeprefix("more: "))
    assert more[:3] == ["unlearn", "request", "list"]
    run(*more[1:])
    (_, first), (_, second) = page.came
    assert second == first | {"after": "req_7"}


def test_the_next_page_of_what_is_due_soon_is_of_the_same_days(page, run):
    _, out, _ = run("request", "list", "--due-within", 14)
    assert (
        out.splitlines()[-1] == f"more: unlearn request list --due-within 14 --limit 50 --url {page.url} --after req_7"
    )
