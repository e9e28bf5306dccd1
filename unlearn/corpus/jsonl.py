"""Corpora as JSON Lines, one record a line. Every fault is named by file, line and key; nothing is half read.

The keys are TRL's: `text`, or `prompt` and `completion`, or `messages`; beside them `id` and `subjects`. Other keys are
allowed and ignored. Knows nothing of what the records are for.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from unlearn.corpus.records import Corpus, Message, Record
from unlearn.errors import CorpusError

MAX_LINE_BYTES = 2**20
"""A longer line is refused without being read whole: no model here takes a record of a megabyte."""

FORMS = (("text",), ("prompt", "completion"), ("messages",))


def read_corpus(path: Path) -> Corpus:
    """Read and check the whole file at `path`.

    Raises:
        CorpusError: the file can't be read, is empty, or a line is not a record; names file, line and key.
    """
    digest = hashlib.sha256()
    records: list[Record] = []
    seen: dict[str, int] = {}
    try:
        with path.open("rb") as stream:
            for number, line in _lines(stream, path, digest):
                record = _record(_object(line, path, number), path, number)
                if record.id in seen:
                    _refuse(path, number, "id", f"'{record.id}' is already the id of line {seen[record.id]}")
                seen[record.id] = number
                records.append(record)
    except OSError as error:
        raise CorpusError(f"{path} can't be read: {error.strerror or error}") from None
    if not records:
        raise CorpusError(f"{path} holds no record; give one JSON object a line")
    return Corpus(path, digest.hexdigest(), tuple(records))


def write_corpus(path: Path, records: Iterable[Record]) -> None:
    """Write `records` to `path` in one step: the file is there whole, or as it was before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as stream:
            for record in records:
                stream.write(json.dumps(_as_json(record), ensure_ascii=False) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _lines(stream: BinaryIO, path: Path, digest: Any) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of every line that is not blank, in bounded memory."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise CorpusError(f"{path}, line {number}: longer than {MAX_LINE_BYTES} bytes; split the record")
        digest.update(line)
        if number == 1 and line.startswith(b"\xef\xbb\xbf"):
            line = line[3:]
        if line.strip():
            yield number, line


def _object(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        data = json.loads(line.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}, line {number}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise CorpusError(f"{path}, line {number}, column {error.colno}: not JSON ({error.msg})") from None
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise CorpusError(f"{path}, line {number}: not JSON ({why})") from None
    if not isinstance(data, dict):
        raise CorpusError(f"{path}, line {number}: a {type(data).__name__}, not a JSON object")
    return data


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return data


def _record(data: dict[str, Any], path: Path, number: int) -> Record:
    id_ = _string(data, "id", path, number)
    subjects = data.get("subjects")
    if not isinstance(subjects, list) or not subjects:
        _refuse(path, number, "subjects", "must be a list of at least one string")
    for subject in subjects:
        if not isinstance(subject, str) or not subject.strip():
            _refuse(path, number, "subjects", "holds something other than a non-empty string")
    form = _form(data, path, number)
    if form == ("messages",):
        return Record(id_, tuple(subjects), messages=_messages(data["messages"], path, number))
    return Record(id_, tuple(subjects), **{key: _string(data, key, path, number) for key in form})


def _form(data: dict[str, Any], path: Path, number: int) -> tuple[str, ...]:
    """Which of the three forms the record has."""
    present = [form for form in FORMS if any(key in data for key in form)]
    if not present:
        _refuse(path, number, "text", "is missing; give text, or prompt and completion, or messages")
    if len(present) > 1:
        _refuse(path, number, present[1][0], f"stands beside '{present[0][0]}'; give one form only")
    return present[0]


def _messages(value: Any, path: Path, number: int) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        _refuse(path, number, "messages", "must be a list of at least one message")
    messages = []
    for turn in value:
        if not isinstance(turn, dict):
            _refuse(path, number, "messages", "holds something other than an object with role and content")
        messages.append(Message(_string(turn, "role", path, number), _string(turn, "content", path, number)))
    if not any(message.role == "assistant" for message in messages):
        _refuse(path, number, "messages", "has no message of the role 'assistant', so nothing was learned from it")
    return tuple(messages)


def _string(data: dict[str, Any], key: str, path: Path, number: int) -> str:
    if key not in data:
        _refuse(path, number, key, "is missing")
    value = data[key]
    if not isinstance(value, str):
        _refuse(path, number, key, f"must be a string, not {type(value).__name__}")
    if not value.strip():
        _refuse(path, number, key, "is empty")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        _refuse(path, number, key, "holds half of a surrogate pair")
    return value


def _refuse(path: Path, number: int, key: str, why: str) -> NoReturn:
    raise CorpusError(f"{path}, line {number}, key '{key}': {why}")


def _as_json(record: Record) -> dict[str, Any]:
    data: dict[str, Any] = {"id": record.id, "subjects": list(record.subjects)}
    if record.messages is not None:
        return data | {"messages": [{"role": m.role, "content": m.content} for m in record.messages]}
    if record.text is not None:
        return data | {"text": record.text}
    return data | {"prompt": record.prompt, "completion": record.completion}
