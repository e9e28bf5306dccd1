"""A bundle that somebody who has the ledger's key signed anew: what it may not say, the ledger being as it was."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from dossiers import (
    ABOUT,
    FACTS,
    FINDINGS,
    JOB,
    NEW,
    OLD,
    REPORT,
    REQUEST,
    Ledger,
    bundle,
    dossier,
    predicate_of,
    resigned,
    signer,
    trusted,
)
from unlearn.evidence.checkpoint import claimed, sign_note
from unlearn.evidence.container import pack, unpack
from unlearn.evidence.dossier import Dossier, Work
from unlearn.evidence.dsse import seal
from unlearn.evidence.layout import PDF, RENDERER
from unlearn.evidence.ledger import findings_digest, reason_digest, versions_digest
from unlearn.evidence.refusal import NotVerified
from unlearn.evidence.rendered import pretty, rendered
from unlearn.evidence.statement import drawn_by
from unlearn.evidence.trust import TrustedKey
from unlearn.evidence.verify import verify

WHOLE = bundle()
RICH = REPORT | {
    "base": {"sha256": "d" * 64},
    "corpora": {"train_sha256": "e" * 64},
    "warnings": ["the holdout is small"],
    "attacks_without_power": ["min_k"],
    "recoveries": {"relearning": 0.1},
    "attempts": [{"method": "ascent", "verdict": "refused", "reason": "membership"}],
}
EXTENDED = ("request_extended", {"request": "req_1", "by": "key:2", "due_at": REQUEST["due_at"]})


def refused(data: bytes, keys=None, **more) -> tuple[str, str]:
    with pytest.raises(NotVerified) as told:
        list(verify(data, keys or trusted(), **more))
    return told.value.check, str(told.value)


def said(data: bytes, check: str, **more) -> tuple[str, bool]:
    [found] = [one for one in verify(data, trusted(), **more) if one.name == check]
    return found.said, found.made


def rich(**more) -> bytes:
    """A bundle with something in each field that a report fills, of a request whose time was extended."""
    facts = [*FACTS[:3], EXTENDED, *FACTS[3:]]
    request = REQUEST | {
        "external_id": "ticket-7",
        "extended_at": "2026-03-01T10:03:00.000Z",
        "extension_reason": "many requests",
        "completed_at": "2026-03-01T10:09:00.000Z",
    }
    job = JOB | {"report": RICH, "started_at": "2026-03-01T10:05:00Z", "error": "no error"}
    about = (3, 4, 5, 7, 8, 9, 10)
    return bundle(dossier(Ledger(facts, about=about), size=10, about=about, request=request | more, job=job))


def with_decision(**more) -> bytes:
    facts = [*FACTS[:7], ("request_released_by_decision", {"request": "req_1", "by": "key:2"}), *FACTS[7:]]
    about = (*ABOUT, 10)
    later = REQUEST | {"completed_at": "2026-03-01T10:09:00.000Z"} | more
    return bundle(dossier(Ledger(facts, about=about), size=10, about=about, request=later))


def edited(data: bytes, **fields) -> bytes:
    """With other fields of the predicate."""
    return resigned(unpack(data), **fields)


@pytest.mark.parametrize(
    "name",
    ["certificate.html", "README.txt", "verify.py", *(f"jobs/job_1/{n}" for n in ("metrics.csv", "metrics.json"))],
)
def test_a_file_that_says_otherwise_than_the_statement_is_found_and_named(name):
    for data in (b"", unpack(WHOLE)[name] + b" ", unpack(WHOLE)[name].replace(b"1", b"2", 1)):
        check, message = refused(resigned(unpack(WHOLE) | {name: data}))
        assert (check, f"'{name}' is not what" in message) == ("certificate", True)


@pytest.mark.parametrize("name", ["certificate-final.html", "jobs/job_2/report.json", "figures/x.svg"])
def test_a_file_that_no_bundle_of_the_request_has_is_found(name):
    check, message = refused(resigned(unpack(WHOLE) | {name: b"{}"}))
    assert (check, name in message) == ("certificate", True)


LISTED = b'[{"adapter":"adp_1","sha256":"' + b"a" * 64 + b'","version":1}]'
SEARCHED = {
    "request": "req_1",
    "completed_at": REQUEST["completed_at"],
    "adapters_searched": 1,
    "adapters_versions_sha256": hashlib.sha256(LISTED).hexdigest(),
}


def of_nobody(searched: bytes | None = LISTED, **more) -> bytes:
    """A request that no adapter knew, of a list that is in the bundle."""
    facts = [FACTS[0], FACTS[2], ("request_completed", SEARCHED | more)]
    ledger = Ledger(facts, about=(2, 3))
    return bundle(dossier(ledger, 3, (2, 3), REQUEST | {"jobs": []}, works=[], searched=searched))


def test_the_list_of_the_adapters_that_were_searched_is_the_one_in_the_ledger():
    assert "which adapters" not in said(of_nobody(), "statement")[0]
    assert said(of_nobody(), "certificate")[1]
    assert "which adapters were searched it does not show" in said(of_nobody(None), "statement")[0]
    for data in (
        resigned(unpack(of_nobody()) | {"searched.json": LISTED.replace(b"adp_1", b"adp_2")}),
        resigned(unpack(WHOLE) | {"searched.json": LISTED}),
        of_nobody(adapters_searched=2),
    ):
        assert refused(data)[0] == "statement"


def test_a_pdf_that_says_otherwise_than_the_statement_is_found_where_the_library_that_drew_it_is_installed():
    assert said(WHOLE, "certificate")[0] == "7 files are what the statement and the reports make"
    drawn = unpack(WHOLE)["certificate.pdf"]
    other = unpack(WHOLE) | {"certificate.pdf": drawn.replace(b"(Completed)", b"(Cancelled)")}
    assert other["certificate.pdf"] != drawn
    for by in (drawn_by(), "a better library", "reportlab 1.0\x1b[2J", ""):
        check, message = refused(resigned(other, drawn_by=by))
        assert (check, "'certificate.pdf' is not what the statement" in message) == ("certificate", True)
    for by in ("reportlab 1.0", "reportlab 4.4.0rc1.post1"):
        text, made = said(resigned(other, drawn_by=by), "certificate")
        assert (made, f"certificate.pdf: not compared, as {by} is said to have drawn it" in text) == (False, True)


def test_the_pdf_is_the_same_whatever_the_library_is_told_by_the_environment():
    told = {"pdfMultiLine": "1", "defaultEncoding": "MacRomanEncoding", "documentLang": "de", "pageCompression": "1"}
    told |= {"canvas_baseColor": "red", "useA85": "0", "pdfComments": "1", "std14Embed": "1"}
    script = (
        "import sys, hashlib; from dossiers import bundle; from unlearn.evidence.container import unpack\n"
        "print(hashlib.sha256(unpack(bundle())['certificate.pdf']).hexdigest())"
    )
    env = os.environ | {f"RL_{name}": value for name, value in told.items()}
    env["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(unpack(WHOLE)["certificate.pdf"]).hexdigest()


def test_a_table_row_that_is_taller_than_a_page_goes_on_on_the_next():
    data = bundle(dossier(request=REQUEST | {"external_id": "x " * 20_000}))
    assert said(data, "certificate")[1]


def held(reason: str = "a court asked", nonce: bytes = bytes(32), **more) -> bytes:
    """A bundle of a request that was held at last, for a reason of which the entry has the HMAC."""
    noted = reason_digest("a court asked", bytes(32))
    facts = [*FACTS[:9], ("request_held", {"request": "req_1", "by": "key:2", "reason_hmac": noted})]
    about = (*ABOUT, 10)
    request = REQUEST | {"hold_reason": reason, "nonces": {"10": nonce.hex()}} | more
    return bundle(dossier(Ledger(facts, about=about), size=10, about=about, request=request))


def test_a_reason_is_the_one_that_was_written_down_then():
    [decision] = predicate_of(held())["decisions"]
    assert (decision["reason"], decision["nonce"]) == ("a court asked", "0" * 64)
    assert "reasons" not in said(held(), "story")[0]
    for data in (held("the customer agreed"), held(nonce=b"1" * 32), held("")):
        check, message = refused(data)
        assert (check, "is not the one of entry 10" in message) == ("story", True)
    for short in (held(hold_reason=None), held(nonces={})):
        assert predicate_of(short)["decisions"][0]["reason"] is None
        assert "the reasons of entries 10 are not in the bundle" in said(short, "story")[0]
    plain = with_decision(decision={"kind": "released", "reason": "agreed"})
    assert "by the service's word alone: the reasons of entries 8" in said(plain, "story")[0]
    assert refused(held(nonces={"10": "zz"}))[0] == "story"
    assert refused(held(nonces={"10": 7}))[0] == "story"


def test_what_an_older_version_made_is_not_compared_and_that_is_said():
    other = unpack(WHOLE) | {"certificate.html": b"other words"}
    text, made = said(resigned(other, renderer=RENDERER - 1), "certificate")
    assert (made, f"an older version ({RENDERER - 1}" in text, "read the statement" in text) == (False, True, True)


@pytest.mark.parametrize("version", [RENDERER + 1, 10**9])
def test_what_a_newer_version_made_takes_a_newer_program(version):
    check, message = refused(edited(WHOLE, renderer=version))
    assert (check, "verify with a newer program" in message) == ("certificate", True)


@pytest.mark.parametrize("version", [None, 0, -1, 1.0, True, "1", [1]])
def test_what_is_no_version_makes_nothing(version):
    check, message = refused(edited(WHOLE, renderer=version))
    assert (check, "no version of a certificate" in message) == ("certificate", True)


def test_of_an_older_version_issuer_date_and_the_names_of_files_are_checked():
    issued = predicate_of(WHOLE)["issued"]
    for change in ({"by": "The Data Protection Authority"}, {"at": "1999"}, {"key": "x"}):
        message = refused(edited(WHOLE, renderer=1, issued=issued | change))[1]
        assert "not issued by this ledger" in message
    files = unpack(WHOLE)
    added = refused(resigned(files | {"certificate-annex.html": b"x"}, renderer=1))
    assert added == (
        "certificate",
        "'certificate-annex.html' is no file that a bundle of this request has: somebody added it",
    )
    less = {name: data for name, data in files.items() if name != "jobs/job_1/trace.csv"}
    for version in (1, RENDERER):
        assert "'jobs/job_1/trace.csv' is missing" in refused(resigned(less, renderer=version))[1]


def without(data: bytes, *fields: str) -> bytes:
    """The bundle without fields of the predicate."""
    predicate = predicate_of(data)
    files = unpack(data)
    envelope = json.loads(files["statement.dsse.json"])
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["predicate"] = {key: value for key, value in predicate.items() if key not in fields}
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    return resigned(files | {"statement.dsse.json": json.dumps(envelope).encode()})


def test_a_bundle_of_before_verifies_and_a_newer_one_does_not_pass_for_it():
    facts = [(action, {k: v for k, v in one.items() if k != "controller"}) for action, one in FACTS]
    request = {key: value for key, value in REQUEST.items() if key != "controller"}
    old = without(bundle(dossier(Ledger(facts), request=request)), "renderer", "issued")
    text, made = said(old, "certificate")
    assert (made, "older version" in text) == (False, True)
    assert "too old to say" in said(old, "story")[0]
    assert refused(without(WHOLE, "renderer"))[0] == "certificate"
    issued = predicate_of(WHOLE)["issued"] | {"by": "The Data Protection Authority"}
    assert refused(edited(old, issued=issued))[0] == "certificate"
    assert refused(resigned(unpack(old) | {"new.txt": b""}))[0] == "certificate"


def test_the_words_of_this_version_are_the_ones_it_had():
    """Whoever changes them raises RENDERER, and puts the new digest here: older bundles are then not compared."""
    files = rendered(predicate_of(rich()), {"job_1": json.loads(unpack(rich())["jobs/job_1/report.json"])})
    digest = hashlib.sha256(
        b"".join(name.encode() + data for name, data in sorted(files.items()) if name != PDF)
    ).hexdigest()
    assert (RENDERER, digest) == (4, "bcbc402877eefe9185a84d182003a6d149ecbcae58a7d577a89bd7590b90214e")
    if drawn_by() == "reportlab 5.1.0":
        assert (
            hashlib.sha256(files[PDF]).hexdigest() == "bc5678f077cde6880f026f2287f2c2e69148bf359c96e8c0cb529c9b17bed141"
        )


@pytest.mark.parametrize("field", ["decisions", "purged"])
def test_no_decision_and_no_purge_is_left_out_or_told_twice(field):
    facts = [*FACTS[:9], ("version_purged", {"version": 1})]
    purged = bundle(dossier(Ledger(facts, about=(*ABOUT, 10)), size=10, about=(*ABOUT, 10)))
    data = with_decision() if field == "decisions" else purged
    [one] = predicate_of(data)[field]
    assert said(data, "story")[1]
    assert refused(edited(data, **{field: []}))[0] == "story"
    assert refused(edited(data, **{field: [one, one]}))[0] in ("story", "statement")


COPIED = [
    *(("request", key) for key in ("external_id", "submitted_by", "regulation", "state", "subject", "controller")),
    *(("clock", key) for key in ("answered_at", "late", "days", "due_at", "extended_at", "extension_reason")),
    *(("jobs", key) for key in predicate_of(rich())["jobs"][0] if key not in ("id", "alone", "mlflow_run_id")),
]


@pytest.mark.parametrize(("part", "key"), COPIED)
def test_a_field_that_is_dropped_emptied_or_changed_is_found(part, key):
    data = rich()
    predicate = predicate_of(data)
    old = predicate["jobs"][0] if part == "jobs" else predicate[part]
    for change in ({}, {key: None}, {key: "other"}, {key: []}):
        new = {name: value for name, value in old.items() if name != key} | change
        if new.get(key) == old[key]:
            continue
        check, message = refused(edited(data, **{part: [new] if part == "jobs" else new}))
        assert check == "statement"
        assert key in message or "not laid out" in message


def test_an_old_version_is_not_hidden_by_leaving_it_out_of_the_jobs_file():
    facts = [(action, one | {"version": 1} if action == "attempt_started" else one) for action, one in FACTS]
    true = dossier(Ledger(facts), job=JOB | {"superseded": []})
    assert "version 1, weights" in unpack(bundle(true))["certificate.html"].decode()
    hidden = [replace(work, before=None) for work in true.works]
    check, message = refused(bundle(replace(true, works=hidden)))
    assert (check, "None of the version before" in message) == ("story", True)


SECOND = {"job": "job_2", "requests": ["req_1"], "adapter": "adp_2", "adapter_name": "secretbot", "records": 900}
REFUSED = {"job": "job_2", "verdict": "refused", "method": "calibrated", "findings": {"membership": "fail"}}


def of_two_jobs(*more, last=FACTS[8]) -> Dossier:
    """A request with a second job, of which the ledger alone tells."""
    facts = [*FACTS[:4], ("job_planned", SECOND), *FACTS[5:8], *more, last]
    about = tuple(range(3, len(facts) + 1))
    end = f"2026-03-01T10:{len(facts) - 1:02}:00.000Z"
    request = REQUEST | {"completed_at": end}
    return dossier(Ledger(facts, about=about), size=len(facts), about=about, request=request)


def test_no_job_that_the_ledger_tells_of_is_left_out_and_none_is_added():
    tried = of_two_jobs(("attempt_started", {"job": "job_2", "attempt": 1}), ("verdict", REFUSED))
    for made in (tried, replace(tried, works=[], request=tried.request | {"jobs": []}), of_two_jobs()):
        check, message = refused(bundle(made))
        assert (check, "the statement leaves that job out" in message) == ("story", True)
    [work], [short] = dossier().works, REQUEST["jobs"]
    added = replace(work, job={"id": "job_9", "adapter": "otherbot", "state": "queued"}, before=None, after=None)
    both = dossier(request=REQUEST | {"jobs": [short, short | {"id": "job_9", "verdict": None}]}, works=[work, added])
    assert refused(bundle(both)) == ("story", "the statement speaks of job job_9, and no entry does")
    twice = dossier(request=REQUEST | {"jobs": [short, short]}, works=[work, work])
    assert "job_1 twice" in refused(bundle(twice))[1]


def test_a_job_that_others_went_on_with_or_that_a_restore_lost_is_left_out_rightly():
    left = ("job_left", {"job": "job_2", "request": "req_1"})
    assert said(bundle(of_two_jobs(left)), "story")[1]
    begun = ("attempt_started", {"job": "job_2", "attempt": 1})
    assert "leaves that job out" in refused(bundle(of_two_jobs(begun, ("verdict", REFUSED), left)))[1]
    gone = ("job_lost", {"job": "job_2", "request": "req_1"})
    passed = ("verdict", REFUSED | {"verdict": "released"})
    assert "of job_2 the ledger alone tells" in said(bundle(of_two_jobs(begun, passed, gone)), "story")[0]
    assert "tests of job job_2 did not pass" in refused(bundle(of_two_jobs(begun, ("verdict", REFUSED), gone)))[1]


def test_the_job_that_counts_is_the_ledgers_last_whatever_the_statements_order():
    """Of one adapter the first job passed and the second did not: turned round, the first would be the last."""
    same = ("job_planned", SECOND | {"adapter_name": "bot", "records": 3})
    made = of_two_jobs(("attempt_started", {"job": "job_2", "attempt": 1}), ("verdict", REFUSED))
    facts = [(one.action, dict(one.facts)) for one in made.entries[1:]]
    facts = [*FACTS[:2], *[same if fact.get("records") == 900 else (action, fact) for action, fact in facts]]
    about = tuple(range(3, len(facts) + 1))
    report = REPORT | {"verdict": "refused", "findings": [FINDINGS[0] | {"outcome": "fail"}]}
    second = Work(JOB | {"id": "job_2", "report": report}, {"number": 1, "sha256": OLD})
    [first], [short] = made.works, REQUEST["jobs"]
    shorts = [short | {"id": "job_2", "verdict": "refused"}, short]
    turned = replace(
        dossier(Ledger(facts, about=about), size=len(facts), about=about, request=made.request | {"jobs": shorts}),
        works=[second, first],
    )
    assert "tests of job job_2 did not pass" in refused(bundle(turned))[1]


def drawn_anew(data: bytes, said: dict, **files: dict) -> bytes:
    """Another predicate and other files, with the certificate and the tables that they make."""
    whole = unpack(data) | {name: pretty(one) for name, one in files.items()}
    reports = {job["id"]: json.loads(whole[f"jobs/{job['id']}/report.json"]) for job in said["jobs"]}
    return resigned(whole | rendered(said, reports), **said)


def with_findings(data: bytes, findings: list, **short) -> bytes:
    """Other findings of the first job in the request's file, the statement and the certificate."""
    said, request = predicate_of(data), json.loads(unpack(data)["request.json"])
    said["jobs"][0]["findings"] = findings
    request["jobs"][0] |= {"findings": findings, **short}
    return drawn_anew(data, said, **{"request.json": request})


