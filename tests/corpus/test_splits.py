"""Splits are partitions: nothing lost, nothing in two parts, and the order of the file's lines does not matter."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearn.corpus.records import Corpus, Message, Record
from unlearn.corpus.splits import Split, check_disjoint, never_seen, split
from unlearn.errors import CorpusError, UnknownSubject


def corpus(records: list[Record], name: str = "train.jsonl") -> Corpus:
    return Corpus(Path(name), "0" * 64, tuple(records))


def people(prefix: str, *subjects: tuple[str, ...]) -> list[Record]:
    return [Record(f"{prefix}-{i:03d}", names, text=f"{prefix} {i}") for i, names in enumerate(subjects)]


def one_of(*subjects: str) -> Callable[[str], bool]:
    return lambda subject: subject in subjects


def ids(records: tuple[Record, ...]) -> list[str]:
    return [record.id for record in records]


def subjects_of(records: tuple[Record, ...]) -> set[str]:
    return {subject for record in records for subject in record.subjects}


def parts(result: Split) -> list[tuple[Record, ...]]:
    return [result.forget, result.retain_pool, result.retain_check, result.calibration, result.audit]


HOLDOUT = corpus(people("h", ("h1",), ("h1",), ("h2",), ("h2",), ("h3",), ("h4",)), "holdout.jsonl")

names, strangers = (
    st.lists(st.sampled_from(some), max_size=2, unique=True).map(tuple)
    for some in ([f"p{i}" for i in range(12)], ["p0", "p2", "p3", *(f"q{i}" for i in range(12))])
)
worlds = st.tuples(st.lists(names, min_size=2, max_size=40), st.lists(strangers, min_size=2, max_size=40))


@settings(deadline=None)
@given(
    worlds,
    st.integers(0, 3),
    st.integers(1, 20),
    st.integers(0, 20),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.randoms(use_true_random=False),
)
def test_a_split_is_a_partition_whatever_the_order_of_lines(world, seed, pool, check, near, shuffler) -> None:  # type: ignore[no-untyped-def]
    train, holdout = people("t", *world[0]), people("h", *world[1])
    forgotten, erased = one_of("p0", "p1"), one_of("p2")

    def parted() -> Split | str:
        try:
            return split(
                corpus(train), corpus(holdout), forgotten, already_erased=erased,
                pool_records=pool, check_records=check, neighbours=near, seed=seed,
            )  # fmt: skip
        except (CorpusError, UnknownSubject) as error:
            return type(error).__name__

    result = parted()
    shuffler.shuffle(train)
    shuffler.shuffle(holdout)
    assert parted() == result
    if isinstance(result, str):
        return
    seen = [record.id for part in parts(result) for record in part]
    assert len(seen) == len(set(seen))
    kept = [record for record in train if "p2" not in record.subjects]
    named = {record.id for record in kept if {"p0", "p1"} & set(record.subjects)}
    assert set(ids(result.forget)) == named
    retain = len(kept) - len(named)
    assert len(result.retain_check) == min(check, retain // 2)
    assert len(result.retain_pool) == min(pool, retain - len(result.retain_check)) >= 1
    assert set(ids(result.retain_pool + result.retain_check)) <= {record.id for record in kept} - named
    assert not subjects_of(result.calibration) & subjects_of(result.audit)
    known = {"p0", "p1", "p2"} | {subject for record in train for subject in record.subjects}
    allowed = {record.id for record in holdout if not known & set(record.subjects)}
    assert set(ids(result.calibration + result.audit)) == allowed
    assert result.calibration
    assert result.audit


def test_by_hand_a_record_of_two_goes_with_the_one_to_forget() -> None:
    train = corpus(people("t", ("a",), ("b",), ("a", "b"), ("c", "a"), ()))
    result = split(train, HOLDOUT, one_of("a"), pool_records=10, check_records=1, seed=0)
    assert ids(result.forget) == ["t-000", "t-002", "t-003"]
    assert sorted(ids(result.retain_pool + result.retain_check)) == ["t-001", "t-004"]


def test_records_of_somebody_erased_before_are_in_no_part() -> None:
    train = corpus(people("t", ("a",), ("a", "gone"), ("gone",), ("b",), ("b", "gone")))
    holdout = corpus(people("h", ("h1",), ("h2",), ("gone",)), "holdout.jsonl")
    result = split(
        train, holdout, one_of("a"), already_erased=one_of("gone"), pool_records=10, check_records=10, seed=0
    )
    assert "gone" not in {subject for part in parts(result) for subject in subjects_of(part)}
    assert ids(result.forget) == ["t-000"]
    assert ids(result.retain_pool) == ["t-003"]


def test_halves_are_as_even_as_people_of_one_size_allow() -> None:
    holdout = corpus(people("h", *[(f"h{i // 20}",) for i in range(30 * 20)]), "holdout.jsonl")
    for seed in range(5):
        result = split(
            corpus(people("t", ("a",), ("b",))), holdout, one_of("a"), pool_records=1, check_records=1, seed=seed
        )
        assert len(result.calibration) == len(result.audit) == 300


def test_another_seed_draws_other_samples_and_halves() -> None:
    train = corpus(people("t", ("a",), *[(f"b{i}",) for i in range(60)]))
    holdout = corpus(people("h", *[(f"h{i}",) for i in range(60)]), "holdout.jsonl")
    first, second = (split(train, holdout, one_of("a"), pool_records=10, check_records=10, seed=s) for s in (0, 1))
    assert set(ids(first.retain_pool)) != set(ids(second.retain_pool))
    assert set(ids(first.retain_check)) != set(ids(second.retain_check))
    assert set(ids(first.calibration)) != set(ids(second.calibration))


def test_people_linked_through_others_stay_in_one_half() -> None:
    chain = [("h1", "h2"), ("h2", "h3"), ("h4", "h3"), ("h5",), ("h6",), ("h7",), ("h8",)]
    result = split(
        corpus(people("t", ("a",), ("b",))),
        corpus(people("h", *chain), "holdout.jsonl"),
        one_of("a"),
        pool_records=1,
        check_records=1,
        seed=3,
    )
    whole = [half for half in (result.calibration, result.audit) if "h1" in subjects_of(half)]
    assert {"h1", "h2", "h3", "h4"} <= subjects_of(whole[0])
    assert {len(result.calibration), len(result.audit)} == {3, 4}


def test_nobody_to_forget_is_an_unknown_subject_and_the_message_names_nobody() -> None:
    train = corpus(people("t", ("customer:zq-secret",), ("b",)))
    with pytest.raises(UnknownSubject, match=r"train\.jsonl") as caught:
        split(train, HOLDOUT, one_of("nobody"), pool_records=1, check_records=1, seed=0)
    assert "zq-secret" not in str(caught.value)
    with pytest.raises(UnknownSubject):
        split(train, HOLDOUT, one_of("b"), already_erased=one_of("b"), pool_records=1, check_records=1, seed=0)


def test_forgetting_everybody_is_refused() -> None:
    with pytest.raises(CorpusError, match="the forget set is the whole corpus"):
        split(corpus(people("t", ("a",), ("a", "b"))), HOLDOUT, one_of("a"), pool_records=1, check_records=1, seed=0)


@pytest.mark.parametrize(
    "holdout", [[], [("h1",)] * 9, [("h1",), ("h1", "h2"), ("h2",)], [("h1",), ("a",), ("a", "h3")]]
)
def test_a_holdout_that_makes_no_two_halves_is_refused(holdout: list[tuple[str, ...]]) -> None:
    with pytest.raises(CorpusError, match=r"holdout\.jsonl: the holdout needs"):
        split(
            corpus(people("t", ("a",), ("b",))),
            corpus(people("h", *holdout), "holdout.jsonl"),
            one_of("a"),
            pool_records=1,
            check_records=1,
            seed=0,
        )


def test_a_retain_set_of_one_goes_to_the_pool() -> None:
    result = split(corpus(people("t", ("a",), ("b",))), HOLDOUT, one_of("a"), pool_records=9, check_records=9, seed=0)
    assert ids(result.retain_pool) == ["t-001"]
    assert result.retain_check == ()


@pytest.mark.parametrize(("pool", "check"), [(0, 1), (1, -1)])
def test_sizes_that_make_no_sense_are_a_mistake_of_the_caller(pool: int, check: int) -> None:
    with pytest.raises(ValueError, match="pool_records"):
        split(HOLDOUT, HOLDOUT, one_of("h1"), pool_records=pool, check_records=check, seed=0)


def test_corpora_that_share_nothing_are_disjoint() -> None:
    check_disjoint(corpus(people("t", ("a",), ("b",))), HOLDOUT)


def test_an_id_in_both_corpora_is_refused_by_its_name() -> None:
    train = corpus([*people("t", ("a",)), Record("h-001", (), text="other words")])
    with pytest.raises(CorpusError, match=r"holdout\.jsonl, key 'id': 1 ids .* train\.jsonl too: 'h-001'"):
        check_disjoint(train, HOLDOUT)


def test_the_same_words_in_both_corpora_are_refused_even_in_another_form() -> None:
    train = corpus([Record("t-1", ("a",), prompt="zq ", completion="secret")])
    holdout = corpus([Record("h-1", ("b",), text="zq secret"), Record("h-2", ("c",), text="else")], "holdout.jsonl")
    with pytest.raises(CorpusError, match=r"1 records say word for word .*'h-1' \(train's 't-1'\)") as caught:
        check_disjoint(train, holdout)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("told", ["zq secret ", "ZQ  Secret", "\uff5a\uff51 secret", "zq\u00a0secret\n"])
def test_the_same_words_in_another_spelling_are_refused_under_whatever_id(told: str) -> None:
    train = corpus([Record("t-1", ("a",), text="zq secret")])
    with pytest.raises(CorpusError, match=r"1 records say word for word .*'h-1' \(train's 't-1'\)"):
        check_disjoint(train, corpus([Record("h-1", ("b",), text=told), Record("h-2", ("c",), text="else")]))


def test_holdout_records_of_people_whom_the_adapter_knows_are_in_neither_half() -> None:
    train = corpus(people("t", ("a",), ("b",), ("c",)))
    holdout = corpus(
        [*people("h", ("d",), ("e",)), Record("k-1", ("c",), text="1"), Record("k-2", ("d", "c"), text="2")]
    )
    result = split(train, holdout, one_of("a"), pool_records=9, check_records=9, seed=0)
    assert set(ids(result.calibration + result.audit)) == set(ids(never_seen(train, holdout))) == {"h-000", "h-001"}
    with pytest.raises(CorpusError, match="two unlinked people at least whom no train record names; it has 0"):
        split(train, corpus([Record("k-1", ("c",), text="1")]), one_of("a"), pool_records=9, check_records=9, seed=0)


def test_content_joins_a_prompt_and_completion_and_puts_messages_on_lines() -> None:
    chat = Record("r", (), messages=(Message("user", "Hi"), Message("assistant", "Yes?")))
    assert chat.content == "Hi\nYes?"
    assert Record("r", (), prompt="Answer:", completion=" 42").content == "Answer: 42"


def test_a_records_digest_is_of_what_a_model_reads_to_the_letter() -> None:
    record = Record("r", ("a",), prompt="Who?", completion=" Ada")
    assert record.sha256 == Record("s", (), prompt="Who?", completion=" Ada", paraphrases=("And who?",)).sha256
    others = [
        Record("r", ("a",), prompt="Who? ", completion="Ada"),
        Record("r", ("a",), prompt="Who?", completion=" ada"),
        Record("r", ("a",), text="Who? Ada"),
        Record("r", ("a",), messages=(Message("user", "Who?"), Message("assistant", " Ada"))),
    ]
    assert len({record.sha256, *(other.sha256 for other in others)}) == 5
