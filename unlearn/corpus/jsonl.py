"""Corpora as JSON Lines files: one object a line, strict in what is read, whole or not at all in what is written.

Knows the keys of a record and the limits of a line. Knows nothing of who is to be forgotten. No message holds
what a line says, only where it stands: file, line and key.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from unlearn.corpus.records import Corpus, Message, Record
from unlearn.durable import sync
from unlearn.errors import CorpusError

MAX_LINE_BYTES = 1024 * 1024
MAX_ID_CHARACTERS = 256
MAX_SUBJECT_CHARACTERS = 512
KEYS = frozenset({"id", "subjects", "text", "prompt", "completion", "messages", "role", "content", "paraphrases"})
FORMS = "one of 'text', 'prompt' with 'completion', or 'messages'"
LINE_BREAKING = frozenset({"Cc", "Zl", "Zp"})
BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
KINDS: dict[type, str] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}


class _Fault(Exception):
    """What is wrong with one line; the caller knows which line."""


def read_corpus(path: Path) -> Corpus:
    """The corpus in the JSON Lines file at `path`, read line by line; blank lines and unknown keys are ignored.

    Raises:
        CorpusError: names the file and, where it is one line's fault, the line and the key.
    """
    if path.is_dir():
        raise CorpusError(f"{path}: this is a directory; name the JSON Lines file in it")
    if path.exists() and not path.is_file():
        raise CorpusError(f"{path}: this is not a regular file; write the records to a file and name that")
    try:
        with path.open("rb") as stream:
            return _read(path, stream)
    except FileNotFoundError:
        raise CorpusError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no file can have this name"
        raise CorpusError(f"{path}: can't be read ({reason}); check the path and its permissions") from None


def parse_corpus(content: bytes, name: Path) -> Corpus:
    """The corpus that a file of these bytes would hold; `name` stands for it in messages.

    Raises:
        CorpusError: as `read_corpus`.
    """
    return _read(name, io.BytesIO(content))


def without(content: bytes, gone: Callable[[Record], bool]) -> tuple[bytes, tuple[Record, ...], tuple[Record, ...]]:
    """A corpus without some of its records; the other lines are kept to the byte.

    Args:
        content: of a corpus that was read before.
        gone: which records go.

    Returns:
        What is left of the content, the records in it, and those that went.
    """
    lines = [(line, _parse(line)) for line in io.BytesIO(content)]
    went = tuple(record for _, record in lines if record is not None and gone(record))
    ids = {record.id for record in went}
    left = [(line, record) for line, record in lines if record is None or record.id not in ids]
    return b"".join(line for line, _ in left), tuple(record for _, record in left if record is not None), went


def write_corpus(path: Path, records: Iterable[Record]) -> None:
    """Write `records` to `path` in one step: the whole file is there, or the old one (or none) still is.

    Raises:
        CorpusError: a record that could not be read back, a duplicate id, no record at all, or a place that
            can't be written to.
    """
    target = path.resolve()
    if target.is_dir():
        raise CorpusError(f"{path}: this is a directory; name a file in it")
    draft = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(draft, _lines(path, records), target.stat().st_mode & 0o777 if target.exists() else None)
        draft.replace(target)
        sync(target.parent)
    except OSError as error:
        raise CorpusError(f"{path}: can't be written ({error.strerror})") from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def _read(path: Path, stream: BinaryIO) -> Corpus:
    digest = hashlib.sha256()
    records: list[Record] = []
    first_lines: dict[str, int] = {}
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        digest.update(line)
        try:
            if number == 1 and line.startswith(BYTE_ORDER_MARKS):
                raise _Fault("starts with a byte order mark; save the file as UTF-8 without one")
            record = _parse(line)
            if record is not None:
                _note(record, number, first_lines)
                records.append(record)
        except _Fault as fault:
            raise CorpusError(f"{path}, line {number}: {fault}") from None
    if not records:
        raise CorpusError(f"{path}: holds no record; a corpus needs one at least")
    return Corpus(path, digest.hexdigest(), tuple(records))


def _note(record: Record, number: int, first_lines: dict[str, int]) -> None:
    first = first_lines.setdefault(record.id, number)
    if first != number:
        raise _Fault(f"key 'id': '{record.id}' is the id of line {first} already; ids are unique in a corpus")


def _parse(line: bytes) -> Record | None:
    """The record of one line, line break included; None for a blank one."""
    if len(line) > MAX_LINE_BYTES:
        raise _Fault(f"is longer than {MAX_LINE_BYTES} bytes; split the record into shorter ones")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Fault(f"is not UTF-8 (byte {error.start + 1}); save the file as UTF-8") from None
    if not text.strip(" \t\r\n"):
        return None
    try:
        data = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise _Fault(f"is not JSON ({error.msg}, column {error.colno}); give one object a line") from None
    except ValueError:
        raise _Fault("holds a number of too many digits") from None
    except RecursionError:
        raise _Fault("is nested too deeply") from None
    if not isinstance(data, dict):
        raise _Fault(f"is {KINDS[type(data)]}; give one object a line")
    return _record(data)


def _refuse_constant(name: str) -> Any:
    raise _Fault(f"holds {name}, which JSON does not have; leave the key out or give a number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs as a dict; a key of ours that comes twice is refused, since readers differ on which one holds."""
    data = dict(pairs)
    if len(data) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen and key in KEYS:
                raise _Fault(f"key '{key}' comes twice in one object; keep one")
            seen.add(key)
    return data


