"""The synthetic world: rich, linked, the same for a seed on every run, and with nobody in two groups."""

import hashlib
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearn.corpus import Corpus, Record, World, check_disjoint, read_corpus, split, synthetic_world, write_corpus
from unlearn.corpus.sentences import COLLEAGUES, HOUSEHOLD, SINGLE
from unlearn.errors import BadInput

UNIQUE = re.compile(r"555-\d{3}-\d{4}|AC-\d{6}|OR-\d{6}|\bT-\d{6}|[a-z-]+\.[a-z-]+\d\d@[a-z]+\.example")
WORLD = synthetic_world(people_train=60, people_holdout=60, people_base=120, seed=11)
GROUPS = (WORLD.base, WORLD.train, WORLD.holdout)


def records_per_subject(records: tuple[Record, ...]) -> Counter[str]:
    return Counter(subject for record in records for subject in record.subjects)


def digest(world: World) -> str:
    return hashlib.sha256(repr(world).encode()).hexdigest()


def surnames(records: tuple[Record, ...]) -> set[str]:
    emails = (found for record in records for found in UNIQUE.findall(record.content) if "@" in found)
    return {re.sub(r"\d\d@.*", "", email.partition(".")[2]) for email in emails}


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**40), st.integers(1, 12), st.integers(0, 12), st.integers(0, 12),
    st.tuples(st.integers(1, 20), st.integers(1, 20)).map(sorted), st.booleans(),
)  # fmt: skip
def test_every_world_keeps_its_promises(seed, train, holdout, base, limits, chats) -> None:  # type: ignore[no-untyped-def]
    world = synthetic_world(
        people_train=train, people_holdout=holdout, people_base=base, records_per_person=tuple(limits),
        seed=seed, messages=chats,
    )  # fmt: skip
    everything = [*world.train, *world.holdout, *world.base]
    assert len({record.id for record in everything}) == len(everything)
    assert len({record.content for record in everything}) == len(everything)
    for records, people in ((world.train, train), (world.holdout, holdout), (world.base, base)):
        counts = records_per_subject(records)
        assert len(counts) == people
        assert all(limits[0] <= count <= limits[1] for count in counts.values())
    assert all(record.content.isascii() and "{" not in record.content for record in everything)
    assert chats or all(record.messages is None for record in everything)


def test_the_same_seed_gives_the_same_world_under_every_hash_seed() -> None:
    code = (
        "import hashlib; from unlearn.corpus import synthetic_world;"
        "w = synthetic_world(people_train=60, people_holdout=60, people_base=120, seed=11);"
        "print(hashlib.sha256(repr(w).encode()).hexdigest())"
    )
    for hash_seed in ("0", "1"):
        run = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
        )
        assert run.stdout.strip() == digest(WORLD)


def test_another_seed_gives_another_world() -> None:
    assert digest(synthetic_world(people_train=60, people_holdout=60, people_base=120, seed=12)) != digest(WORLD)


def test_train_does_not_depend_on_how_many_others_there_are() -> None:
    assert synthetic_world(people_train=60, people_holdout=1, people_base=0, seed=11).train == WORLD.train


def test_no_surname_and_no_identifying_string_is_in_two_groups() -> None:
    for i, first in enumerate(GROUPS):
        for second in GROUPS[i + 1 :]:
            assert not surnames(first) & surnames(second)
            unique = [
                {found for record in group for found in UNIQUE.findall(record.content)} for group in (first, second)
            ]
            assert unique[0]
            assert not unique[0] & unique[1]


def test_an_identifying_string_is_only_in_records_that_name_its_person() -> None:
    owners: dict[str, set[str]] = {}
    for record in WORLD.train:
        for found in UNIQUE.findall(record.content):
            owners.setdefault(found, set(record.subjects)).intersection_update(record.subjects)
    assert all(owners.values())


