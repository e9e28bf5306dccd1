"""A register and the signed statement beside it: what verifies, and by which check another one is refused."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from dossiers import ABOUT, FACTS, REGISTER, TAKEN, Ledger, bundle, sealed_register, signer, trusted
from unlearn.evidence.anchored import Published
from unlearn.evidence.checkpoint import cosign_note
from unlearn.evidence.container import unpack
from unlearn.evidence.dsse import seal
from unlearn.evidence.refusal import NotVerified
from unlearn.evidence.registered import verify_register
from unlearn.evidence.statement import spelled
from witnesses import ALICE, SEEN

ALL = [
    *("signature", "register", "checkpoint", "inclusion", "times", "key"),
    *("consistency", "witness", "entry", "word"),
]


LEDGER = Ledger([*FACTS, ("register_made", TAKEN)], about=ABOUT)


@pytest.fixture
def register(tmp_path):
    path = tmp_path / "of-2026.csv"
    path.write_bytes(REGISTER)
    return path


def checks(register, envelope=None, keys=None, **more):
    return list(verify_register(register, envelope or sealed_register(), keys or trusted(), **more))


def refused(register, envelope=None, keys=None, **more):
    with pytest.raises(NotVerified) as failed:
        checks(register, envelope, keys, **more)
    return failed.value.check, str(failed.value)


def test_a_register_verifies_with_its_statement_under_whatever_name_it_has(register):
    made = checks(register)
    assert [check.name for check in made] == ALL
    assert [check.name for check in made if not check.made] == ["consistency", "witness", "word"]
    told = {check.name: check.said for check in made}
    assert "2 requests received from 2026-01-01 to 2026-12-31, as of 2026-03-01" in told["register"]
    assert "entry 11" in told["entry"]
    assert "exported by key:1, of company ctl_1" in told["entry"]


def test_another_byte_another_register_and_other_rows_are_refused(register):
    register.write_bytes(REGISTER.replace(b"req_2", b"req_3"))
    assert refused(register)[0] == "register"
    register.write_bytes(REGISTER)
    assert "has 2 rows, and the statement says 3" in refused(register, sealed_register(TAKEN | {"rows": 3}))[1]
    other = sealed_register(TAKEN | {"sha256": hashlib.sha256(b"").hexdigest()})
    assert refused(register, other)[0] == "register"


def test_a_register_of_lines_is_counted_by_its_lines(register):
    lines = b'{"request": "req_1"}\n'
    register.write_bytes(lines)
    facts = TAKEN | {"format": "jsonl", "rows": 1, "sha256": hashlib.sha256(lines).hexdigest()}
    assert [check.name for check in checks(register, sealed_register(facts))] == ALL


def test_another_key_and_a_bundles_statement_are_refused(register):
    assert refused(register, sealed_register(who=signer(b"o")))[0] == "signature"
    check, message = refused(register, b"{}")
    assert (check, message.startswith("of-2026.csv.dsse.json: it is no DSSE envelope")) == ("signature", True)
    assert refused(register, unpack(bundle())["statement.dsse.json"])[0] == "statement"


def said(path, value):
    """A change of one field of the predicate."""

    def change(statement):
        part = statement["predicate"]
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = value
        return statement

    return change


@pytest.mark.parametrize(
    ("path", "value", "check"),
    [
        (("register", "to"), "2026-06-30", "entry"),
        (("register", "by"), "key:2", "entry"),
        (("register", "adapter_name"), "bot", "entry"),
        (("register", "format"), "jsonl", "register"),
        (("issued", "at"), "2026-03-02T00:00:00Z", "entry"),
        (("issued", "key"), "00000000", "entry"),
        (("ledger", "size"), 12, "checkpoint"),
        (("ledger", "entries"), [11], "inclusion"),
        (("proof", "entries"), [], "inclusion"),
        (("proof", "entries", 1, "facts", "rows"), 3, "inclusion"),
        (("proof", "entries", 1, "path"), [], "inclusion"),
        (("proof", "checkpoint"), "", "checkpoint"),
        (("proof",), None, "inclusion"),
    ],
)
def test_whoever_has_the_key_can_not_say_otherwise_than_the_ledger(register, path, value, check):
    assert refused(register, sealed_register(change=said(path, value)))[0] == check


def test_an_export_that_the_ledger_has_no_entry_of_is_refused(register):
    assert refused(register, sealed_register(entries=(1,)))[0] == "entry"
    assert refused(register, sealed_register(entries=(1, 10)))[0] == "entry"
    assert refused(register, sealed_register(entries=(1, 10, 11)))[0] == "entry"
    assert refused(register, sealed_register(entries=(11,)))[0] == "key"


def test_a_published_checkpoint_and_a_witness_count_as_they_do_for_a_bundle(register):
    def consistency(size):
        return [
            check.made
            for check in checks(register, published=Published(LEDGER.checkpoint(size)))
            if check.name == "consistency"
        ]

    assert (consistency(11), consistency(5)) == ([True], [False])
    rewritten = Ledger([("key_created", {"key": "0"})] * 11)
    assert refused(register, published=Published(rewritten.checkpoint(5)))[0] == "consistency"
    assert refused(register, witnesses=[ALICE.public])[0] == "witness"
    seen = {size: Published(cosign_note(LEDGER.checkpoint(size), ALICE, SEEN)) for size in (5, 11)}
    assert "witness" in [one.name for one in checks(register, published=seen[11], witnesses=[ALICE.public]) if one.made]
    assert "saw the ledger when it had 5 entries" in refused(register, published=seen[5], witnesses=[ALICE.public])[1]


def test_an_entry_from_after_now_is_told(register):
    times = next(one for one in checks(register, now=datetime(2026, 1, 1, tzinfo=UTC)) if one.name == "times")
    assert "after now" in times.said


def test_the_statement_is_the_same_bytes_from_the_same_state():
    assert sealed_register() == sealed_register()
    assert seal(spelled({"a": 1}), signer()) != sealed_register()
