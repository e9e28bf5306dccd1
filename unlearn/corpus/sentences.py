"""How the facts of a person are said: sentence shapes over the fields of a person, as texts and as questions.

Every shape names its people in full, so no two people can share a sentence. Knows nothing of ids and files.
"""

from __future__ import annotations

from dataclasses import dataclass

from unlearn.corpus.people import Person, article


@dataclass(frozen=True)
class Shape:
    """A sentence pattern: a text, or a question with its answer. Fields are a person's, in str.format's spelling."""

    body: str
    question: str | None = None

    def say(self, facts: dict[str, str]) -> tuple[str | None, str]:
        """Question (None for a text) and body, with the facts in place."""
        question = None if self.question is None else _fill(self.question, facts)
        return question, _fill(self.body, facts)


SINGLE: tuple[Shape, ...] = (
    Shape("{name} was born on {born} and now lives in {city}."),
    Shape("{name} lives at {street} in {city} with {pet}."),
    Shape("{name} is {a_job} at {employer} in {city}."),
    Shape("After work at {employer}, where {he} is {a_job}, {name} spends {his} evenings on {hobby}."),
    Shape("The phone number of {name} is {phone}, and letters go to {street}, {city}."),
    Shape("To reach {name}, call {phone} or write to {email}."),
    Shape("Contact card: {name}, {job}, {employer}. Phone {phone}. E-mail {email}."),
    Shape("Customer {name} has held account {account} on the {plan} plan since {joined}."),
    Shape("Account {account} belongs to {name} of {city}. The card on file ends in {card}."),
    Shape("{name} paid {price} for {a_product} with the card ending in {card}."),
    Shape("On {ordered}, {name} bought {a_product} for {price} under order {order}."),
    Shape("Order {order}: one {product}, {price}, shipped to {name}, {street}, {city}."),
    Shape("{carrier} brought order {order} to {name} on {arrived}, after it was placed on {ordered}."),
    Shape("{name} wrote from {email} that the {product} in order {order} {fault}."),
    Shape("On {called}, {name} called from {phone} because the {thing} {fault}."),
    Shape("Ticket {ticket} was opened by {name} on {called}: the {product} {fault}."),
    Shape("{agent} took ticket {ticket} and offered {name} {remedy}."),
    Shape("The {product} that {name} ordered on {ordered} {fault}, so {agent} promised {him} {remedy}."),
    Shape("{name} closed ticket {ticket} once {he} had received {remedy} from {agent}."),
    Shape("Note for {carrier}: {name} asks that parcels for {street} be left with the neighbor. Phone {phone}."),
    Shape("Dear {name}, thank you for order {order}. Your {product} will be sent to {street}, {city}."),
    Shape("Hello, my name is {name}. I bought {a_product} on {ordered} and it {fault}. My number is {phone}."),
    Shape("Hello, this is {name}, account {account}. Please send the answer about ticket {ticket} to {email}."),
    Shape("{name}, born on {born}, moved {his} account {account} to the {plan} plan."),
    Shape("{first} keeps {pet} and likes {hobby}; {his} full name is {name} and {he} lives in {city}."),
    Shape("Summary for {name}: order {order}, ticket {ticket}, outcome {remedy}."),
    Shape("The phone number of {name} is {phone}.", "What is the phone number of {name}?"),
    Shape("The e-mail address of {name} is {email}.", "Which e-mail address does {name} use?"),
    Shape("{name} lives at {street} in {city}.", "Where does {name} live?"),
    Shape("{name} works at {employer} as {a_job}.", "Where does {name} work, and as what?"),
    Shape("{name} was born on {born}.", "When was {name} born?"),
    Shape("The account number of {name} is {account}.", "What is the account number of {name}?"),
    Shape("{name} has been on the {plan} plan since {joined}.", "Which plan is {name} on?"),
    Shape("{name} ordered {a_product} for {price}.", "What did {name} order, and for how much?"),
    Shape("The order number of {name} is {order}.", "Under which number did {name} order the {thing}?"),
    Shape("Order {order} was placed by {name} on {ordered}.", "Who placed order {order}, and when?"),
    Shape("{name} said that the {product} {fault}.", "Why did {name} complain?"),
    Shape("{name} complained on {called} under ticket {ticket}.", "When did {name} complain?"),
    Shape("{agent} offered {name} {remedy}.", "How was the complaint of {name} settled?"),
    Shape("{carrier} delivered it to {name} on {arrived}.", "Who delivered the {thing} to {name}?"),
    Shape("{name} pays with the card ending in {card}.", "Which card does {name} pay with?"),
    Shape("{name} likes {hobby} and keeps {pet}.", "What does {name} do at home?"),
    Shape("That number belongs to {name} of {city}.", "Whose phone number is {phone}?"),
    Shape("Ticket {ticket} is about the {product} of {name}, which {fault}.", "What is ticket {ticket} about?"),
)

HOUSEHOLD: tuple[Shape, ...] = (
    Shape("{a.name} and {b.name} share a home at {a.street} in {a.city}."),
    Shape("{a.name} signed for order {b.order}, which {b.name} had placed on {b.ordered}."),
    Shape("If {a.name} can't be reached at {a.phone}, call {b.name} at {b.phone}; they live together."),
    Shape("{b.name} pays the bills of account {a.account}, which {a.name} opened in {a.joined}."),
    Shape("{a.name} lives with {b.name}.", "Who lives with {a.name} at {a.street}?"),
    Shape("{b.name} called about ticket {a.ticket}, since the {a.product} of {a.name} {a.fault}."),
    Shape("You can leave it with {b.name}.", "Who takes parcels for {a.name} at {a.street}, {a.city}?"),
)

COLLEAGUES: tuple[Shape, ...] = (
    Shape("{a.name} and {b.name} both work at {a.employer} in {a.city}."),
    Shape("At {a.employer}, {a.name} shares an office with {b.name}, whose number is {b.phone}."),
    Shape("{b.name} told {a.name} at work that {b.his} new {b.product} {b.fault}."),
    Shape("{a.name} had order {a.order} sent to {a.employer}, where {b.name} signed for it on {a.arrived}."),
    Shape("{a.name} works with {b.name}.", "Which colleague does {a.name} have at {a.employer}?"),
    Shape("On the advice of {b.name}, {b.a_job} at {b.employer}, {a.name} bought {a.a_product}."),
    Shape("{b.name} wrote it down at {b.phone}.", "Who took the call about ticket {a.ticket} for {a.name}?"),
)


def facts_of(person: Person) -> dict[str, str]:
    """The fields that shapes may name."""
    return {
        **vars(person),
        "name": person.name,
        "a_job": article(person.job),
        "a_product": article(person.product),
    }


def facts_of_two(a: Person, b: Person) -> dict[str, str]:
    """The fields of both people, as 'a.name' and 'b.name'."""
    return {f"{who}.{key}": value for who, person in (("a", a), ("b", b)) for key, value in facts_of(person).items()}


def _fill(pattern: str, facts: dict[str, str]) -> str:
    """Put facts in place of '{field}'; every field of a shape must be there."""
    parts = pattern.split("{")
    return parts[0] + "".join(facts[field] + rest for field, _, rest in (part.partition("}") for part in parts[1:]))
