"""Verification: a whole bundle holds, and each way in which one may not is told by its own check and message."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import unlearn
from dossiers import (
    ABOUT,
    FACTS,
    JOB,
    NEW,
    OLD,
    REPORT,
    REQUEST,
    Ledger,
    bundle,
    dossier,
    edited,
    predicate_of,
    resigned,
    signer,
    trusted,
)
from unlearn.evidence.anchored import Published
from unlearn.evidence.container import pack, unpack
from unlearn.evidence.dsse import seal
from unlearn.evidence.ledger import new_entry, report_digest
from unlearn.evidence.refusal import NotVerified
from unlearn.evidence.statement import spelled
from unlearn.evidence.trust import TrustedKey
from unlearn.evidence.verify import verify

WHOLE = bundle()
CHECKS = [
    "container",
    "signature",
    "files",
    "statement",
    "checkpoint",
    "inclusion",
    "numbers",
    "times",
    "key",
    "consistency",
    "witness",
    "story",
    "certificate",
    "word",
    "adapter",
]


LATER = REQUEST | {"completed_at": "2026-03-01T10:10:00.000Z"}


def refused(data: bytes, keys=None, **more) -> tuple[str, str]:
    with pytest.raises(NotVerified) as told:
        list(verify(data, keys or trusted(), **more))
    return told.value.check, str(told.value)


def lines(change):
    """A change of the ledger's lines, parsed."""

    def run(data: bytes) -> bytes:
        told = change([json.loads(line) for line in data.splitlines()])
        return "".join(json.dumps(one, sort_keys=True) + "\n" for one in told).encode()

    return run


def of_facts(facts, about=ABOUT, **more):
    """A bundle of a ledger with other facts."""
    return bundle(dossier(Ledger(facts, about=about), about=about, **more))


def replaced(place, action, facts):
    return [*FACTS[:place], (action, facts), *FACTS[place + 1 :]]


def test_a_whole_bundle_passes_every_check_in_its_order():
    checks = list(verify(WHOLE, trusted()))
    assert [check.name for check in checks] == CHECKS
    assert [check.name for check in checks if not check.made] == ["consistency", "witness", "word", "adapter"]


def test_the_same_state_gives_the_same_bytes():
    assert bundle(dossier(Ledger())) == WHOLE


def test_a_key_without_a_name_and_one_of_several_will_do():
    bare = TrustedKey(None, signer().public.raw)
    assert len(list(verify(WHOLE, [bare]))) == len(CHECKS)
    assert len(list(verify(WHOLE, [*trusted(signer(b"o")), *trusted()]))) == len(CHECKS)


@given(st.data())
def test_one_byte_of_any_file_is_found_by_the_check_of_that_file(data):
    files = unpack(WHOLE)
    name = data.draw(st.sampled_from(sorted(name for name in files if files[name])))
    changed = bytearray(files[name])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    check, message = refused(pack(files | {name: bytes(changed)}))
    assert check in ({"signature", "payload type"} if name == "statement.dsse.json" else {"files"})
    assert name in message or check == "payload type"


def test_files_that_are_missing_added_or_swapped_are_named():
    files = unpack(WHOLE)
    for name in files:
        check, message = refused(pack({other: data for other, data in files.items() if other != name}))
        assert (check, name in message) == ("signature" if name == "statement.dsse.json" else "files", True)
    assert "'new.txt' is in the zip, and the manifest does not list it" in refused(pack(files | {"new.txt": b""}))[1]
    swapped = files | {"request.json": files["README.txt"], "README.txt": files["request.json"]}
    assert refused(pack(swapped))[0] == "files"


def test_the_statement_of_another_bundle_does_not_fit():
    other = bundle(dossier(request=REQUEST | {"submitted_by": "key:2"}))
    mixed = unpack(WHOLE) | {"statement.dsse.json": unpack(other)["statement.dsse.json"]}
    assert refused(pack(mixed)) == ("files", "manifest.json is not the one that was signed: its SHA-256 differs")