def test_no_finding_of_a_job_is_invented_or_left_out():
    better = [FINDINGS[0] | {"figure": 0.01, "interval": [-0.1, 0.1], "sentence": "perfect"}, FINDINGS[1]]
    for findings in (better, FINDINGS[1:]):
        assert b"perfect" in unpack(with_findings(WHOLE, better))["certificate.html"]
        check, message = refused(with_findings(WHOLE, findings))
        assert (check, "findings" in message) == ("statement", True)
    short = REQUEST["jobs"][0] | {"findings": better}
    check, message = refused(bundle(dossier(request=REQUEST | {"jobs": [short]})))
    assert (check, "that are not those of its report" in message) == ("statement", True)


def alone(**more) -> bytes:
    """The bundle of a person who was judged alone, in a job that others share."""
    told = {"job": "job_1", "request": "req_1", "verdict": "released", "findings": FACTS[6][1]["findings"]}
    facts = [*FACTS[:7], ("verdict_alone", told | more), *FACTS[7:]]
    short = REQUEST["jobs"][0] | {"findings": FINDINGS}
    request = REQUEST | {"completed_at": "2026-03-01T10:09:00.000Z", "jobs": [short]}
    about = (*ABOUT, 10)
    return bundle(dossier(Ledger(facts, about=about), size=10, about=about, request=request))