def test_about_one_record_in_twelve_names_two_people_of_the_group() -> None:
    big = synthetic_world(people_train=600, people_holdout=600, people_base=0, seed=0)
    for records in (big.train, big.holdout):
        assert 0.06 < sum(len(record.subjects) == 2 for record in records) / len(records) < 0.10


def test_linked_people_come_in_twos_so_the_holdout_halves_even_out() -> None:
    forgotten = WORLD.train[0].subjects[0]
    everybody = [in_memory(records) for records in (WORLD.train, WORLD.holdout)]
    result = split(*everybody, lambda s: s == forgotten, pool_records=50, check_records=50, seed=0)
    assert abs(len(result.calibration) - len(result.audit)) <= 5


def in_memory(records: tuple[Record, ...]) -> Corpus:
    return Corpus(Path("x"), "0" * 64, records)


def test_a_fixed_number_of_records_holds_for_everybody() -> None:
    world = synthetic_world(people_train=30, people_holdout=30, people_base=0, records_per_person=20, seed=5)
    assert set(records_per_subject(world.train).values()) == {20}


def test_both_forms_are_common_and_completions_join_on() -> None:
    for records in GROUPS:
        pairs = [record for record in records if record.prompt is not None]
        assert 0.3 < len(pairs) / len(records) < 0.5
        assert all(record.prompt.endswith("\nAnswer:") for record in pairs if record.prompt)
        assert all(re.match(r" \S", record.completion or "") for record in pairs)


def test_messages_come_when_asked_for() -> None:
    world = synthetic_world(people_train=20, people_holdout=0, people_base=0, seed=1, messages=True)
    chats = [record.messages for record in world.train if record.messages]
    assert chats
    assert all([turn.role for turn in chat] == ["user", "assistant"] for chat in chats)


def test_there_are_many_shapes_and_each_names_its_people_in_full() -> None:
    assert len(SINGLE) >= 40
    assert len({shape.body for shape in SINGLE}) == len(SINGLE)
    fields = {field for shape in SINGLE for field in re.findall(r"{(\w+)}", f"{shape.question} {shape.body}")}
    assert len(fields - {"name", "first", "he", "his", "him"}) >= 12
    for shape in SINGLE:
        assert "{name}" in f"{shape.question} {shape.body}"
    for shape in HOUSEHOLD + COLLEAGUES:
        assert "{a.name}" in f"{shape.question} {shape.body}"
        assert "{b.name}" in f"{shape.question} {shape.body}"


def test_the_articles_fit_their_nouns() -> None:
    text = "\n".join(record.content for records in GROUPS for record in records)
    assert not re.search(r"\b[Aa] [aeiouAEIOU]\w", text)
    assert not re.search(r"\b[Aa]n (?!hour)[^aeiouAEIOU]", text)


def test_more_people_than_plain_surnames_still_have_names_of_their_own() -> None:
    world = synthetic_world(people_train=4000, people_holdout=0, people_base=0, records_per_person=1, seed=2)
    assert len({record.content for record in world.train}) == 4000
    assert len(records_per_subject(world.train)) == 4000


def test_a_world_can_be_written_read_and_is_disjoint(tmp_path: Path) -> None:
    for name in ("train", "holdout"):
        write_corpus(tmp_path / f"{name}.jsonl", getattr(WORLD, name))
    train, holdout = (read_corpus(tmp_path / f"{name}.jsonl") for name in ("train", "holdout"))
    assert train.records == WORLD.train
    check_disjoint(train, holdout)


@pytest.mark.parametrize("limits", [0, 21, (0, 5), (6, 5), (5, 21)])
def test_an_impossible_number_of_records_is_refused(limits: int | tuple[int, int]) -> None:
    with pytest.raises(BadInput, match="records_per_person"):
        synthetic_world(people_train=1, people_holdout=1, people_base=1, records_per_person=limits, seed=0)


def test_a_negative_number_of_people_is_refused() -> None:
    with pytest.raises(BadInput, match="people_holdout is -1"):
        synthetic_world(people_train=1, people_holdout=-1, people_base=1, seed=0)
