"""What API and workers write down while they run: lines for people, or a JSON object a line.

An error is told by its type and the lines of code it passed through, never by its message or the values it met: those
may hold an identity. Whoever answers an exchange or carries out a job says so (`about`); this file only writes.
"""

from __future__ import annotations

import json
import logging
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

Form = Literal["text", "json"]

TALKATIVE = ("httpx", "httpx2", "alembic.runtime.plugins")
"""Loggers that say too much at INFO: of a call its whole address, where a receiver's secret may be."""

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Of the exchange that is answered; threads that answer it inherit it."""

job_id: ContextVar[str | None] = ContextVar("job_id", default=None)
"""Of the job that is carried out."""


@contextmanager
def about(variable: ContextVar[str | None], value: str) -> Iterator[None]:
    """Every line of the block belongs to the exchange or job `value`."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def begin(form: Form) -> None:
    """Write everything from INFO on to standard error, in this form alone."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(form == "json")
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def adopt() -> None:
    """Let libraries that brought handlers of their own speak through ours, with the levels that they chose."""
    for found in list(logging.root.manager.loggerDict.values()):
        if isinstance(found, logging.Logger) and found.handlers:
            found.handlers.clear()
            found.propagate = True


class TextLines(logging.Formatter):
    """A line for people, with the trace of an error below it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        record.message = message(record)
        record.asctime = self.formatTime(record)
        line = self.formatMessage(record)
        found = trace(record)
        return f"{line}\n{found}" if found else line


class JsonLines(logging.Formatter):
    """A JSON object a line: time (RFC 3339), level, logger, message, and what else is known."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message(record),
        }
        line |= {v.name: v.get() for v in (request_id, job_id) if v.get() is not None}
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = {"type": _kind(record.exc_info[1]), "trace": trace(record)}
        return json.dumps(line, ensure_ascii=False, default=lambda value: f"<{type(value).__name__}>")


def message(record: logging.LogRecord) -> str:
    """The record's message; of Celery's own word on a task that broke, without what the error said."""
    if record.name == "celery.app.trace" and isinstance(record.args, dict) and "exc" in record.args:
        return f"task {record.args.get('name')}[{record.args.get('id')}] {record.args.get('description')}"
    return record.getMessage()


def trace(record: logging.LogRecord) -> str:
    """The record's error and those that led to it: their types and lines of code, the last one at the end."""
    error = record.exc_info[1] if record.exc_info else None
    return "" if error is None else "\n".join(_told(error, set()))


def _told(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _told(before, seen)
        yield "which led to:"
    for frame in traceback.extract_tb(error.__traceback__):
        yield f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}\n    {frame.line}'
    yield _kind(error)
    for part in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        yield from _told(part, seen)


def _kind(error: BaseException | None) -> str:
    """The error's type; of one by the system its reason in the system's own words as well."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    number = error.errno if isinstance(error, OSError) else None
    return f"{name}: {os.strerror(number)}" if isinstance(number, int) else name