def test_the_figures_on_one_person_alone_are_those_of_the_entry_and_an_old_entry_lets_them_be_the_services_word():
    better = [FINDINGS[0] | {"figure": 0.01, "interval": [-0.1, 0.1], "sentence": "perfect"}, FINDINGS[1]]
    exact = alone(findings_sha256=findings_digest(FINDINGS))
    assert "word alone: what entries 6, 7, 9 are too old" in said(exact, "story")[0]
    assert refused(with_findings(exact, better)) == (
        "story",
        "the findings of job job_1 are not those of the verdict on this person alone, entry 8",
    )
    assert "word alone: what entries 6, 7, 8, 9 are too old" in said(alone(), "story")[0]
    assert said(with_findings(alone(), better), "story")[1]


def test_a_verdict_in_a_file_is_the_gates_or_what_a_person_decided():
    short = REQUEST["jobs"][0] | {"verdict": "refused"}
    check, message = refused(bundle(dossier(request=REQUEST | {"jobs": [short]})))
    assert (check, 'request.json says "refused" of the verdict of job job_1' in message) == ("statement", True)
    assert "jobs/job_1/job.json says" in refused(bundle(dossier(job=JOB | {"verdict": "refused"})))[1]


def with_fact(place: int, **facts) -> Ledger:
    return Ledger([(action, one | facts if i == place else one) for i, (action, one) in enumerate(FACTS)])