def test_a_wrong_key_another_deployments_and_one_out_of_use_are_told_apart():
    assert "under another key" in refused(WHOLE, trusted(signer(b"o")))[1]
    assert "another deployment" in refused(WHOLE, trusted(signer(b"o", "other.example/ledger")))[1]
    assert "another deployment" in refused(resigned(unpack(WHOLE), signer(b"k", "other.example/x")))[1]
    retired = [TrustedKey(trusted()[0].name, trusted()[0].raw, datetime.fromisoformat("2026-03-01T10:05:00Z"))]
    check, message = refused(WHOLE, retired)
    assert check == "key"
    assert "was retired at 2026-03-01T10:05:00+00:00" in message
    later = [TrustedKey(trusted()[0].name, trusted()[0].raw, datetime.fromisoformat("2026-03-01T10:09:00Z"))]
    assert list(verify(WHOLE, later))


def test_a_key_that_the_ledger_itself_retired_signs_no_more():
    retired = ("ledger_key_retired", {"ledger_key": signer().public.text})
    data = of_facts(replaced(1, *retired), about=(2, *ABOUT))
    check, message = refused(data)
    assert (check, "entry 2" in message) == ("key", True)
    other = ("ledger_key_retired", {"ledger_key": signer(b"o").public.text})
    assert list(verify(of_facts(replaced(1, *other), about=(2, *ABOUT)), trusted()))


def test_a_key_that_the_ledger_never_took_into_use_is_refused():
    check, message = refused(of_facts(replaced(0, "ledger_converted", {"entries": 0})))
    assert (check, "no entry by which the ledger took the key" in message) == ("key", True)


def test_a_checkpoint_of_another_ledger_is_refused_though_a_trusted_key_signed_it():
    theirs = Ledger(who=signer(b"o", "other.example/ledger"))
    files = unpack(WHOLE) | {"ledger/checkpoint.txt": theirs.checkpoint(9).encode()}
    both = [*trusted(), *trusted(theirs.signer)]
    assert refused(resigned(files), both)[0] == "checkpoint"
    assert refused(resigned(files))[0] == "checkpoint"


def test_an_entry_edited_moved_or_given_anothers_proof_is_found_though_the_statement_was_signed_anew():
    def rehashed(told):
        one = told[4]
        facts = one["facts"] | {"verdict": "refused"}
        return [*told[:4], one | new_entry(one["seq"], one["at"], one["action"], facts).as_json(), *told[5:]]

    def swapped(told):
        told[1]["path"], told[2]["path"] = told[2]["path"], told[1]["path"]
        return told

    for change, said in (
        (lambda told: [told[0], told[1] | {"at": "2026-03-01T10:02:00.001Z"}, *told[2:]], "entry 3 was edited"),
        (rehashed, "entry 7 is not in the ledger"),
        (lambda told: [told[1], told[0], *told[2:]], "entries were moved"),
        (swapped, "entry 3 is not in the ledger"),
        (lambda told: [told[0] | {"path": []}, *told[1:]], "too short"),
        (lambda told: told[:-1], "not those that the statement lists"),
        (lambda told: [told[0] | {"path": ["zz"]}, *told[1:]], "not laid out"),
        (lambda told: [told[0] | {"more": 1}, *told[1:]], "not laid out"),
    ):
        files = edited(WHOLE, "ledger/entries.jsonl", lines(change))
        check, message = refused(resigned(files))
        assert check == "inclusion"
        assert said in message


def test_an_entry_that_is_left_out_leaves_a_gap_though_the_story_is_whole_without_it():
    facts = [*FACTS[:5], ("attempt_started", {"job": "job_1"}), ("attempt_failed", {"job": "job_1"}), *FACTS[5:]]
    about = (3, 4, 6, 7, 8, 9, 10, 11)
    whole = dossier(Ledger(facts, about=about), size=11, about=about, request=LATER)
    assert len(list(verify(bundle(whole), trusted()))) == len(CHECKS)
    without = dossier(Ledger(facts, about=about), size=11, about=(3, 4, 8, 9, 10, 11), request=LATER)
    check, message = refused(bundle(without))
    assert (check, "entry 8 has 4 before it about request req_1, and the bundle has 2" in message) == ("numbers", True)


