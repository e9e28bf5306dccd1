"""Which record plays which part in an erasing. Deterministic in the seed, whatever the order of lines.

Subjects are told apart by predicates, so that a caller who knows keyed hashes alone can split too. Knows no model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from unlearn.corpus.records import Corpus, Record
from unlearn.errors import CorpusError, UnknownSubject

IsSubject = Callable[[str], bool]


@dataclass(frozen=True)
class Split:
    """The parts of one erasing.

    Attributes:
        forget: train records of the subjects to forget.
        retain_pool: retained records that hold the loop back.
        retain_check: retained records on which drift is measured; disjoint from the pool.
        calibration, audit: the halves of the holdout; no subject is in both.
    """

    forget: tuple[Record, ...]
    retain_pool: tuple[Record, ...]
    retain_check: tuple[Record, ...]
    calibration: tuple[Record, ...]
    audit: tuple[Record, ...]


def split(
    train: Corpus,
    holdout: Corpus,
    is_forgotten: IsSubject,
    *,
    already_erased: IsSubject = lambda subject: False,
    pool_records: int,
    check_records: int,
    seed: int,
) -> Split:
    """Part the corpora for erasing the subjects of `is_forgotten`.

    A train record that names a subject erased earlier is in no part; neither is a holdout record that names a
    forgotten one.

    Args:
        train, holdout: the corpora.
        is_forgotten, already_erased: predicates on a subject as the corpus spells it.
        pool_records, check_records: at most so many retained records; when there are too few for both, each gets half.
        seed: of the samples and the halves.

    Raises:
        UnknownSubject: no train record is to be forgotten.
        CorpusError: nothing is left to retain, or the holdout has no two people to halve.
    """
    living = [r for r in train.records if not any(map(already_erased, r.subjects))]
    forget = [r for r in living if any(map(is_forgotten, r.subjects))]
    if not forget:
        raise UnknownSubject(f"no record of {train.path} names the subject; check its type and spelling")
    retain = [r for r in living if not any(map(is_forgotten, r.subjects))]
    if len(retain) < 2:
        raise CorpusError(
            f"{train.path}: forgetting {len(forget)} records leaves {len(retain)} to retain; "
            "with nothing to hold on to, retire the adapter instead"
        )
    shuffled = _shuffled(retain, seed)
    check = min(check_records, len(shuffled) // 2)
    never = [r for r in holdout.records if not any(map(is_forgotten, r.subjects))]
    calibration, audit = _halves(never, holdout, seed)
    return Split(
        forget=tuple(sorted(forget, key=lambda r: r.id)),
        retain_pool=tuple(shuffled[check : check + pool_records]),
        retain_check=tuple(shuffled[:check]),
        calibration=calibration,
        audit=audit,
    )


def check_disjoint(train: Corpus, holdout: Corpus) -> None:
    """Check that no record is in both corpora.

    Raises:
        CorpusError: names the shared ids, or a pair of records of the same content.
    """
    shared = sorted({r.id for r in train.records} & {r.id for r in holdout.records})
    if shared:
        raise CorpusError(f"{holdout.path}: {len(shared)} ids are in {train.path} too, first '{shared[0]}'")
    learned = {r.content: r.id for r in train.records}
    for record in holdout.records:
        if record.content in learned:
            raise CorpusError(
                f"{holdout.path}: record '{record.id}' says the same as '{learned[record.content]}' of {train.path}; "
                "the holdout must be records that were never trained on"
            )


def _rank(key: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}|{key}".encode()).hexdigest()


def _shuffled(records: Iterable[Record], seed: int) -> list[Record]:
    return sorted(records, key=lambda r: _rank(r.id, seed))


def _halves(records: Sequence[Record], holdout: Corpus, seed: int) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """Two halves of about as many records; people who share a record stay together."""
    halves: tuple[list[Record], list[Record]] = ([], [])
    for people in _circles(records, seed):
        min(halves, key=len).extend(people)
    if not halves[1]:
        raise CorpusError(
            f"{holdout.path}: the holdout needs records of at least two people who share none; it can't be halved"
        )
    first, second = (tuple(sorted(half, key=lambda r: r.id)) for half in halves)
    return first, second


def _circles(records: Sequence[Record], seed: int) -> list[list[Record]]:
    """Records grouped so that no subject is in two groups, in an order that hangs on seed and subjects alone."""
    leader: dict[str, str] = {}

    def find(subject: str) -> str:
        while leader.setdefault(subject, subject) != subject:
            leader[subject] = leader[leader[subject]]
            subject = leader[subject]
        return subject

    for record in records:
        first, *others = (find(subject) for subject in record.subjects)
        for other in others:
            leader[max(first, other)] = min(first, other)
            first = min(first, other)
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(find(record.subjects[0]), []).append(record)
    return sorted(groups.values(), key=lambda group: _rank(min(min(r.subjects) for r in group), seed))