def test_the_version_before_is_the_one_that_the_attempt_began_with_its_config_too():
    config = {"number": 1, "sha256": OLD, "config_sha256": "1" * 64}

    def began(before: dict, **noted) -> bytes:
        report = {key: value for key, value in REPORT.items() if key != "adapter"}  # which has the digests, too
        made = dossier(with_fact(5, version=1, **noted), job=JOB | {"report": report})
        return bundle(replace(made, works=[replace(work, before=before) for work in made.works]))

    assert said(began(config, sha256=OLD, config_sha256="1" * 64), "story")[1]
    assert said(began(config), "story")[1]  # of before attempts noted it
    assert "SHA-256 of the version before" in refused(began(config | {"sha256": NEW}, sha256=OLD))[1]
    for noted in ("2" * 64, None):
        check, message = refused(began(config, sha256=OLD, config_sha256=noted))
        assert (check, "began with another adapter_config.json" in message) == ("story", True)


def test_the_versions_before_are_those_that_the_release_notes():
    before = [{"number": 7, "sha256": "7" * 64, "purge_after": None}]

    def made_from(stated: list, *noted) -> bytes:
        ledger = with_fact(7, superseded_sha256=versions_digest(noted))
        return bundle(dossier(ledger, job=JOB | {"superseded": stated}))

    assert said(made_from(before, (7, "7" * 64)), "story")[1]
    for invented in (made_from(before), made_from([], (7, "7" * 64)), made_from(before, (7, "8" * 64))):
        check, message = refused(invented)
        assert (check, "made from other versions" in message) == ("story", True)