def test_no_other_entry_takes_the_place_of_one_that_is_left_out():
    ledger = Ledger()
    check, message = refused(bundle(dossier(ledger, about=(3, 5, 6, 7, 8, 9))))
    assert (check, message) == ("numbers", "entry 5 is not one about request req_1: it has no number")


def test_an_end_that_is_left_out_differs_from_what_the_statement_says():
    cut = dossier(Ledger(), about=ABOUT[:-1])
    assert refused(bundle(cut))[0] == "story"
    ledger = predicate_of(bundle(cut))["ledger"] | {"about_request": 6}
    assert refused(resigned(unpack(bundle(cut)), ledger=ledger)) == (
        "numbers",
        "the statement says that 6 entries are about the request; the bundle has 5",
    )


def test_entries_from_before_they_were_numbered_are_counted_by_those_behind_them():
    def of_half(facts, about):
        return bundle(dossier(Ledger(facts, about=()), about=about))

    [found] = [check for check in verify(of_half(FACTS, ABOUT), trusted()) if check.name == "numbers"]
    assert (found.made, "from before they were numbered" in found.said) == (False, True)
    half = [*FACTS[:6], *((action, facts | {"nth": {"req_1": i}}) for i, (action, facts) in enumerate(FACTS[6:9], 3))]
    assert [one.made for one in verify(of_half(half, ABOUT), trusted()) if one.name == "numbers"] == [True]
    assert refused(of_half(half, (3, 6, 7, 8, 9)))[0] == "numbers"


def test_a_story_that_lacks_a_part_is_found_though_everything_is_signed():
    without = {
        3: "the beginning is missing",
        6: "before an attempt of it began",
        7: "before there was a verdict",
        8: "the ledger has no release, and the statement says one",
        9: "the ledger's last word on it is no entry",
    }
    for seq, said in without.items():
        check, message = refused(bundle(dossier(about=[one for one in ABOUT if one != seq])))
        assert (check, said in message) == ("story", True), message


@pytest.mark.parametrize(
    ("place", "action", "facts", "said"),
    [
        (6, "verdict", FACTS[6][1] | {"verdict": "refused"}, "not that of its report"),
        (6, "verdict", FACTS[6][1] | {"findings": {}}, "not that of its report"),
        (7, "version_released", FACTS[7][1] | {"sha256": OLD}, "releases version 2 with SHA-256 aaaa"),
        (7, "version_released", FACTS[7][1] | {"version": 3}, "releases version 3"),
        (2, "request_accepted", {"request": "req_2"}, "of another request"),
        (2, "request_accepted", {"request": "req_1", "subject": "d" * 64}, "of another person"),
        (8, "request_needs_review", {"request": "req_1"}, "said to be completed"),
        (5, "attempt_failed", {"job": "job_1"}, "before an attempt of it began"),
    ],
)
def test_a_ledger_that_tells_another_story_than_the_statement_is_found(place, action, facts, said):
    check, message = refused(of_facts(replaced(place, action, facts)))
    assert check == "story"
    assert said in message


def test_a_release_against_the_gates_takes_a_persons_decision():
    report = REPORT | {"verdict": "refused"}
    verdict = ("verdict", FACTS[6][1] | {"verdict": "refused"})
    facts = [*FACTS[:6], verdict, *FACTS[7:]]
    job = JOB | {"report": report}
    short = REQUEST | {"jobs": [REQUEST["jobs"][0] | {"verdict": "refused"}]}
    assert "nobody decided so" in refused(of_facts(facts, job=job, request=short))[1]
    decided = [*facts[:7], ("request_released_by_decision", {"request": "req_1", "by": "key:2"}), *facts[7:]]
    reason = REQUEST | {"decision": {"kind": "released", "reason": "agreed with the DPO", "by": "key:2"}}
    data = of_facts(decided, job=job, about=(3, 4, 6, 7, 8, 9, 10), size=10, request=reason)
    assert len(list(verify(data, trusted()))) == len(CHECKS)
    [decision] = predicate_of(data)["decisions"]
    assert (decision["action"], decision["reason"]) == ("request_released_by_decision", "agreed with the DPO")
    assert predicate_of(data)["jobs"][0]["verdict"] == "refused"


