"""The certificate: what a lawyer reads first, and what it must never say."""

from __future__ import annotations

import re

import pytest

from dossiers import ABOUT, FACTS, FINDINGS, JOB, OLD, REPORT, REQUEST, Ledger, dossier
from unlearn.evidence.certificate import certificate
from unlearn.evidence.certificate_html import as_html
from unlearn.evidence.certificate_pdf import as_pdf
from unlearn.evidence.checkpoint import open_note, read_checkpoint
from unlearn.evidence.dossier import Work
from unlearn.evidence.statement import predicate

NEVER = re.compile(r"erased|anonym|\bproven\b|\bguarantee", re.IGNORECASE)
"""Of nobody's data (EDPB, Opinion 28/2024)."""


def made(**changes):
    one = dossier(**changes)
    text, _ = open_note(one.checkpoint, one.keys)
    return certificate(predicate(one, read_checkpoint(text), one.keys))


def waiting():
    report = REPORT | {"verdict": "refused", "findings": [FINDINGS[0] | {"outcome": "fail"}, FINDINGS[1]]}
    request = REQUEST | {"state": "needs_review", "completed_at": None}
    return made(request=request, works=[Work(JOB | {"report": report}, {"number": 1, "sha256": "a" * 64})])


def test_the_first_page_says_what_was_asked_done_found_and_decided():
    page = made()
    facts = dict(page.facts)
    assert (page.verdict, page.outcome) == ("Completed", "good")
    assert facts["Received"] == "1 March 2026"
    assert facts["Due"] == "1 April 2026"
    assert facts["Answered"] == "1 March 2026, within a day, in time"
    assert facts["Adapter 'bot'"] == "all tests that were made passed; version 1 → version 2"
    assert page.tests is not None
    assert page.tests.rows[0] == ("Is the person still recognised?", "passed", "0.4", "-3 to 3")
    assert page.tests.rows[1][3] == "at most 0.05"


def test_a_request_that_waits_is_not_called_completed():
    page = waiting()
    assert (page.verdict, page.outcome) == ("Not completed: a person has to decide", "open")
    assert dict(page.facts)["Adapter 'bot'"] == "refused by the tests; version 1 serves on"
    assert dict(page.facts)["Answered"] == "not yet"
    assert any("somebody has to decide" in sentence for sentence in page.summary)


def test_a_late_answer_is_called_late_and_decisions_are_named_with_actor_and_reason():
    late = made(request=REQUEST | {"completed_at": "2026-04-02T10:00:00.000Z"})
    assert dict(late.facts)["Answered"] == "2 April 2026, after 32 days, after the due date"
    assert dict(late.facts)["Decided by"].startswith("the tests below")
    decision = {"kind": "released", "reason": "agreed with the DPO", "by": "key:2"}
    told = {"request": "req_1", "by": "key:2"}
    facts = [*FACTS[:8], ("request_held", told | {"by": "key:3"}), ("request_released_by_decision", told), FACTS[8]]
    about = (*ABOUT, 10, 11)
    ledger = Ledger(facts, [f"2026-03-02T10:{i:02}:00.000Z" for i in range(len(facts))], about=about)
    page = made(request=REQUEST | {"decision": decision, "hold_reason": None}, ledger=ledger, size=11, about=about)
    assert [value for label, value in page.facts if label.startswith("Decided")] == [
        "2 March 2026 by key:3: put under a legal hold",
        "2 March 2026 by key:2: released in spite of the tests: agreed with the DPO",
    ]


def test_nobody_known_says_what_was_searched():
    page = made(request=REQUEST | {"jobs": []}, works=[])
    assert "searched" in page.summary[0]
    assert page.tests is None


TAKEN = {
    "job": "job_1",
    "adapter": "adp_1",
    "version": 2,
    "fingerprints": 3,
    "train_records_erased": 3,
    "train_records_left": 40,
    "train_before_sha256": "1" * 64,
    "train_after_sha256": "2" * 64,
    "holdout_records_erased": 0,
    "holdout_records_left": 20,
    "holdout_before_sha256": "3" * 64,
    "holdout_after_sha256": "3" * 64,
    "purge_after": "2026-03-31T10:07:00+00:00",
}
OF_OLD = {"adapter": "adp_1", "version": 1}
PURGES = [
    ("version_purged", OF_OLD | {"sha256": OLD}),
    ("corpus_purged", OF_OLD | {"kind": "train", "edition": 1, "records": 43, "sha256": "1" * 64}),
    ("corpus_purged", OF_OLD | {"kind": "holdout", "edition": 1, "records": 20, "sha256": "3" * 64}),
]