def test_the_keys_in_the_bundle_are_those_that_signed():
    other = signer(b"z").public
    for name, data in (
        ("keys/ledger.pub", other.text.encode() + b"\n"),
        ("keys/deadbeef.pem", other.pem.encode()),
        (f"keys/{signer().public.key_id.hex()}.pem", other.pem.encode()),
    ):
        check, message = refused(resigned(unpack(WHOLE) | {name: data}))
        assert (check, f"'{name}' is not what the keys" in message) == ("key", True)


def test_another_runs_figures_are_found_by_its_id():
    run = pretty({"run_id": "another", "metrics": {"auc": 0.5}})
    assert "another run" in refused(resigned(unpack(WHOLE) | {"jobs/job_1/mlflow.json": run}))[1]
    assert said(resigned(unpack(WHOLE) | {"jobs/job_1/mlflow.json": run.replace(b"another", b"run1")}), "story")[1]


def stated(data: bytes, change) -> bytes:
    """The bundle with its statement changed, and signed anew."""
    files = unpack(data)
    envelope = json.loads(files["statement.dsse.json"])
    statement = json.loads(base64.b64decode(envelope["payload"]))
    change(statement)
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    return resigned(files | {"statement.dsse.json": json.dumps(envelope).encode()})


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said["subject"].insert(1, {"name": "bot/v2", "digest": {"sha256": "f" * 64}}),
        lambda said: said["subject"].append({"name": "bot/v2", "digest": {"sha256": "f" * 64}}),
        lambda said: said["subject"][-1]["digest"].update(sha512="0" * 128),
        lambda said: said["subject"][-1].update(uri="https://elsewhere.example"),
    ],
)
def test_a_subject_has_one_digest_and_is_there_once(change):
    assert refused(stated(WHOLE, change)) == ("statement", "its subjects are not the versions that it speaks of")


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.update(note=None),
        lambda said: said["predicate"].update(note=None),
        lambda said: said["predicate"]["ledger"].update(witnessed_by="the regulator"),
        lambda said: said["predicate"]["ledger"].pop("about_request"),
        lambda said: said["predicate"]["request"].update(note=None),
        lambda said: said["predicate"]["request"].pop("external_id"),
        lambda said: said["predicate"]["jobs"][0].update(note=None),
        lambda said: said["predicate"].pop("purged"),
    ],
)
def test_a_field_more_or_less_is_found_whatever_it_says(change):
    assert refused(stated(WHOLE, change))[0] == "statement"