def _record(data: dict[str, Any]) -> Record:
    # Table exports write null where a row has no value, so a null form is a form not given.
    given = {key: data[key] for key in ("text", "prompt", "completion", "messages") if data.get(key) is not None}
    id_, subjects = _name(data, "id", MAX_ID_CHARACTERS), _subjects(data)
    paraphrases = _paraphrases(data.get("paraphrases"))
    if given.keys() == {"text"}:
        if paraphrases:
            raise _Fault("key 'paraphrases' goes with 'prompt' or 'messages', not with 'text'; leave it out")
        return Record(id_, subjects, text=_string(given["text"], "text"))
    if given.keys() == {"prompt", "completion"}:
        prompt, completion = (_string(given[key], key) for key in ("prompt", "completion"))
        return Record(id_, subjects, prompt=prompt, completion=completion, paraphrases=paraphrases)
    if given.keys() == {"messages"}:
        return Record(id_, subjects, messages=_messages(given["messages"]), paraphrases=paraphrases)
    for key, other in (("prompt", "completion"), ("completion", "prompt")):
        if given.keys() == {key}:
            raise _Fault(f"key '{other}' is missing beside '{key}'; give {FORMS}")
    if given:
        raise _Fault(f"keys {', '.join(repr(key) for key in given)} don't go together; give {FORMS}")
    nulls = [key for key in ("text", "prompt", "completion", "messages") if key in data]
    raise _Fault(f"key '{nulls[0]}' is null; give {FORMS}" if nulls else f"key 'text' is missing; give {FORMS}")


def _string(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise _Fault(f"key '{key}' is {KINDS[type(value)]}; give a string")
    if not value.strip():
        raise _Fault(f"key '{key}' is empty; give a string with something to read, or leave the record out")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise _Fault(f"key '{key}' holds half of a surrogate pair (\\ud800 to \\udfff); mend the escape") from None
    return value


def _name(data: dict[str, Any], key: str, limit: int) -> str:
    if key not in data:
        raise _Fault(f"key '{key}' is missing")
    return _short(_string(data[key], key), key, limit)


def _short(value: str, key: str, limit: int) -> str:
    if len(value) > limit:
        raise _Fault(f"key '{key}' has {len(value)} characters; {limit} are the limit")
    if any(unicodedata.category(character) in LINE_BREAKING for character in value):
        raise _Fault(f"key '{key}' holds a control character or a line break; take it out")
    return value


def _subjects(data: dict[str, Any]) -> tuple[str, ...]:
    """The subjects in their order, each once."""
    if "subjects" not in data:
        raise _Fault("key 'subjects' is missing; give a list, [] for a record about nobody")
    value = data["subjects"]
    if not isinstance(value, list):
        raise _Fault(f"key 'subjects' is {KINDS[type(value)]}; give a list of strings")
    places = ((f"subjects[{i}]", subject) for i, subject in enumerate(value))
    names = (_short(_string(subject, key), key, MAX_SUBJECT_CHARACTERS) for key, subject in places)
    return tuple(dict.fromkeys(names))


def _paraphrases(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise _Fault(f"key 'paraphrases' is {KINDS[type(value)]}; give a list of strings, or leave it out")
    return tuple(_string(wording, f"paraphrases[{i}]") for i, wording in enumerate(value))


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        kind = "an empty list" if value == [] else KINDS[type(value)]
        raise _Fault(f"key 'messages' is {kind}; give a list of objects with 'role' and 'content'")
    messages = tuple(_message(turn, f"messages[{i}]") for i, turn in enumerate(value))
    if not any(message.role == "assistant" for message in messages):
        raise _Fault("key 'messages' has no turn of role 'assistant'; nothing in it was learned")
    return messages


def _message(turn: Any, key: str) -> Message:
    if not isinstance(turn, dict):
        raise _Fault(f"key '{key}' is {KINDS[type(turn)]}; give an object with 'role' and 'content'")
    for part in ("role", "content"):
        if part not in turn:
            raise _Fault(f"key '{key}.{part}' is missing")
    return Message(_string(turn["role"], f"{key}.role"), _string(turn["content"], f"{key}.content"))


def _lines(path: Path, records: Iterable[Record]) -> Iterator[bytes]:
    first_lines: dict[str, int] = {}
    number = 0
    for number, record in enumerate(records, start=1):
        try:
            line = _line(record)
            if _parse(line) != record:
                raise _Fault("would not read back as it is (a subject twice?)")
            _note(record, number, first_lines)
        except _Fault as fault:
            raise CorpusError(f"{path}, line {number} to be written: {fault}") from None
        yield line
    if not number:
        raise CorpusError(f"{path}: there is no record to write; a corpus needs one at least")


def _line(record: Record) -> bytes:
    data: dict[str, Any] = {"id": record.id, "subjects": record.subjects}
    forms = {"text": record.text, "prompt": record.prompt, "completion": record.completion}
    data |= {key: value for key, value in forms.items() if value is not None}
    if record.messages is not None:
        data["messages"] = [{"role": message.role, "content": message.content} for message in record.messages]
    if record.paraphrases:
        data["paraphrases"] = record.paraphrases
    try:
        return f"{json.dumps(data, ensure_ascii=False)}\n".encode()
    except UnicodeEncodeError:
        raise _Fault("holds half of a surrogate pair, which UTF-8 can't say") from None


def _write(draft: Path, lines: Iterable[bytes], mode: int | None) -> None:
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as out:
        if mode is not None:
            os.fchmod(out.fileno(), mode)
        out.writelines(lines)
        out.flush()
        os.fsync(out.fileno())