def taken(*purges):
    """After a release took records out of the corpora, and these purges."""
    facts = [*FACTS[:8], ("data_erased", TAKEN), FACTS[8], *purges]
    about = (*ABOUT, *range(10, 11 + len(purges)))
    return made(
        ledger=Ledger(facts, [f"2026-04-01T10:{i:02}:00.000Z" for i in range(len(facts))], about=about),
        size=len(facts),
        about=about,
    )


def kept(page):
    return [value for label, value in page.facts if label == "Kept of 'bot'"]


def test_what_is_kept_of_old_versions_stands_on_the_first_page_until_an_entry_says_that_it_was_purged():
    until = "kept until 31 March 2026; the ledger has no entry yet of their purge"
    whole = "version 1, weights and stored train corpus and stored holdout corpus"
    assert kept(taken()) == [f"{whole}: {until}"]
    assert kept(taken(PURGES[0])) == [f"version 1, stored train corpus and stored holdout corpus: {until}"]
    assert kept(taken(*PURGES[1:])) == [f"version 1, weights: {until}"]
    assert kept(taken(*PURGES)) == []
    other = [(action, facts | {"version": 3}) for action, facts in PURGES]
    assert kept(taken(*other)) == [f"{whole}: {until}"]
    assert kept(waiting()) == []


def test_it_names_what_no_entry_covers():
    for page in (made(), taken(*PURGES)):
        assert "the company's own files" in " ".join(page.limits)
        assert "backups" in " ".join(page.limits)


def test_whoever_was_in_a_holdout_alone_reads_that_records_were_taken_out():
    gone = {"adapter": "adp_1", "version": 1, "holdout_records_erased": 2, "holdout_records_left": 18}
    facts = [*FACTS[:8], ("data_erased", gone), FACTS[8]]
    ledger = Ledger(facts, about=(*ABOUT, 10))
    page = made(request=REQUEST | {"jobs": []}, works=[], ledger=ledger, size=10, about=(*ABOUT, 10))
    assert "1 stored corpus that adapters are compared with" in page.summary[1]
    [rows] = [table.rows for table in page.annex if table.title == "Taken out of the stored corpora"]
    assert [row[1].partition(",")[0] for row in rows] == ["records of the holdout corpus taken out: 2"]


def test_records_that_were_taken_out_have_a_table_of_their_own():
    tables = {table.title: table for table in taken(*PURGES).annex}
    [train, holdout] = tables["Taken out of the stored corpora"].rows
    assert train[1].startswith("records of the train corpus taken out: 3, left: 40, SHA-256 before 1111")
    assert holdout[1].startswith("records of the holdout corpus taken out: 0, left: 20")
    assert [row[1].split(",")[0] for row in tables["What was purged"].rows] == [
        "weights of version 1",
        "train corpus of version 1",
        "holdout corpus of version 1",
    ]


def test_it_says_where_mlflow_alone_deleted_its_copy_of_the_weights():
    purge = (PURGES[0][0], PURGES[0][1] | {"mlflow_copy": "deleted by MLflow alone"})
    tables = {table.title: table for table in taken(purge).annex}
    assert (
        tables["What was purged"]
        .rows[0][1]
        .endswith(
            "; MLflow's copy was deleted by MLflow alone: not overwritten, and older versions of its files may be left"
        )
    )


def test_company_issuer_date_and_key_stand_on_the_first_page():
    facts = dict(made().facts)
    assert facts["Company"] == "Example (ctl_1)"
    assert facts["Issued by"].startswith("ledger desk.example/ledger, under its key ")
    assert facts["Issued by"].endswith("as of 2026-03-01 10:08:00 UTC")
    assert dict(made(request=REQUEST | {"controller": None}).facts)["Company"] == "not named"


@pytest.mark.parametrize(
    "page", [made(), taken(), taken(*PURGES), waiting(), made(request=REQUEST | {"jobs": []}, works=[])]
)
def test_it_never_says_of_the_data_what_nobody_can_know(page):
    assert not NEVER.search(as_html(page))
    assert not NEVER.search(str(page))
    assert "do not show that no other test" in " ".join(page.limits)


def test_attacks_that_saw_nothing_are_named():
    work = Work(JOB | {"report": REPORT | {"attacks_without_power": ["min_k"], "warnings": ["the holdout is small"]}})
    limits = " ".join(made(works=[work]).limits)
    assert "min k" in limits
    assert "bot: the holdout is small." in limits


def test_a_text_can_not_become_markup():
    page = made(request=REQUEST | {"submitted_by": "<script>alert(1)</script>"})
    assert "<script>" not in as_html(page)
    assert "&lt;script&gt;" in as_html(page)
    assert as_pdf(page).startswith(b"%PDF-")


def test_the_pdf_is_the_same_twice_and_takes_letters_that_its_font_lacks():
    page = made(request=REQUEST | {"submitted_by": "key:é → 名"})
    assert as_pdf(page) == as_pdf(page)
    assert b"/Title" in as_pdf(page)