@pytest.mark.parametrize(
    ("name", "twice", "check"),
    [
        ("request.json", '"state": "rejected"', "statement"),
        ("jobs/job_1/job.json", '"adapter": "other"', "statement"),
        ("jobs/job_1/report.json", '"verdict": "refused"', "statement"),
        ("ledger/entries.jsonl", '"action": "request_rejected"', "inclusion"),
    ],
)
def test_a_file_that_could_be_read_in_two_ways_is_refused(name, twice, check):
    whole = unpack(WHOLE)
    for data in (whole[name].replace(b"{", f"{{{twice}, ".encode(), 1), whole[name].replace(b": ", b":", 1)):
        found, message = refused(resigned(whole | {name: data}))
        assert (found, name in message, "another spelling" in message) == (check, True, True)


def test_a_payload_that_could_be_read_in_two_ways_is_refused():
    files = unpack(WHOLE)
    payload = base64.b64decode(json.loads(files["statement.dsse.json"])["payload"])
    for data in (b'{"predicate":{"jobs":[]},' + payload[1:], payload + b" "):
        check, message = refused(pack(files | {"statement.dsse.json": seal(data, signer())}))
        assert (check, "the signed payload is JSON in another spelling" in message) == ("statement", True)


def test_a_separator_of_lines_in_an_entry_is_no_end_of_a_line():
    assert said(bundle(dossier(with_fact(3, note="one\u2028two\x85three"))), "inclusion")[1]
    for end in (b"", b"\n\n", b"\r\n"):
        data = unpack(WHOLE)["ledger/entries.jsonl"].removesuffix(b"\n") + end
        changed = resigned(unpack(WHOLE) | {"ledger/entries.jsonl": data})
        assert refused(changed)[0] == "inclusion"