def test_a_person_whom_the_tests_refused_alone_is_released_by_a_decision_or_not_at_all():
    own = [{"gate": "membership", "outcome": "fail"}]
    alone = {"job": "job_1", "request": "req_1", "verdict": "refused", "findings": {"membership": "fail"}}
    facts = [*FACTS[:7], ("verdict_alone", alone), *FACTS[7:]]
    shared = REQUEST | {"jobs": [REQUEST["jobs"][0] | {"verdict": "refused", "findings": own}]}
    data = of_facts(facts, about=(*ABOUT, 10), size=10, request=shared)
    assert "did not pass and nobody decided so" in refused(data)[1]
    decided = [*facts[:9], ("request_released_by_decision", {"request": "req_1", "by": "key:2"}), *facts[9:]]
    data = of_facts(decided, about=(*ABOUT, 10, 11), size=11, request=shared)
    assert list(verify(data, trusted()))
    other = REQUEST | {"jobs": [REQUEST["jobs"][0] | {"findings": [{"gate": "membership", "outcome": "pass"}]}]}
    data = of_facts(decided, about=(*ABOUT, 10, 11), size=11, request=other)
    assert "on this person alone" in refused(data)[1]


def test_a_completion_before_the_release_is_found():
    facts = [*FACTS[:7], FACTS[8], FACTS[7], FACTS[9]]
    assert "completes the request before entry 9 releases" in refused(of_facts(facts))[1]


def test_clocks_that_were_apart_are_told_and_a_few_minutes_are_not():
    times = [f"2026-03-01T10:{i:02}:00.000Z" for i in range(10)]
    times[6] = "2026-03-01T09:59:00.000Z"
    check, message = refused(bundle(dossier(Ledger(times=times))))
    assert check == "times"
    assert "entry 7 is of 2026-03-01T09:59" in message
    times[6] = "2026-03-01T10:01:00.000Z"
    assert list(verify(bundle(dossier(Ledger(times=times))), trusted()))


def test_a_statement_that_says_other_than_the_files_is_found():
    predicate = predicate_of(WHOLE)
    for change in (
        {"request": predicate["request"] | {"state": "rejected"}},
        {"jobs": []},
        {"jobs": [predicate["jobs"][0] | {"after": {"number": 2, "sha256": OLD}}]},
        {"jobs": [predicate["jobs"][0] | {"method": "ascent"}]},
        {"jobs": [predicate["jobs"][0] | {"verdict": "refused"}]},
        {"jobs": [predicate["jobs"][0] | {"findings": []}]},
        {"jobs": [predicate["jobs"][0] | {"metrics": {"before": {}, "after": {"forget_nll_nats": 9.0}}}]},
        {"clock": predicate["clock"] | {"received_at": "2026-03-02T10:00:00.000Z"}},
        {"jobs": 7},
    ):
        assert refused(resigned(unpack(WHOLE), **change))[0] == "statement"
    invented = {"seq": 9, "at": "2026-03-01T10:08:00.000Z", "action": "version_purged", "facts": {}}
    assert refused(resigned(unpack(WHOLE), purged=[invented]))[0] == "story"
    decided = invented | {"action": "request_held", "reason": None}
    assert refused(resigned(unpack(WHOLE), decisions=[decided]))[0] == "story"
    assert refused(resigned(unpack(WHOLE), decisions=[invented]))[0] == "statement"
    assert refused(resigned(unpack(WHOLE), decisions=7))[0] == "statement"
    ledger = predicate["ledger"] | {"size": 8}
    assert refused(resigned(unpack(WHOLE), ledger=ledger))[0] == "checkpoint"
    report = json.dumps(REPORT | {"adapter": {"before_sha256": OLD, "after_sha256": OLD}}).encode()
    assert refused(resigned(unpack(WHOLE) | {"jobs/job_1/report.json": report}))[0] == "statement"


def consistency(data, note):
    return [check for check in verify(data, trusted(), Published(note)) if check.name == "consistency"]


