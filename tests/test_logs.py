"""What is written down: lines for people or for machines, and of an error never what it met."""

from __future__ import annotations

import errno
import io
import json
import logging
import sys
import threading

import pytest

from unlearn import logs

CANARY = "canary-4711"


@pytest.fixture
def lines():
    """Log through a formatter: the text that comes out."""

    def log(formatter, error=None, message="hello %s", args=("you",), name="unlearn.x", **more):
        out = io.StringIO()
        handler = logging.StreamHandler(out)
        handler.setFormatter(formatter)
        info = (type(error), error, error.__traceback__) if error else None
        record = logging.LogRecord(name, logging.INFO, "/x.py", 1, message, args, info)
        record.exc_text = f"cached by another handler: {CANARY}" if error else None
        vars(record).update(more)
        handler.emit(record)
        return out.getvalue()

    return log


def raised():
    secret = CANARY
    try:
        try:
            raise KeyError(secret)
        except KeyError as error:
            raise ValueError(f"no {secret}") from error
    except ValueError as error:
        return error


def test_a_line_for_machines_is_one_json_object(lines):
    with logs.about(logs.request_id, "r1"), logs.about(logs.job_id, "job_1"):
        text = lines(logs.JsonLines(), message="two\nlines %s", fields={"status": 200})
    assert text.count("\n") == 1
    line = json.loads(text)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "unlearn.x",
        "message": "two\nlines you",
        "request_id": "r1",
        "job_id": "job_1",
        "status": 200,
    }
    assert not {"request_id", "job_id", "error"} & set(json.loads(lines(logs.JsonLines())))


def test_a_line_for_people_reads_as_it_always_did(lines):
    assert lines(logs.TextLines()).endswith(" INFO unlearn.x hello you\n")


@pytest.mark.parametrize("formatter", [logs.TextLines(), logs.JsonLines()])
def test_an_error_is_its_types_and_its_lines_of_code_without_what_it_met(lines, formatter):
    text = lines(formatter, raised())
    assert CANARY not in text
    assert text.index("KeyError") < text.index("which led to") < text.rindex("ValueError")
    assert 'raise ValueError(f\\"no {secret}\\")' in text or 'raise ValueError(f"no {secret}")' in text


def test_an_error_of_the_system_tells_its_reason_but_no_name(lines):
    text = lines(logs.TextLines(), OSError(errno.ENOSPC, CANARY, CANARY))
    assert "OSError: No space left on device" in text
    assert CANARY not in text


def test_a_group_of_errors_and_a_circle_of_causes_come_to_an_end(lines):
    one, other = ValueError(CANARY), KeyError(CANARY)
    one.__cause__, other.__cause__ = other, one
    text = lines(logs.TextLines(), ExceptionGroup(CANARY, [one]))
    assert "ExceptionGroup" in text
    assert "KeyError" in text
    assert CANARY not in text


def test_celery_does_not_repeat_what_an_error_said(lines):
    context = {"name": "unlearn.fulfil", "id": "1", "description": "raised unexpected", "exc": CANARY, "args": CANARY}
    for formatter in (logs.TextLines(), logs.JsonLines()):
        text = lines(formatter, message="Task %(name)s: %(exc)s", args=(context,), name="celery.app.trace")
        assert "unlearn.fulfil" in text
        assert CANARY not in text


def test_what_a_line_can_not_hold_as_json_is_named_by_its_type(lines):
    assert json.loads(lines(logs.JsonLines(), fields={"x": object()}))["x"] == "<object>"


def test_all_loggers_speak_through_the_one_that_was_begun(monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    for name in logs.TALKATIVE:
        monkeypatch.setattr(logging.getLogger(name), "level", logging.NOTSET)
    own = logging.getLogger("a.library.with.its.own")
    own.addHandler(logging.StreamHandler())
    own.propagate = False
    try:
        logs.begin("json")
        logs.adopt()
        own.warning("heard")
        logging.getLogger("httpx").info("POST https://example.com/?token=%s", CANARY)
        [line] = sys.stderr.getvalue().splitlines()
        assert json.loads(line)["message"] == "heard"
    finally:
        logging.captureWarnings(False)


def test_a_thread_that_is_not_told_belongs_to_nothing():
    seen = []
    with logs.about(logs.job_id, "job_1"):
        thread = threading.Thread(target=lambda: seen.append(logs.job_id.get()))
        thread.start()
        thread.join()
    assert seen == [None]
    assert logs.job_id.get() is None