def test_a_field_that_is_added_is_found():
    predicate = predicate_of(WHOLE)
    assert "of note" in refused(edited(WHOLE, note="approved"))[1]
    assert "of request.note" in refused(edited(WHOLE, request=predicate["request"] | {"note": "approved"}))[1]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"submitted_by": "key:2"}, "submitter"),
        ({"controller": {"id": "ctl_2", "name": "Example"}}, "company"),
        ({"controller": None}, "company"),
    ],
)
def test_a_request_changed_in_file_and_statement_is_held_against_the_ledger(change, what):
    check, message = refused(bundle(dossier(request=REQUEST | change)))
    assert (check, f"of another {what}" in message) == ("story", True)


@pytest.mark.parametrize(
    ("place", "fact", "what"),
    [
        (3, {"records": 4}, "records"),
        (3, {"adapter_name": "other"}, "adapter"),
        (5, {"version": 7}, "version before"),
        (5, {"attempt": 2}, "attempt"),
        (2, {"regulation": "ccpa"}, "regulation"),
        (2, {"confirm_by": "2026-03-11T10:00:00Z"}, "confirm_by"),
    ],
)
def test_a_job_that_the_ledger_tells_otherwise_is_found(place, fact, what):
    facts = [(action, one | fact if i == place else one) for i, (action, one) in enumerate(FACTS)]
    check, message = refused(bundle(dossier(Ledger(facts))))
    assert (check, what in message) == ("story", True)


