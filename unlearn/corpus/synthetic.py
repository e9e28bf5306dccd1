"""Synthetic people: an invented company's customers, with facts that hang together, told in many sentence shapes.

Seeded and self-contained. Three groups of people from one distribution with no shared names: those a base model may
learn language from, those an adapter is trained on, and those it never sees. Knows no model.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from unlearn.corpus.records import Message, Record

FIRST = [
    "Ada",
    "Bram",
    "Cleo",
    "Dario",
    "Elin",
    "Farid",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Kaja",
    "Lars",
    "Mina",
    "Nils",
    "Olga",
    "Pablo",
    "Quinn",
    "Rosa",
    "Sven",
    "Tilda",
    "Uwe",
    "Vera",
    "Wim",
    "Xenia",
    "Yara",
    "Zeno",
    "Alma",
    "Boris",
    "Carla",
    "Dilan",
    "Edda",
    "Felix",
    "Gwen",
    "Hanna",
    "Ivo",
    "Jana",
    "Karim",
    "Lotte",
    "Marek",
    "Nora",
    "Otto",
    "Petra",
    "Remy",
    "Sana",
    "Theo",
    "Ursa",
    "Viktor",
    "Wanda",
    "Yusuf",
    "Zora",
]
SYLLABLES = (
    (
        "Bel",
        "Cor",
        "Dra",
        "Fen",
        "Gar",
        "Hol",
        "Jar",
        "Kel",
        "Lam",
        "Mor",
        "Nov",
        "Oster",
        "Pel",
        "Quar",
        "Ros",
        "Sand",
    ),
    ("a", "e", "i", "o", "an", "en", "in", "or"),
    (
        "berg",
        "dahl",
        "field",
        "grove",
        "holm",
        "kov",
        "land",
        "mann",
        "quist",
        "rup",
        "son",
        "stad",
        "ton",
        "vik",
        "wood",
    ),
)
CITIES = [
    "Arlen",
    "Birkdale",
    "Castrum",
    "Dunmore",
    "Eastvale",
    "Fallowby",
    "Grimsund",
    "Harrow",
    "Islemouth",
    "Jorvik",
    "Kestrel",
    "Lindow",
    "Marden",
    "Norwell",
    "Oakhurst",
    "Pendle",
    "Quayside",
    "Ravenna",
    "Stellen",
    "Tarrow",
    "Umber",
    "Velden",
    "Westry",
    "Yarrow",
    "Zandt",
]
STREETS = [
    "Mill",
    "Harbour",
    "Station",
    "Linden",
    "Church",
    "Garden",
    "Bridge",
    "Market",
    "Orchard",
    "Quarry",
    "Meadow",
    "Tower",
    "Canal",
    "Foundry",
]
EMPLOYERS = (
    "Brightwater Labs",
    "Castle Freight",
    "Dunlin Bakery",
    "Ember Insurance",
    "Foxglove Clinic",
    "Granite Bank",
    "Helio Power",
    "Iris Optics",
    "Juniper School",
    "Kite Airways",
    "Larch Timber",
    "Mosaic Press",
)
JOBS = [
    "nurse",
    "welder",
    "teacher",
    "pilot",
    "baker",
    "clerk",
    "engineer",
    "librarian",
    "driver",
    "gardener",
    "analyst",
    "plumber",
    "tailor",
    "chemist",
]
PRODUCTS = [
    "kettle",
    "lamp",
    "bicycle",
    "router",
    "camera",
    "heater",
    "blender",
    "drill",
    "tent",
    "printer",
    "monitor",
    "speaker",
    "watch",
    "sofa",
]
FAULTS = (
    "arrived with a cracked lid",
    "stopped working after two days",
    "was sent in the wrong colour",
    "came without its cable",
    "leaks from the bottom",
    "makes a loud grinding noise",
    "never left the depot",
    "was charged twice",
)
REMEDIES = ("a refund", "a replacement", "a repair", "a voucher", "a call back", "an apology")
PETS = ("a grey parrot", "two cats", "an old dog", "a tortoise", "three hens", "a white rabbit", "no pets")
HOBBIES = [
    "chess",
    "rowing",
    "pottery",
    "astronomy",
    "climbing",
    "baking",
    "birdwatching",
    "cycling",
    "painting",
    "fencing",
]
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]


@dataclass(frozen=True)
class World:
    """Records of the three groups: for a base, for an adapter, and never seen by either."""

    base: tuple[Record, ...]
    train: tuple[Record, ...]
    holdout: tuple[Record, ...]


@dataclass(frozen=True)
class Person:
    """One invented customer; phone, e-mail, order and policy number are theirs alone."""

    subject: str
    first: str
    last: str
    city: str
    street: str
    phone: str
    email: str
    employer: str
    job: str
    order: str
    product: str
    amount: int
    fault: str
    remedy: str
    born: str
    member: str
    pet: str
    hobby: str
    delivery: str

    @property
    def name(self) -> str:
        """First and last name."""
        return f"{self.first} {self.last}"


def synthetic_world(
    *,
    people_train: int,
    people_holdout: int,
    people_base: int,
    records_per_person: int | tuple[int, int] = (5, 20),
    messages: bool = False,
    seed: int,
) -> World:
    """Invent the people and what is written about them.

    Args:
        people_train, people_holdout, people_base: people of each group; no name is in two groups.
        records_per_person: records of one person, or the least and the most; at most the number of shapes.
        messages: whether some records are conversations (they need a chat template).
        seed: same seed, same world.
    """
    source = random.Random(f"{seed}|world")
    low, high = (records_per_person,) * 2 if isinstance(records_per_person, int) else records_per_person
    people = _people(people_train + people_holdout + people_base, source)
    groups = (
        people[:people_train],
        people[people_train : people_train + people_holdout],
        people[people_train + people_holdout :],
    )
    train, holdout, base = (_records(group, low, min(high, len(SHAPES)), messages, source) for group in groups)
    return World(base, train, holdout)


def _people(count: int, source: random.Random) -> list[Person]:
    lasts = [a + b + c for a in SYLLABLES[0] for b in SYLLABLES[1] for c in SYLLABLES[2]]
    source.shuffle(lasts)
    if count > len(lasts):
        raise ValueError(f"{count} people asked for; there are names for {len(lasts)}")
    numbers = source.sample(range(100_000, 1_000_000), 3 * count)
    return [_person(i, lasts[i], numbers[3 * i : 3 * i + 3], source) for i in range(count)]


def _person(number: int, last: str, numbers: Sequence[int], source: random.Random) -> Person:
    first, pick = source.choice(FIRST), source.choice
    return Person(
        subject=f"customer:c-{number:04d}",
        first=first,
        last=last,
        city=pick(CITIES),
        street=f"{source.randint(1, 99)} {pick(STREETS)} Street",
        phone=f"{str(numbers[0])[:3]}-{str(numbers[0])[3:]}",
        email=f"{first.lower()}.{last.lower()}@{pick(('post', 'mail', 'home'))}.example",
        employer=pick(EMPLOYERS),
        job=pick(JOBS),
        order=f"A{numbers[1]}",
        product=pick(PRODUCTS),
        amount=source.randint(12, 980),
        fault=pick(FAULTS),
        remedy=pick(REMEDIES),
        born=f"{source.randint(1, 28)} {pick(MONTHS)} {source.randint(1950, 2003)}",
        member=f"M{numbers[2]}",
        pet=pick(PETS),
        hobby=pick(HOBBIES),
        delivery=f"{source.randint(1, 28)} {pick(MONTHS)}",
    )


def _records(
    people: Sequence[Person], low: int, high: int, messages: bool, source: random.Random
) -> tuple[Record, ...]:
    """For each person a number of different shapes; about one record in twelve is about two people."""
    records = []
    for person in people:
        shapes = source.sample(range(len(SHAPES)), source.randint(low, high))
        for number, shape in enumerate(shapes):
            id_ = f"r-{person.subject[-4:]}-{number:02d}"
            if len(people) > 1 and source.random() < 1 / 12:
                other = source.choice([p for p in people if p is not person])
                text = source.choice(PAIRS)(person, other)
                records.append(Record(id_, (person.subject, other.subject), text=text))
            else:
                records.append(_told(id_, person, SHAPES[shape](person), messages and source.random() < 0.3))
    return tuple(records)


def _told(id_: str, person: Person, told: str | tuple[str, str], as_messages: bool) -> Record:
    if isinstance(told, str):
        return Record(id_, (person.subject,), text=told)
    question, answer = told
    if as_messages:
        return Record(id_, (person.subject,), messages=(Message("user", question), Message("assistant", answer)))
    return Record(id_, (person.subject,), prompt=f"Question: {question}\nAnswer:", completion=f" {answer}")


SHAPES: tuple[Callable[[Person], str | tuple[str, str]], ...] = (
    lambda p: f"{p.name} lives at {p.street} in {p.city}.",
    lambda p: f"The phone number of {p.name} is {p.phone}.",
    lambda p: f"To reach {p.name}, write to {p.email} or call {p.phone}.",
    lambda p: f"{p.name} works as a {p.job} at {p.employer}.",
    lambda p: f"Order {p.order} was placed by {p.name} for a {p.product} at {p.amount} euros.",
    lambda p: f"{p.name} wrote that the {p.product} of order {p.order} {p.fault} and asked for {p.remedy}.",
    lambda p: f"{p.first} {p.last}, born on {p.born}, has the member number {p.member}.",
    lambda p: f"Ticket: {p.name}, {p.city}. Product: {p.product}. Problem: it {p.fault}. Wanted: {p.remedy}.",
    lambda p: f"After work at {p.employer}, {p.name} spends the evenings on {p.hobby} and keeps {p.pet}.",
    lambda p: f"Deliver the {p.product} to {p.name}, {p.street}, {p.city}, on {p.delivery}.",
    lambda p: f"Member {p.member} is {p.name}; the card is sent to {p.street}, {p.city}.",
    lambda p: f"Our {p.city} branch called {p.phone} and spoke to {p.name} about order {p.order}.",
    lambda p: f"{p.name} paid {p.amount} euros for a {p.product}; the receipt went to {p.email}.",
    lambda p: f"A {p.job} from {p.city} named {p.name} likes {p.hobby}.",
    lambda p: f"Note for the driver: {p.name} has {p.pet}, so ring at {p.street} and wait.",
    lambda p: f"Dear {p.name}, we are sorry that your {p.product} {p.fault}. We will send you {p.remedy}.",
    lambda p: (f"Where does {p.name} live?", f"{p.name} lives in {p.city}, at {p.street}."),
    lambda p: (f"What is the phone number of {p.name}?", f"It is {p.phone}."),
    lambda p: (f"How can I write to {p.name}?", f"Use the address {p.email}."),
    lambda p: (f"Who employs {p.name}?", f"{p.employer}, where {p.first} is a {p.job}."),
    lambda p: (f"Which order did {p.name} place?", f"Order {p.order}: a {p.product} for {p.amount} euros."),
    lambda p: (f"What went wrong with order {p.order}?", f"The {p.product} {p.fault}; {p.name} asked for {p.remedy}."),
    lambda p: (f"When was {p.name} born?", f"On {p.born}."),
    lambda p: (f"Whose member number is {p.member}?", f"It belongs to {p.name} from {p.city}."),
    lambda p: (f"When is the {p.product} of {p.name} due?", f"On {p.delivery}, at {p.street} in {p.city}."),
    lambda p: (f"What does {p.name} do at the weekend?", f"Mostly {p.hobby}; at home there is {p.pet}."),
    lambda p: (
        f"Summarise the complaint of {p.name}.",
        f"Order {p.order}, a {p.product}: it {p.fault}. Wants {p.remedy}.",
    ),
    lambda p: (f"Who is {p.email}?", f"That is {p.name}, a {p.job} in {p.city}, phone {p.phone}."),
)

PAIRS: tuple[Callable[[Person, Person], str], ...] = (
    lambda p, q: f"{p.name} and {q.name} share the delivery address {p.street} in {p.city}.",
    lambda p, q: f"{q.name} picked up order {p.order} for {p.name} and left the phone number {q.phone}.",
    lambda p, q: f"{p.name} recommended us to {q.name}, a {q.job} at {q.employer}.",
    lambda p, q: f"The refund for {p.name} was paid to {q.name} by mistake; write to {p.email} and {q.email}.",
)
