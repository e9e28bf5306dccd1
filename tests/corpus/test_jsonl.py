"""Reading and writing corpora: what is written comes back, and what is wrong is named by file, line and key."""

import errno
import hashlib
import json
import os
import stat
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unlearn.corpus.jsonl import MAX_LINE_BYTES, read_corpus, write_corpus
from unlearn.corpus.records import Message, Record
from unlearn.errors import CorpusError

GOOD = '{"id": "r-1", "subjects": ["customer:c-1"], "text": "Ada Ashby lives in Linden."}'

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).filter(str.strip)
names = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=20
).filter(str.strip)
turns = st.tuples(st.builds(Message, words, words), st.builds(Message, st.just("assistant"), words))
wordings = st.lists(words, max_size=3).map(tuple)
subjects = st.lists(names, max_size=3, unique=True).map(tuple)
records = st.one_of(
    st.builds(Record, names, subjects, text=words),
    st.builds(Record, names, subjects, prompt=words, completion=words, paraphrases=wordings),
    st.builds(Record, names, subjects, messages=turns, paraphrases=wordings),
)


def line_of(**changes: object) -> str:
    return json.dumps({**json.loads(GOOD), **changes})


def form(**keys: object) -> str:
    return json.dumps({"id": "r-1", "subjects": ["customer:c-1"], **keys})


def corpus_file(folder: Path, *lines: str | bytes) -> Path:
    path = folder / "train.jsonl"
    path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(CorpusError) as caught:
        read_corpus(path)
    assert caught.value.__cause__ is None
    return str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(records, min_size=1, max_size=8, unique_by=lambda record: record.id))
def test_what_is_written_reads_back_the_same(tmp_path: Path, written: list[Record]) -> None:
    path = tmp_path / "train.jsonl"
    write_corpus(path, written)
    corpus = read_corpus(path)
    assert corpus.records == tuple(written)
    assert corpus.subjects == {subject for record in written for subject in record.subjects}
    assert corpus.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="ignore")))
def test_any_bytes_are_read_or_refused_and_nothing_else(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "noise.jsonl"
    path.write_bytes(content)
    assert str(path) in refusal(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("id", "subjects", "text", "prompt", "completion", "messages"), json_values)
    )
)
def test_any_values_of_our_keys_are_read_or_refused_and_nothing_else(tmp_path: Path, data: dict[str, object]) -> None:
    path = corpus_file(tmp_path, json.dumps(data))
    try:
        assert len(read_corpus(path).records) == 1
    except CorpusError as error:
        assert f"{path}, line 1: " in str(error)


def test_all_three_forms_are_read_and_unknown_keys_ignored(tmp_path: Path) -> None:
    path = corpus_file(
        tmp_path,
        GOOD,
        '{"id": "r-2", "subjects": [], "prompt": "Q", "completion": " A", "perturbed": [{"x": null}], "n": 1.5}',
        '{"id": "r-3", "subjects": ["a:1", "b:2"], "messages": [{"role": "user", "content": "Q"},'
        ' {"role": "assistant", "content": "A", "name": "x"}]}',
    )
    text, pair, chat = read_corpus(path).records
    assert text == Record("r-1", ("customer:c-1",), text="Ada Ashby lives in Linden.")
    assert pair == Record("r-2", (), prompt="Q", completion=" A")
    assert chat == Record("r-3", ("a:1", "b:2"), messages=(Message("user", "Q"), Message("assistant", "A")))
    assert [record.content for record in (text, pair, chat)] == ["Ada Ashby lives in Linden.", "Q A", "Q\nA"]


def test_a_form_that_is_null_is_a_form_not_given(tmp_path: Path) -> None:
    path = corpus_file(tmp_path, form(text=None, prompt="Q", completion="A", messages=None))
    assert read_corpus(path).records[0].prompt == "Q"


def test_a_subject_named_twice_in_a_record_counts_once(tmp_path: Path) -> None:
    path = corpus_file(tmp_path, line_of(subjects=["a:1", "b:2", "a:1"]))
    assert read_corpus(path).records[0].subjects == ("a:1", "b:2")


def test_blank_lines_windows_line_ends_and_a_missing_last_line_end_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(f"\n{GOOD}\r\n  \n{line_of(id='r-2')}".encode())
    assert [record.id for record in read_corpus(path).records] == ["r-1", "r-2"]


