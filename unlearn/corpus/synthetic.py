"""A world of people who do not exist, as records: to train a base on, to train an adapter on, and to hold out.

All three groups come from the same distribution and share no surname and no identifying string. First names,
cities and products recur, as they do in life. The same seed gives the same world on every machine.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from unlearn.corpus.people import Person, Registry, colleague, housemate, single
from unlearn.corpus.records import Message, Record
from unlearn.corpus.sentences import COLLEAGUES, HOUSEHOLD, SINGLE, Shape, facts_of, facts_of_two
from unlearn.errors import BadInput

PAIR_PROBABILITY = 0.55  # a draw of one or two people: about 7 of 10 people then live or work with another
SHARED_OF_RECORDS = 0.24  # with the draw above, about 8 % of all records name two people
MOST_RECORDS = 20


@dataclass(frozen=True)
class World:
    """Records of three groups of people: to pre-train a base, for an adapter to learn, never to be learned."""

    base: tuple[Record, ...]
    train: tuple[Record, ...]
    holdout: tuple[Record, ...]


@dataclass(frozen=True)
class _Resident:
    person: Person
    number: int
    records: int

    @property
    def subject(self) -> str:
        return f"customer:c-{self.number:04d}"


def synthetic_world(
    *,
    people_train: int,
    people_holdout: int,
    people_base: int,
    records_per_person: int | tuple[int, int] = (5, 20),
    seed: int,
    messages: bool = False,
) -> World:
    """A world of `people_*` people in each group.

    Args:
        people_train: subjects of the train corpus, numbered from 0; the train records do not depend on the others.
        people_holdout: subjects of the holdout corpus.
        people_base: subjects of the text to pre-train on.
        records_per_person: how many records name each person, shared ones included; one number, or the ends.
        seed: of every draw.
        messages: whether half of the questions become messages instead of prompt and completion.

    Raises:
        BadInput: a negative number of people, or a number of records out of 1 to 20.
    """
    low, high = (records_per_person,) * 2 if isinstance(records_per_person, int) else records_per_person
    if not 1 <= low <= high <= MOST_RECORDS:
        raise BadInput(f"records_per_person is {records_per_person}; give 1 to {MOST_RECORDS}, the lowest first")
    sizes = {"train": people_train, "holdout": people_holdout, "base": people_base}
    for group, size in sizes.items():
        if size < 0:
            raise BadInput(f"people_{group} is {size}; give 0 or more")
    registry = Registry(random.Random(f"{seed}/surnames"))
    made: dict[str, tuple[Record, ...]] = {}
    number = 0
    for group, size in sizes.items():
        rng = random.Random(f"{seed}/{group}")
        made[group] = tuple(_group(rng, registry, range(number, number + size), (low, high), messages))
        number += size
    return World(base=made["base"], train=made["train"], holdout=made["holdout"])


def _group(
    rng: random.Random, registry: Registry, numbers: range, limits: tuple[int, int], messages: bool
) -> Iterator[Record]:
    number = numbers.start
    while number < numbers.stop:
        person = single(rng, registry)
        a = _Resident(person, number, rng.randint(*limits))
        number += 1
        if number == numbers.stop or rng.random() >= PAIR_PROBABILITY:
            yield from _alone(rng, a, messages)
            continue
        at_home = rng.random() < 0.5
        other = (housemate if at_home else colleague)(rng, registry, person)
        b = _Resident(other, number, rng.randint(*limits))
        number += 1
        yield from _together(rng, a, b, HOUSEHOLD if at_home else COLLEAGUES, messages)


def _alone(rng: random.Random, a: _Resident, messages: bool) -> Iterator[Record]:
    shapes = rng.sample(SINGLE, a.records)
    for place, shape in enumerate(shapes):
        yield _record(rng, a, place, (a.subject,), shape, facts_of(a.person), messages)


def _together(
    rng: random.Random, a: _Resident, b: _Resident, shapes: tuple[Shape, ...], messages: bool
) -> Iterator[Record]:
    """The records of two linked people: those of `a`, those of `b`, and the shared ones behind those of `a`."""
    fewest = min(a.records, b.records)
    shared = min(int(SHARED_OF_RECORDS * fewest + rng.random()), fewest - 1, len(shapes))
    for resident in (a, b):
        yield from _alone(rng, _Resident(resident.person, resident.number, resident.records - shared), messages)
    facts = facts_of_two(a.person, b.person)
    for place, shape in enumerate(rng.sample(shapes, shared), start=a.records - shared):
        yield _record(rng, a, place, (a.subject, b.subject), shape, facts, messages)


def _record(
    rng: random.Random,
    owner: _Resident,
    place: int,
    subjects: tuple[str, ...],
    shape: Shape,
    facts: dict[str, str],
    messages: bool,
) -> Record:
    id_ = f"r-{owner.number:04d}-{place:02d}"
    question, body = shape.say(facts)
    if question is None:
        return Record(id_, subjects, text=body)
    if messages and rng.random() < 0.5:
        return Record(id_, subjects, messages=(Message("user", question), Message("assistant", body)))
    return Record(id_, subjects, prompt=f"Question: {question}\nAnswer:", completion=f" {body}")
