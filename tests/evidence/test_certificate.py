"""The certificate: what a lawyer reads first, and what it must never say."""

from __future__ import annotations

import re

import pytest

from dossiers import FINDINGS, JOB, REPORT, REQUEST, dossier
from unlearn.evidence.certificate import certificate
from unlearn.evidence.certificate_html import as_html
from unlearn.evidence.certificate_pdf import as_pdf
from unlearn.evidence.checkpoint import open_note, read_checkpoint
from unlearn.evidence.dossier import Work
from unlearn.evidence.statement import predicate

NEVER = re.compile(r"\berased\b|anonym|\bproven\b|\bguarantee", re.IGNORECASE)
"""Of nobody's data (EDPB, Opinion 28/2024)."""


def made(**changes):
    one = dossier(**changes)
    text, _ = open_note(one.checkpoint, one.keys)
    return certificate(predicate(one, read_checkpoint(text)))


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
    assert facts["Adapter 'bot'"] == "all tests passed; version 1 → version 2"
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


def test_nobody_known_says_what_was_searched():
    page = made(request=REQUEST | {"jobs": []}, works=[])
    assert "searched" in page.summary[0]
    assert page.tests is None


@pytest.mark.parametrize("page", [made(), waiting(), made(request=REQUEST | {"jobs": []}, works=[])])
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