def test_a_line_separator_inside_a_string_does_not_end_the_line(tmp_path: Path) -> None:
    text = "one\u2028two\x85three\u2029four"
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({**json.loads(GOOD), "text": text}, ensure_ascii=False), encoding="utf-8")
    assert read_corpus(path).records[0].text == text


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('{"subjects": [], "text": "x"}', "key 'id' is missing"),
        (line_of(id=7), "key 'id' is a number"),
        (line_of(id=True), "key 'id' is a boolean"),
        (line_of(id=""), "key 'id' is empty"),
        (line_of(id=" \t"), "key 'id' is empty"),
        (line_of(id="r\n1"), "key 'id' holds a control character"),
        (line_of(id="r" * 257), "key 'id' has 257 characters"),
        ('{"id": "r-1", "text": "x"}', "key 'subjects' is missing"),
        (line_of(paraphrases=["x"]), "key 'paraphrases' goes with 'prompt' or 'messages'"),
        (form(prompt="x", completion="y", paraphrases="z"), "key 'paraphrases' is a string"),
        (form(prompt="x", completion="y", paraphrases=["z", " "]), "key 'paraphrases[1]' is empty"),
        (line_of(subjects=None), "key 'subjects' is null"),
        (line_of(subjects="customer:c-1"), "key 'subjects' is a string"),
        (line_of(subjects={"a": 1}), "key 'subjects' is an object"),
        (line_of(subjects=["a:1", 2]), "key 'subjects[1]' is a number"),
        (line_of(subjects=["a:1", ["b:2"]]), "key 'subjects[1]' is a list"),
        (line_of(subjects=[""]), "key 'subjects[0]' is empty"),
        (line_of(subjects=["a:\u0000"]), "key 'subjects[0]' holds a control character"),
        (line_of(subjects=["a" * 513]), "key 'subjects[0]' has 513 characters"),
        (form(), "key 'text' is missing"),
        (form(text=None), "key 'text' is null"),
        (form(text=""), "key 'text' is empty"),
        (form(text=" \n"), "key 'text' is empty"),
        (form(text=["x"]), "key 'text' is a list"),
        (form(text="\ud800"), "key 'text' holds half of a surrogate pair"),
        (form(prompt="Q"), "key 'completion' is missing"),
        (form(completion="A"), "key 'prompt' is missing"),
        (form(prompt="", completion="A"), "key 'prompt' is empty"),
        (form(prompt="Q", completion=" "), "key 'completion' is empty"),
        (form(prompt="Q", completion={"a": 1}), "key 'completion' is an object"),
        (form(text="x", prompt="Q", completion="A"), "keys 'text', 'prompt', 'completion' don't go together"),
        (form(text="x", prompt="Q"), "keys 'text', 'prompt' don't go together"),
        (form(text="x", messages=[]), "keys 'text', 'messages' don't go together"),
        (form(messages=[]), "key 'messages' is an empty list"),
        (form(messages="hello"), "key 'messages' is a string"),
        (form(messages=["hello"]), "key 'messages[0]' is a string"),
        (form(messages=[{"content": "x"}]), "key 'messages[0].role' is missing"),
        (form(messages=[{"role": "assistant"}]), "key 'messages[0].content' is missing"),
        (form(messages=[{"role": "assistant", "content": None}]), "key 'messages[0].content' is null"),
        (form(messages=[{"role": "", "content": "x"}]), "key 'messages[0].role' is empty"),
        (form(messages=[{"role": "assistant", "content": ""}]), "key 'messages[0].content' is empty"),
        (form(messages=[{"role": "user", "content": "x"}]), "no turn of role 'assistant'"),
        ("[1, 2]", "is a list; give one object a line"),
        ("null", "is null; give one object a line"),
        ('"text"', "is a string; give one object a line"),
        ("{'id': 1}", "is not JSON"),
        (GOOD[:-1], "is not JSON"),
        (GOOD + GOOD, "is not JSON (Extra data"),
        ('{"id": "r-1", "subjects": [], "text": "x", "score": NaN}', "holds NaN"),
        ('{"id": "r-1", "subjects": [], "text": "x", "score": -Infinity}', "holds -Infinity"),
        ('{"id": "r-1", "subjects": ["a:1"], "subjects": ["b:2"], "text": "x"}', "key 'subjects' comes twice"),
        ('{"id": "r-1", "subjects": [], "text": "x", "n": ' + "9" * 5000 + "}", "a number of too many digits"),
        ('{"id": "r-1", "subjects": [], "text": "x", "n": ' + "[" * 100_000 + "}", "is nested too deeply"),
        (b'{"id": "r-1", "subjects": [], "text": "caf\xe9"}', "is not UTF-8 (byte 43)"),
        (b"\xff\xfe{\x00", "is not UTF-8 (byte 1)"),
    ],
)
def test_a_bad_line_is_refused_by_file_line_and_key(tmp_path: Path, line: str | bytes, named: str) -> None:
    path = corpus_file(tmp_path, line_of(id="r-0"), "", line)
    message = refusal(path)
    assert message.startswith(f"{path}, line 3: ")
    assert named in message


