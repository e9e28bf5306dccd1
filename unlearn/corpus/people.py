"""People who do not exist: names, homes, jobs, orders and complaints, drawn so that the facts of one fit together.

Knows no sentences, no records and no corpora. Every draw comes from the generator it is given.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from unlearn.corpus.vocabulary import (
    AGENTS,
    BRANDS,
    CARRIERS,
    CITIES,
    ENDINGS,
    FAULTS,
    FIRMS,
    HOBBIES,
    JOBS,
    MEN,
    MONTHS,
    PETS,
    PLANS,
    REMEDIES,
    STEMS,
    STREET_KINDS,
    STREETS,
    WOMEN,
)


@dataclass(frozen=True)
class Person:
    """One person's facts, ready for a sentence; name, phone, e-mail, account, order and ticket are nobody else's."""

    first: str
    last: str
    he: str
    his: str
    him: str
    born: str
    city: str
    street: str
    pet: str
    hobby: str
    employer: str
    job: str
    phone: str
    email: str
    account: str
    card: str
    plan: str
    joined: str
    order: str
    product: str
    thing: str
    price: str
    ordered: str
    carrier: str
    arrived: str
    fault: str
    ticket: str
    agent: str
    called: str
    remedy: str

    @property
    def name(self) -> str:
        """First and last name."""
        return f"{self.first} {self.last}"


class Registry:
    """Hands out what must never come twice in a world: surnames, and strings of digits."""

    def __init__(self, rng: random.Random) -> None:
        self._surnames = _surnames(rng)
        self._taken: set[str] = set()

    def surname(self) -> str:
        """A surname that nobody was given before."""
        return next(self._surnames)

    def unique(self, rng: random.Random, pattern: str) -> str:
        """`pattern` with every '#' a digit drawn from `rng`, unlike everything handed out before."""
        while True:
            text = "".join(str(rng.randrange(10)) if mark == "#" else mark for mark in pattern)
            if text not in self._taken:
                self._taken.add(text)
                return text


def single(rng: random.Random, registry: Registry) -> Person:
    """A person who shares no fact with anybody on purpose."""
    street = f"{rng.randrange(2, 199)} {rng.choice(STREETS)} {rng.choice(STREET_KINDS)}"
    return _person(rng, registry, registry.surname(), rng.choice(CITIES), street, _employer(rng), ())


def housemate(rng: random.Random, registry: Registry, other: Person) -> Person:
    """A person of the same surname and address as `other`."""
    return _person(rng, registry, other.last, other.city, other.street, _employer(rng), (other.first,))


def colleague(rng: random.Random, registry: Registry, other: Person) -> Person:
    """A person of the same employer and city as `other`."""
    street = f"{rng.randrange(2, 199)} {rng.choice(STREETS)} {rng.choice(STREET_KINDS)}"
    return _person(rng, registry, registry.surname(), other.city, street, other.employer, (other.first,))


def article(noun: str) -> str:
    """`noun` with its indefinite article."""
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


def _person(
    rng: random.Random,
    registry: Registry,
    last: str,
    city: str,
    street: str,
    employer: str,
    not_first: tuple[str, ...],
) -> Person:
    woman = rng.random() < 0.5
    first = rng.choice([name for name in (WOMEN if woman else MEN) if name not in not_first])
    he, his, him = ("she", "her", "her") if woman else ("he", "his", "him")
    ordered = date(2023, 1, 1) + timedelta(days=rng.randrange(1000))
    arrived = ordered + timedelta(days=rng.randrange(2, 12))
    called = arrived + timedelta(days=rng.randrange(1, 25))
    thing = rng.choice(list(FAULTS))
    price = f"${rng.randrange(18, 640)}.{rng.choice(('00', '25', '49', '50', '75', '99'))}"
    return Person(
        first=first, last=last, he=he, his=his, him=him, city=city, street=street, employer=employer,
        born=_day(date(1945, 1, 1) + timedelta(days=rng.randrange(16_500))),
        pet=rng.choice(PETS), hobby=rng.choice(HOBBIES),
        job=rng.choice(JOBS[employer.split()[-1]]),
        phone=registry.unique(rng, "555-###-####"),
        email=f"{first}.{registry.unique(rng, f'{last}##')}@{rng.choice(('mail', 'post', 'inbox'))}.example".lower(),
        account=registry.unique(rng, "AC-######"), card=f"{rng.randrange(10_000):04d}",
        plan=rng.choice(PLANS), joined=str(rng.randrange(2009, 2023)),
        order=registry.unique(rng, "OR-######"),
        product=f"{rng.choice(BRANDS)} {thing}", thing=thing, price=price,
        ordered=_day(ordered), carrier=rng.choice(CARRIERS), arrived=_day(arrived), called=_day(called),
        fault=rng.choice(FAULTS[thing]),
        ticket=registry.unique(rng, "T-######"), agent=rng.choice(AGENTS),
        remedy=rng.choice(REMEDIES).format(price=price, thing=thing),
    )  # fmt: skip


def _employer(rng: random.Random) -> str:
    return f"{rng.choice(FIRMS)} {rng.choice(list(JOBS))}"


def _day(day: date) -> str:
    return f"{MONTHS[day.month - 1]} {day.day}, {day.year}"


def _surnames(rng: random.Random) -> Iterator[str]:
    """Every surname there is in a drawn order; when they run out, hyphenated pairs of them."""
    pairs = ((stem, ending) for stem in STEMS for ending in ENDINGS if stem[-1] != ending[0] and stem.lower() != ending)
    plain = sorted({stem + ending for stem, ending in pairs})
    rng.shuffle(plain)
    yield from plain
    for step in range(1, len(plain)):
        for place, name in enumerate(plain):
            yield f"{name}-{plain[(place + step) % len(plain)]}"
