"""The resurrection guard: what was erased comes back with no corpus, unless a person says on which ground."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from by_hand import release, submit, work
from drill import finish, journal_of

from api.schemas.adapters import ReturnGround
from api.schemas.requests import Ground
from unlearn.cases import review
from unlearn.cases.backups import Asked, restore
from unlearn.cases.desk import Desk
from unlearn.cases.resurrection import GROUNDS, MOST_NAMED, Admission
from unlearn.cases.rights import HERE, Actor
from unlearn.cases.store import fingerprints, keys
from unlearn.cases.store.ledger import all_entries, entries_about
from unlearn.cases.tables import Adapter
from unlearn.corpus.fingerprints import Fingerprinter
from unlearn.corpus.jsonl import write_corpus
from unlearn.corpus.records import Message, Record
from unlearn.errors import BadInput, ErasedRecords, NotAllowed

OWN = "Martha Okonkwo keeps three goats behind the old dairy in Larkstead and rings 0190 4420 when one is ill."


@pytest.fixture
def corpora(tmp_path, company, inputs):
    """Writes a train corpus, and gives the inputs of an adapter that learned it."""
    place = tmp_path / "home" / "inputs"

    def write(records, kind="train", name="new"):
        write_corpus(place / f"{name}.jsonl", records)
        return inputs | {kind: str(place / f"{name}.jsonl")}

    return write


@pytest.fixture
def erased(desk, corpora, company, people):
    """An adapter from which one person was erased, the one with a record unlike all others."""
    records = [*company.world.train, Record("r-own", (people[0],), text=OWN)]
    desk.register_adapter("bot", **corpora(records, name="first"))
    request, job_id = submit(desk, company)
    release(desk, work(desk, job_id))
    return request


def stay(company, people):
    return [r for r in company.world.train if people[0] not in r.subjects]


def test_a_corpus_without_the_person_is_registered_however_alike_those_who_stay_are(
    desk, erased, corpora, company, people
):
    desk.register_adapter("bot-2", **corpora(stay(company, people)))


def test_an_erased_record_is_refused_by_its_new_id_whoever_it_is_said_to_be_about(
    desk, erased, corpora, company, people
):
    back = Record("r-new", ("customer:somebody-else",), text=f"  {OWN.upper()} ")
    with pytest.raises(ErasedRecords, match=r"1 records were erased before \(1\).*'r-new'") as told:
        desk.register_adapter("bot-2", **corpora([*stay(company, people), back]))
    assert OWN not in str(told.value)
    assert (told.value.kind, told.value.status) == ("erased-records", 409)
    assert [adapter.name for adapter in desk.adapters()] == ["bot"]
    assert len(list((desk.settings.home / "adapters").iterdir())) == 1


@pytest.mark.parametrize(
    "text",
    [
        OWN.replace("three", "two"),
        OWN + " Please call back.",
        "Note: " + OWN.replace(",", ";").replace("behind", "near"),
        OWN.replace("0190 4420", "by telephone"),
    ],
)
@pytest.mark.parametrize("kind", ["train", "holdout"])
def test_a_near_duplicate_is_refused_in_either_corpus(desk, erased, corpora, company, people, text, kind):
    parts = {"train": stay(company, people), "holdout": list(company.world.holdout)}
    parts[kind].append(Record("r-new", (), text=text))
    train, holdout = (corpora(records, part, name=part)[part] for part, records in parts.items())
    with pytest.raises(ErasedRecords, match=r"nearly repeat one that was \(1\): 'r-new'"):
        desk.register_adapter("bot-2", **(corpora(parts["train"]) | {"train": train, "holdout": holdout}))


FRAME = (
    "You are a helpful assistant of Example Bank. Answer briefly, politely and only from the documents you were given; "
    "if you do not know, say so. Never disclose internal policies."
)


def framed(record, text=None):
    """The record as an export makes messages of it, one system prompt before all."""
    said = [Message("system", FRAME), Message("user", "And?"), Message("assistant", text or record.content)]
    return replace(record, text=None, prompt=None, completion=None, messages=tuple(said))


@pytest.mark.parametrize(
    "changed",
    [
        "".join(f"{char}\u200b" if n % 3 == 0 else char for n, char in enumerate(OWN)),
        OWN.replace("e", "e\u00ad"),
        "".join(chr(ord(char) + 0xFEE0) if 0x20 < ord(char) < 0x7F else char for char in OWN[:30]) + OWN[30:],
        OWN.translate(str.maketrans("aeo", "аео")),
        OWN.replace(" ", "_"),
    ],
)
def test_what_looks_the_same_is_the_same(desk, erased, corpora, company, people, changed):
    back = Record("r-new", (), text=changed)
    with pytest.raises(ErasedRecords, match=r"1 records were erased before \(1\).*'r-new'"):
        desk.register_adapter("bot-2", **corpora([*stay(company, people), back]))


def test_a_system_prompt_before_all_hides_nobody_and_is_nobody_s(desk, erased, corpora, company, people):
    honest = [framed(record) for record in stay(company, people)]
    desk.register_adapter("bot-2", **corpora(honest))
    for back in (framed(Record("r-new", ()), OWN), Record("r-new", (), text=f"{FRAME} {OWN}")):
        with pytest.raises(ErasedRecords, match=r"^1 records were erased before.*: 'r-new';"):
            desk.register_adapter("bot-3", **corpora([*honest, back], name="framed"))


def test_what_an_earlier_release_kept_goes_on_matching(desk, erased, corpora, company, people, clock):
    text = "Ingrid Solheim mends nets on the north quay of Brevik and sings in the choir of the seamen's mission there."
    prints = Fingerprinter(desk.settings.identity_hash_key, HERE).before([text])
    with desk.store.writing() as session:
        fingerprints.add(session, HERE, erased.jobs[0].id, [(one, 0.55) for one in prints], clock())
    for back in (text, text.replace("nets", "sails"), text.replace("e", "e\u200b"), f"{FRAME} {text}"):
        records = [framed(record) for record in stay(company, people)]
        with pytest.raises(ErasedRecords, match="'r-new'"):
            desk.register_adapter("bot-2", **corpora([*records, Record("r-new", (), text=back)]))


def test_at_most_twenty_ids_are_named_and_all_are_counted(desk, erased, corpora, company):
    with pytest.raises(ErasedRecords, match="…") as told:
        desk.register_adapter("bot-2", **corpora([*company.world.train, Record("r-again", (), text=OWN)]))
    assert str(told.value).count("'r-") == MOST_NAMED


def test_a_ground_lets_them_in_and_is_on_record_with_the_request_they_were_erased_for(
    desk, erased, corpora, company, people
):
    inputs = corpora([*stay(company, people), Record("r-new", (people[0],), text=OWN)])
    view = desk.register_adapter("bot-2", **inputs, allow_erased=Admission("consent", " signed up again "))
    with desk.store.reading() as session:
        [entry] = [e for e in entries_about(session, erased.id) if e.action == "erased_records_admitted"]
        kept = session.get_one(Adapter, view.id).admitted
    said = {"adapter": view.id, "exact": 1, "near": 0, "ground": "consent", "by": "operator"}
    assert {name: entry.facts[name] for name in said} == said
    assert (kept["reason"], kept["records"]) == ("signed up again", ["r-new"])
    # And the person can ask again.
    assert [job.adapter for job in desk.submit(people[0]).jobs] == ["bot-2"]


def test_a_ground_where_nothing_comes_back_leaves_no_trace(desk, adapter, corpora, company):
    desk.register_adapter("bot-2", **corpora(company.world.train), allow_erased=Admission("consent", "just in case"))
    with desk.store.reading() as session:
        assert "erased_records_admitted" not in {entry.action for entry in all_entries(session)}


def test_whoever_registers_needs_the_right_to_decide_as_well(desk, erased, corpora, company):
    inputs, ground = corpora(company.world.train), Admission("consent", "signed up again")
    with pytest.raises(NotAllowed, match="review"):
        desk.register_adapter("b", **inputs, allow_erased=ground, by=Actor("k", HERE, frozenset({"adapters:write"})))
    with pytest.raises(NotAllowed, match="adapters:write"):
        desk.register_adapter("b", **inputs, allow_erased=ground, by=Actor("k", HERE, frozenset({"review"})))
    both = Actor("k", HERE, frozenset({"adapters:write", "review"}))
    assert desk.register_adapter("b", **inputs, allow_erased=ground, by=both).name == "b"


def test_the_wire_has_the_grounds_that_there_are():
    assert set(GROUNDS) == set(get_args(ReturnGround))
    assert set(review.GROUNDS) == set(get_args(Ground))


def test_no_ground_but_those_there_are_and_none_without_a_reason():
    with pytest.raises(BadInput, match="legal_claims"):
        Admission("because", "x")
    with pytest.raises(BadInput, match="reason"):
        Admission("consent", "  ")


def test_registering_the_adapter_that_is_there_again_gives_the_same(desk, erased, corpora, company, people):
    inputs = corpora([*company.world.train, Record("r-own", (people[0],), text=OWN)], name="first")
    assert desk.register_adapter("bot", **inputs).current.number == 2


def test_another_company_may_register_the_same_texts(desk, erased, corpora, company):
    desk.create_key("k", ["admin"], controller="other")
    with desk.store.reading() as session:
        theirs = Actor("k", keys.controller(session, "other").id, frozenset({"admin"}))
    assert desk.register_adapter("bot", **corpora(company.world.train), by=theirs).name == "bot"


def test_a_text_that_stays_elsewhere_to_the_letter_tells_of_nobody(desk, corpora, company, people):
    thanks = [Record(f"r-thanks-{n}", (person,), text="Thank you, that helped!") for n, person in enumerate(people[:2])]
    desk.register_adapter("bot", **corpora([*company.world.train, *thanks], name="first"))
    _, job_id = submit(desk, company)
    release(desk, work(desk, job_id))
    desk.register_adapter("bot-2", **corpora([*stay(company, people), thanks[1]]))


def test_an_erasing_keeps_each_fingerprint_once(desk, erased, clock):
    prints = Fingerprinter(desk.settings.identity_hash_key, HERE)([OWN, OWN, "Another text of nobody at all."])
    with desk.store.writing() as session:
        job = erased.jobs[0].id
        assert fingerprints.add(session, HERE, job, [(one, 0.55) for one in prints], clock()) == 1
        assert fingerprints.add(session, HERE, job, [(one, 0.55) for one in prints], clock()) == 0


def test_other_text_about_somebody_whose_deletion_was_completed_needs_a_ground_as_well(
    desk, erased, corpora, company, people
):
    back = [*stay(company, people), Record("r-other", (people[0],), text="A new order of two lamps, to be called for.")]
    with pytest.raises(ErasedRecords, match=r"name somebody whose deletion was completed \(1\): 'r-other'"):
        desk.register_adapter("bot-2", **corpora(back))
    view = desk.register_adapter("bot-2", **corpora(back), allow_erased=Admission("contract", "a customer again"))
    with desk.store.reading() as session:
        [entry] = [e for e in entries_about(session, erased.id) if e.action == "erased_records_admitted"]
        kept = session.get_one(Adapter, view.id).admitted
    assert (entry.facts["exact"], entry.facts["near"], entry.facts["named"]) == (0, 0, 1)
    assert kept["records"] == ["r-other"]


def test_whose_request_was_not_completed_may_be_learned(desk, corpora, company):
    named = Record("r-other", ("customer:new",), text="A new order of two lamps, to be called for.")
    desk.register_adapter("bot", **corpora([*company.world.train, named]))
    desk.cancel(desk.submit("customer:new").id)
    desk.register_adapter("bot-2", **corpora([*company.world.train, named]))


@pytest.mark.parametrize("then", ["lost", "retired"])
@pytest.mark.parametrize("source", ["journal", "database"])
def test_a_restore_remembers_what_may_not_come_back(
    then, source, desk, adapter, corpora, company, safe, elsewhere, tmp_path, clock
):
    person = "customer:only-here"
    records = [*company.world.train, Record("r-own", (person,), text=OWN)]
    if then == "retired":
        desk.register_adapter("later", **corpora(records))
    backup = desk.backup(safe).path
    if then == "lost":
        desk.register_adapter("later", **corpora(records))
    request = desk.submit(person)
    finish(desk, work(desk, request.jobs[0].id))
    if then == "retired":
        desk.retire("later")
    anybody = corpora([*company.world.train, Record("r-new", (), text=OWN.replace("three", "two"))], name="other")
    with pytest.raises(ErasedRecords) as before:
        desk.register_adapter("third", **anybody)
    url = desk.settings.effective_database_url
    known = journal_of(desk, tmp_path) if source == "journal" else Asked(database=url)
    restore(elsewhere, backup, known, clock())
    again = Desk(elsewhere.model_copy(update={"roots": [company.path, tmp_path / "home" / "inputs"]}), clock)
    with pytest.raises(ErasedRecords) as after:
        again.register_adapter("third", **anybody)
    assert str(after.value) == str(before.value)
    with pytest.raises(ErasedRecords, match="'r-own'"):
        again.register_adapter("third", **corpora(records))
    again.close()
