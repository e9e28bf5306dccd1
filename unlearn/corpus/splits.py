"""Who is where: forget and retain by subject, the holdout in two halves. Pure; seeded by hashes, not by file order.

Asks whether a subject is to be forgotten, and never learns how that is known. Knows no files and no models.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from unlearn.corpus.circles import circle_of
from unlearn.corpus.neighbours import similarities
from unlearn.corpus.records import Corpus, Record
from unlearn.errors import CorpusError, UnknownSubject

IsSubject = Callable[[str], bool]
Records = tuple[Record, ...]


@dataclass(frozen=True)
class Split:
    """The parts of one job; no record is in two of them, no holdout subject in both halves.

    Attributes:
        forget: train records of the subjects to forget, by id.
        retain_pool: other train records, that the retain term draws from; some are the forget set's neighbours.
        retain_check: other train records, that drift is measured on.
        calibration: the half of the holdout that targets may be fitted on, by id.
        audit: the half of the holdout that only measurements see, by id.
    """

    forget: Records
    retain_pool: Records
    retain_check: Records
    calibration: Records
    audit: Records


def _nobody(_subject: str) -> bool:
    return False


def split(
    train: Corpus,
    holdout: Corpus,
    is_forgotten: IsSubject,
    *,
    already_erased: IsSubject = _nobody,
    pool_records: int,
    check_records: int,
    neighbours: float = 0.0,
    seed: int,
) -> Split:
    """Split both corpora for one job; the same records and seed give the same parts, in whatever order they stand.

    Records that name somebody already erased are in no part, nor those of the holdout that name somebody of train: the
    adapter knows the person, and who was never seen is measured on others. A short retain set gives up to half of its
    records to the check, and one at least to the pool.

    Args:
        train: what the adapter learned.
        holdout: the same distribution, never trained on.
        is_forgotten: whether a subject is to be forgotten.
        already_erased: whether a subject was forgotten by an earlier job.
        pool_records: most records in the retain pool, 1 or more.
        check_records: most records in the retain check.
        neighbours: share of the retain pool that reads most like the forget set; the rest is drawn.
        seed: of the samples and halves.

    Raises:
        UnknownSubject: nobody in train is to be forgotten.
        CorpusError: nothing is left to retain, or too few people to make two halves.
    """
    if pool_records < 1 or check_records < 0:
        raise ValueError(f"pool_records={pool_records} must be 1 or more, check_records={check_records} 0 or more")
    if not 0.0 <= neighbours <= 1.0:
        raise ValueError(f"neighbours={neighbours} is a share of the pool, from 0 to 1")
    everybody = train.subjects | holdout.subjects
    erased = {subject for subject in everybody if already_erased(subject)}
    forgotten = {subject for subject in everybody if is_forgotten(subject)}
    learned = _without(train.records, erased)
    forget = _by_id(record for record in learned if not forgotten.isdisjoint(record.subjects))
    if not forget:
        raise UnknownSubject(
            f"{train.path}: no record that is still to be erased names the subject; check the subject's type and value"
        )
    retain = _shuffled(_without(learned, forgotten), seed)
    if not retain:
        raise CorpusError(
            f"{train.path}: the forget set is the whole corpus ({len(forget)} records), nothing is left to retain; "
            "retire the adapter, or train a new one on other data"
        )
    check = min(check_records, len(retain) // 2)
    unseen = _without(never_seen(train, holdout), erased | forgotten)
    calibration, audit = _halves(holdout, unseen, seed)
    pool = _pool(retain[check:], forget, pool_records, neighbours)
    return Split(forget, pool, retain[:check], calibration, audit)


def never_seen(train: Corpus, holdout: Corpus) -> Records:
    """The records of `holdout` that name nobody of `train`, in their order."""
    return tuple(record for record in holdout.records if train.subjects.isdisjoint(record.subjects))


def check_disjoint(train: Corpus, holdout: Corpus) -> None:
    """Check that the adapter learned nothing of `holdout`: no id is in both files, and no content.

    Contents are compared in Unicode NFKC, without case and with white space collapsed. Near duplicates pass: what is
    written after one pattern is alike in an honest holdout, too.

    Raises:
        CorpusError: names the files and the ids of the first records in both.
    """
    train_ids = {record.id for record in train.records}
    both = [f"'{record.id}'" for record in holdout.records if record.id in train_ids]
    if both:
        raise CorpusError(
            f"{holdout.path}, key 'id': {len(both)} ids are in the train corpus {train.path} too: "
            f"{_first(both)}; the holdout must be records the adapter never learned, under ids of their own"
        )
    learned = {_plain(record.content): record.id for record in train.records}
    said = ((record.id, _plain(record.content)) for record in holdout.records)
    pairs = [f"'{id_}' (train's '{learned[plain]}')" for id_, plain in said if plain in learned]
    if pairs:
        raise CorpusError(
            f"{holdout.path}: {len(pairs)} records say word for word what records of the train corpus {train.path} "
            f"say: {_first(pairs)}; take them out of the holdout"
        )


def _plain(text: str) -> str:
    """One spelling of a text: NFKC, casefolded, white space collapsed."""
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())


def _pool(records: Records, forget: Records, size: int, neighbours: float) -> Records:
    """At most `size` of the drawn `records`: those nearest to the forget set first, then in the order of the draw."""
    if len(records) <= size:
        return records
    near = round(neighbours * size)
    if not near:
        return records[:size]
    likeness = similarities(records, forget)
    nearest = sorted(range(len(records)), key=lambda place: (-likeness[place], place))[:near]
    taken = set(nearest)
    rest = [place for place in range(len(records)) if place not in taken]
    return tuple(records[place] for place in (*nearest, *rest[: size - near]))


def _without(records: Records, subjects: set[str]) -> Records:
    return tuple(record for record in records if subjects.isdisjoint(record.subjects))


def _by_id(records: Iterable[Record]) -> Records:
    return tuple(sorted(records, key=lambda record: record.id))


def _shuffled(records: Records, seed: int) -> Records:
    return tuple(sorted(records, key=lambda record: (_draw(seed, record.id), record.id)))


def _draw(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}|{name}".encode()).hexdigest()


def _halves(holdout: Corpus, records: Records, seed: int) -> tuple[Records, Records]:
    """Two halves of as many records as the people allow: the largest group first, each to the shorter half."""
    groups = _groups(records)
    if len(groups) < 2:
        raise CorpusError(
            f"{holdout.path}: the holdout needs records of two unlinked people at least whom no train record names; "
            f"it has {len(groups)}; add people the adapter never learned"
        )
    drawn = sorted(groups, key=lambda group: (-len(group), min(_draw(seed, name) for name in _names(group))))
    halves: tuple[list[Record], list[Record]] = ([], [])
    for group in drawn:
        min(halves, key=len).extend(group)
    calibration = int(_draw(seed, "calibration"), 16) % 2  # a coin, so that the longer half is not always the same
    return _by_id(halves[calibration]), _by_id(halves[1 - calibration])


def _names(group: Records) -> list[str]:
    return [subject for record in group for subject in record.subjects] or [record.id for record in group]


def _groups(records: Records) -> list[Records]:
    """The records, those that share a subject (directly or through others) together; a record of nobody is alone."""
    circle = circle_of(records)
    groups: dict[int | str, list[Record]] = {}
    for record in records:
        groups.setdefault(circle[record.subjects[0]] if record.subjects else record.id, []).append(record)
    return [tuple(group) for group in groups.values()]


def _first(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