@pytest.mark.parametrize(
    ("size", "newer"),
    [(0, "entries 1 to 9 are"), (2, "entries 3 to 9 are"), (5, "entries 6 to 9 are"), (8, "entry 9 is")],
)
def test_a_published_checkpoint_that_is_older_than_the_entries_is_told_and_does_not_count(size, newer):
    ledger = Ledger()
    data = bundle(dossier(ledger, earlier={size: ledger.since(size, 9)}))
    [found] = consistency(data, ledger.checkpoint(size))
    assert (
        found.made,
        f"of {size} entries, is older than what is to be shown: {newer} newer than it" in found.said,
    ) == (
        False,
        True,
    )


def test_a_published_checkpoint_need_not_have_what_came_behind_the_last_entry():
    ledger = Ledger()
    made = dossier(ledger, 10, earlier={9: ledger.since(9, 10)})
    assert [found.made for found in consistency(bundle(made), ledger.checkpoint(9))] == [True]


def test_one_ledger_is_told_from_a_rewritten_one_by_a_published_checkpoint():
    ledger = Ledger()
    [found] = consistency(WHOLE, ledger.checkpoint(9))
    assert (found.made, found.said) == (True, "the same ledger as the published checkpoint of 9 entries")
    later = {"9": [one.hex() for one in ledger.since(9, 10)]}
    assert list(verify(WHOLE, trusted(), Published(ledger.checkpoint(10), later)))
    rewritten = bundle(dossier(Ledger(replaced(1, "key_created", {"key": "other"}))))
    assert list(verify(rewritten, trusted()))
    for size in (2, 5, 9):
        check, message = refused(rewritten, published=Published(ledger.checkpoint(size)))
        assert (check, "rewritten" in message) == ("consistency", True)


def test_a_published_checkpoint_that_does_not_go_with_the_bundle_says_what_does():
    ledger, other = Ledger(), Ledger(who=signer(b"o", "other.example/ledger"))
    assert "older than the bundle's" in refused(WHOLE, published=Published(ledger.checkpoint(4)))[1]
    assert "is later than the bundle's" in refused(WHOLE, published=Published(ledger.checkpoint(10)))[1]
    both = [*trusted(), *trusted(other.signer)]
    message = refused(WHOLE, both, published=Published(other.checkpoint(9)))[1]
    assert "of ledger 'other.example/ledger', the bundle of" in message
    assert refused(WHOLE, published=Published(other.checkpoint(9)))[0] == "consistency"
    assert refused(WHOLE, published=Published("no note"))[0] == "consistency"
    wrong = Published(ledger.checkpoint(10), {"9": ["00" * 32]})
    assert refused(WHOLE, published=wrong)[0] == "consistency"


def test_the_adapter_that_serves_is_the_one_that_was_released(tmp_path):
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(b"new")
    digest = hashlib.sha256(b"new").hexdigest()
    text = json.dumps(REPORT).replace(NEW, digest)
    facts = [(action, json.loads(json.dumps(one).replace(NEW, digest))) for action, one in FACTS]
    made = dossier(Ledger(facts), job=JOB | {"report": json.loads(text)})
    works = [replace(work, after={"number": 2, "sha256": digest}) for work in made.works]
    data = bundle(replace(made, works=works))
    *_, last = verify(data, trusted(), adapter=tmp_path)
    assert (last.name, last.made) == ("adapter", True)
    assert "as released; its adapter_config.json was not noted then" in last.said
    weights.write_bytes(b"else")
    assert "none of the versions" in refused(data, adapter=tmp_path)[1]
    assert "has no adapter_model.safetensors" in refused(data, adapter=tmp_path / "nowhere")[1]


def test_another_config_than_the_ledger_released_is_a_contradiction():
    made = dossier()
    works = [replace(work, after={"number": 2, "sha256": NEW, "config_sha256": "e" * 64}) for work in made.works]
    check, message = refused(bundle(replace(made, works=works)))
    assert (check, "releases another adapter_config.json" in message) == ("story", True)


def test_the_old_version_is_told_from_the_released_one(tmp_path):
    (tmp_path / "adapter_model.safetensors").write_bytes(b"old")
    digest = hashlib.sha256(b"old").hexdigest()
    report = json.loads(json.dumps(REPORT).replace(OLD, digest))
    made = dossier(job=JOB | {"report": report})
    works = [replace(work, before={"number": 1, "sha256": digest}) for work in made.works]
    assert "the one from before" in refused(bundle(replace(made, works=works)), adapter=tmp_path)[1]