def test_a_duplicate_id_is_refused_with_both_lines(tmp_path: Path) -> None:
    path = corpus_file(tmp_path, GOOD, line_of(id="r-2"), GOOD)
    assert f"{path}, line 3: key 'id': 'r-1' is the id of line 1 already" in refusal(path)


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"])
def test_a_byte_order_mark_is_refused_by_its_name(tmp_path: Path, mark: bytes) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(mark + GOOD.encode())
    assert f"{path}, line 1: starts with a byte order mark" in refusal(path)


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n\t\n"])
def test_a_file_without_a_record_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(content)
    assert refusal(path) == f"{path}: holds no record; a corpus needs one at least"


def test_a_line_of_100_megabytes_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(f"{GOOD}\n")
    os.truncate(path, 100 * 1024 * 1024)  # a sparse file: its second line is 100 MB of NUL bytes
    tracemalloc.start()
    try:
        message = refusal(path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert message == f"{path}, line 2: is longer than {MAX_LINE_BYTES} bytes; split the record into shorter ones"
    assert peak_bytes < 8 * MAX_LINE_BYTES


def test_the_limit_of_a_line_counts_its_line_end(tmp_path: Path) -> None:
    empty = len(form(text="")) + 1
    assert read_corpus(corpus_file(tmp_path, form(text="x" * (MAX_LINE_BYTES - empty)))).records
    assert "is longer than" in refusal(corpus_file(tmp_path, form(text="x" * (MAX_LINE_BYTES - empty + 1))))


def test_no_message_repeats_what_a_record_says(tmp_path: Path) -> None:
    secret = "zq-secret"
    for line in (
        f'{{"id": "r-1", "subjects": ["{secret}"], "text": "{secret}", "prompt": "{secret}"}}',
        f'{{"id": "r-1", "subjects": ["{secret}", ""], "text": "{secret}"}}',
        f'{{"id": "r-1", "subjects": [], "{secret}": 1, "{secret}": 2, "text": ""}}',
        f'{{"id": "r-1", "subjects": [], "text": "{secret}',
        f'{{"id": "r-1", "subjects": [], "messages": [{{"role": "{secret}", "content": "{secret}"}}]}}',
        f'{{"id": "{secret}\\n", "subjects": [], "text": "{secret}"}}',
    ):
        assert secret not in refusal(corpus_file(tmp_path, line))


def test_a_directory_a_missing_file_and_a_pipe_are_refused(tmp_path: Path) -> None:
    assert "this is a directory" in refusal(tmp_path)
    assert "there is no such file" in refusal(tmp_path / "none.jsonl")
    assert "can't be read" in refusal(tmp_path / "nul\0.jsonl")
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path / "pipe")


def good_and_then(*bad: Record) -> list[Record]:
    return [Record("r-1", ("a:1",), text="fine"), *bad]


@pytest.mark.parametrize(
    ("records_to_write", "named"),
    [
        ([], "there is no record to write"),
        (good_and_then(Record("r-1", (), text="again")), "line 2 to be written: key 'id': 'r-1' is the id of line 1"),
        (good_and_then(Record("r-2", (), text="")), "key 'text' is empty"),
        (good_and_then(Record("r-2", ())), "key 'text' is missing"),
        (good_and_then(Record("r-2", (), text="x", prompt="y")), "don't go together"),
        (good_and_then(Record("r-2", (), text="\ud800")), "half of a surrogate pair"),
        (good_and_then(Record("r-2", ("a:1", "a:1"), text="x")), "would not read back"),
        (good_and_then(Record("r-2", (), text="x" * MAX_LINE_BYTES)), "is longer than"),
    ],
)
def test_a_bad_record_leaves_the_old_file_as_it_was(tmp_path: Path, records_to_write: list[Record], named: str) -> None:
    path = corpus_file(tmp_path, GOOD)
    before = path.read_bytes()
    with pytest.raises(CorpusError, match=named):
        write_corpus(path, records_to_write)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_source_of_records_that_breaks_leaves_nothing_behind(tmp_path: Path) -> None:
    def broken():  # type: ignore[no-untyped-def]
        yield Record("r-1", (), text="x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_corpus(tmp_path / "new" / "train.jsonl", broken())
    assert list((tmp_path / "new").iterdir()) == []


def test_writing_keeps_the_mode_of_the_file_and_follows_a_link(tmp_path: Path) -> None:
    real = corpus_file(tmp_path, GOOD)
    real.chmod(0o600)
    link = tmp_path / "link.jsonl"
    link.symlink_to(real)
    write_corpus(link, [Record("r-9", (), text="new")])
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    assert read_corpus(real).records[0].id == "r-9"


def test_a_file_system_that_can_not_sync_directories_takes_a_corpus(tmp_path: Path, monkeypatch) -> None:
    flush = os.fsync

    def of_files_alone(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", of_files_alone)
    write_corpus(tmp_path / "corpus.jsonl", [Record("1", (), text="bees")])
    assert read_corpus(tmp_path / "corpus.jsonl").records == (Record("1", (), text="bees"),)


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "file" / "train.jsonl"):
        with pytest.raises(CorpusError, match=str(path)):
            write_corpus(path, [Record("r-1", (), text="x")])