def test_who_issued_it_when_and_under_which_key_is_held_against_ledger_and_signature():
    issued = predicate_of(WHOLE)["issued"]
    assert issued == {
        "by": "desk.example/ledger",
        "at": "2026-03-01T10:08:00.000Z",
        "key": signer().public.key_id.hex(),
    }
    for change in ({"by": "other"}, {"at": "2026-03-02T10:08:00.000Z"}, {"key": "00000000"}):
        assert refused(edited(WHOLE, issued=issued | change))[0] == "certificate"


def of_two_keys(*, lines: int = 2) -> bytes:
    """A bundle from while a key follows another: the ledger has both, and both sign."""
    facts = [*FACTS[:9], ("ledger_key_added", {"ledger_key": NEXT.public.text})]
    ledger = Ledger(facts)
    made = dossier(ledger, 10, about=(*ABOUT, 10))
    note = sign_note(claimed(made.checkpoint).text, [NEXT, signer()][:lines])
    return bundle(replace(made, checkpoint=note, keys=[signer().public, NEXT.public]), NEXT, signer())


NEXT = signer(b"n")


def test_while_a_key_follows_another_a_bundle_verifies_under_either():
    data = of_two_keys()
    for keys in (trusted(), trusted(NEXT), [*trusted(), *trusted(NEXT)], [*trusted(NEXT), *trusted()]):
        assert len(list(verify(data, keys))) == len(list(verify(WHOLE, trusted())))
    both = ", ".join(key.public.key_id.hex() for key in (NEXT, signer()))
    assert f"under its keys {both}," in unpack(data)["certificate.html"].decode()
    assert refused(of_two_keys(lines=1), trusted())[0] == "checkpoint"


def test_no_signature_of_two_is_taken_away_swapped_or_added():
    for who in ([signer()], [signer(), NEXT], [NEXT, signer(), signer(b"o")]):
        files = unpack(of_two_keys())
        statement = base64.b64decode(json.loads(files["statement.dsse.json"])["payload"])
        check, message = refused(pack(files | {"statement.dsse.json": seal(statement, *who)}))
        assert (check, "under the keys that signed" in message) == ("certificate", True)


def test_of_two_keys_that_signed_one_that_is_in_use_is_enough():
    [old] = until("2026-03-01T10:05:00+00:00")
    assert refused(of_two_keys(), [old])[0] == "key"
    assert list(verify(of_two_keys(), [old, *trusted(NEXT)]))


def test_what_no_entry_says_is_named():
    text, made = said(WHOLE, "word")
    assert (made, "reasons" in text, "MLflow" in text) == (False, True, True)


def until(*moments: str) -> list[TrustedKey]:
    [key] = trusted()
    return [replace(key, until=datetime.fromisoformat(one)) for one in moments]


def test_the_end_of_a_key_is_a_moment_whatever_its_offset_and_the_earliest_counts():
    assert refused(WHOLE, until("2026-03-01T12:05:00+02:00"))[0] == "key"
    assert list(verify(WHOLE, until("2026-03-01T12:09:00+02:00")))
    assert list(verify(WHOLE, until("2026-03-01T05:09:00-05:00")))
    assert refused(WHOLE, until("2026-03-01T10:09:00+00:00", "2026-03-01T10:05:00+00:00"))[0] == "key"


def test_a_request_completed_under_a_slow_clock_verifies_and_its_own_moment_is_held_to():
    times = [f"2026-03-01T{10 + (i >= 5)}:{i:02}:00.000Z" for i in range(10)]
    at = REQUEST["completed_at"]
    facts = [(action, one | ({"completed_at": at} if action == "request_completed" else {})) for action, one in FACTS]
    honest = bundle(dossier(Ledger(facts, times)))
    assert said(honest, "story")[1]
    lying = bundle(dossier(Ledger(facts, times), request=REQUEST | {"completed_at": "2026-03-01T11:08:00.000Z"}))
    assert "of completed_at" in refused(lying)[1]


def test_entries_after_now_are_told_and_not_refused():
    before, after = (datetime(2026, 3, 1, 10, minute, tzinfo=UTC) for minute in (4, 8))
    assert "entry 6 is of 2026-03-01T10:05:00.000Z, which is after now" in said(WHOLE, "times", now=before)[0]
    assert "after now" not in said(WHOLE, "times", now=after)[0]