def test_a_request_that_nobody_knew_verifies_too():
    facts = [FACTS[0], FACTS[2], ("request_completed", {"request": "req_1", "adapters_searched": 2})]
    request = REQUEST | {"jobs": [], "completed_at": "2026-03-01T10:02:00.000Z"}
    made = dossier(Ledger(facts, about=(2, 3)), size=3, about=(2, 3), request=request, works=[], earlier={})
    data = bundle(made)
    assert len(list(verify(data, trusted()))) == len(CHECKS)
    assert predicate_of(data)["searched"] == {"adapters_searched": 2}


def with_fact(action, **more):
    return [(one, facts | more if one == action else facts) for one, facts in FACTS]


def test_figures_that_were_changed_behind_the_verdict_are_found_though_all_is_signed_anew():
    true = Ledger(with_fact("verdict", report_sha256=report_digest(REPORT)))
    assert len(list(verify(bundle(dossier(true)), trusted()))) == len(CHECKS)
    worse = REPORT | {"after": REPORT["after"] | {"forget_nll_nats": 99.0}}
    lying = dossier(true, job=JOB | {"report": worse})
    assert "is not the one that the verdict" in refused(bundle(lying))[1]


@pytest.mark.parametrize("key", ["received_at", "due_at"])
def test_a_clock_that_was_set_back_in_the_database_is_found(key):
    true = Ledger(with_fact("request_accepted", received_at=REQUEST["received_at"], due_at=REQUEST["due_at"]))
    assert len(list(verify(bundle(dossier(true)), trusted()))) == len(CHECKS)
    lying = dossier(true, request=REQUEST | {key: "2026-03-20T10:00:00.000Z"})
    assert refused(bundle(lying))[0] == "story"


def test_a_request_completed_another_day_than_the_ledger_says_is_found():
    assert (
        "of completed_at" in refused(bundle(dossier(request=REQUEST | {"completed_at": "2026-02-28T10:08:00.000Z"})))[1]
    )


@pytest.mark.parametrize("ended", ["attempt_failed", "attempt_interrupted"])
def test_a_request_is_not_completed_by_a_job_that_came_to_nothing(ended):
    facts = [*FACTS[:6], (ended, {"job": "job_1"}), FACTS[8]]
    request = REQUEST | {"completed_at": "2026-03-01T10:07:00.000Z"}
    request["jobs"] = [REQUEST["jobs"][0] | {"state": "failed", "verdict": None}]
    job = JOB | {"state": "failed", "verdict": None, "report": None}
    about = (3, 4, 6, 7, 8)
    made = dossier(Ledger(facts, about=about), size=8, about=about, request=request, job=job)
    made = replace(made, works=[replace(work, after=None) for work in made.works])
    assert "did not pass and nobody decided so" in refused(bundle(made))[1]


def test_a_statement_of_another_type_is_not_read():
    files = unpack(WHOLE)
    statement = json.loads(base64.b64decode(json.loads(files["statement.dsse.json"])["payload"]))
    sealed = seal(spelled(statement | {"predicateType": "https://slsa.dev/provenance/v1"}), signer())
    check, message = refused(pack(files | {"statement.dsse.json": sealed}))
    assert (check, "slsa" in message) == ("statement", True)


def test_verifying_loads_no_torch_no_database_and_opens_no_connection(tmp_path):
    (tmp_path / "b.zip").write_bytes(WHOLE)
    (tmp_path / "ledger.pub").write_text(signer().public.text + "\n")
    script = """
import socket, sys
def no(*_): raise AssertionError("a connection")
socket.socket.connect = socket.getaddrinfo = no
sys.argv = ["unlearn", "verify", "b.zip", "--key", "ledger.pub"]
from unlearn.cli.app import main
try:
    main()
except SystemExit as end:
    code = end.code
loaded = {"torch", "transformers", "sqlalchemy", "mlflow", "fastapi"} & set(sys.modules)
sys.exit(f"loaded {loaded}" if loaded else code)
"""
    here = os.environ | {"PYTHONPATH": str(Path(unlearn.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=here, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "b.zip: verified" in done.stdout
