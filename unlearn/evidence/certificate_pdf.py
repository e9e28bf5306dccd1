"""The certificate as a PDF: the first page for people, the annex behind it; the same certificate, the same bytes.

Knows the certificate and how it looks. Letters are those of the fonts that every PDF reader has; what they lack is
written otherwise. The library is set to its own defaults before any part of it is read.
"""
# ruff: noqa: E402

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from xml.sax.saxutils import escape

from reportlab import rl_config, rl_settings

for _name in rl_settings.__all__:  # whatever RL_ variables and files would have the library do here
    if not _name.endswith(("SearchPath", "Glob", "PageSize")):
        setattr(rl_config, _name, getattr(rl_settings, _name))

from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, PageBreak, Paragraph, SimpleDocTemplate, Spacer
from reportlab.platypus import Table as Grid

from unlearn.evidence.certificate import Certificate, Table

INK, SOFT, RULE = HexColor("#1c1c1c"), HexColor("#5c5c5c"), HexColor("#dcdcdc")
COLOURS = {"good": HexColor("#00714f"), "bad": HexColor("#b3410e"), "open": HexColor("#8a6300")}
MARGIN = 20 * mm
PADDING = 6
"""Points that a frame keeps free inside its margins."""
WIDTH = A4[0] - 2 * (MARGIN + PADDING)

WRITTEN = str.maketrans({"→": "to", "≤": "<=", "≥": ">=", "−": "-", "✓": "+", "✗": "x"})
"""What the standard fonts (WinAnsi) have no letter for."""

PLAIN = ParagraphStyle("plain", fontName="Helvetica", fontSize=9, leading=12, textColor=INK, splitLongWords=1)
STYLES = {
    "plain": PLAIN,
    "title": ParagraphStyle("title", PLAIN, fontName="Helvetica-Bold", fontSize=18, leading=22),
    "said": ParagraphStyle("said", PLAIN, spaceAfter=3),
    "soft": ParagraphStyle("soft", PLAIN, textColor=SOFT),
    "label": ParagraphStyle("label", PLAIN, fontName="Helvetica-Bold", textColor=SOFT),
    "number": ParagraphStyle("number", PLAIN, alignment=TA_RIGHT),
    "number label": ParagraphStyle("nl", PLAIN, fontName="Helvetica-Bold", textColor=SOFT, alignment=TA_RIGHT),
    "head": ParagraphStyle(
        "head", PLAIN, fontName="Helvetica-Bold", fontSize=11, leading=14, spaceBefore=9, spaceAfter=3
    ),
    "part": ParagraphStyle(
        "part", PLAIN, fontName="Helvetica-Bold", fontSize=10, leading=13, spaceBefore=10, spaceAfter=2, keepWithNext=1
    ),
}


def as_pdf(page: Certificate) -> bytes:
    """The PDF's bytes."""
    out = BytesIO()
    document = SimpleDocTemplate(
        out,
        pagesize=A4,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=16 * mm,
        bottomMargin=18 * mm,
        title=f"Certificate of unlearning, {page.request}",
        author="unlearn",
        lang="en",
        invariant=1,
        pageCompression=0,
    )

    def foot(canvas: Canvas, _: SimpleDocTemplate) -> None:
        canvas.setFont("Helvetica", 8)
        canvas.setFillColor(SOFT)
        canvas.drawString(MARGIN + PADDING, 10 * mm, page.request)
        canvas.drawRightString(A4[0] - MARGIN - PADDING, 10 * mm, f"page {canvas.getPageNumber()}")

    document.build(list(_story(page)), onFirstPage=foot, onLaterPages=foot)
    return out.getvalue()


def _story(page: Certificate) -> Iterator[Flowable]:
    yield _text("Certificate of unlearning", "title")
    yield _text(
        f"Request {page.request}. The signed statement beside this page says the same; where they differ, it counts.",
        "soft",
    )
    colour = COLOURS[page.outcome]
    yield Paragraph(
        _plain(page.verdict), ParagraphStyle("v", STYLES["head"], fontSize=13, leading=17, textColor=colour)
    )
    yield from (_text(sentence, "said") for sentence in page.summary)
    yield Spacer(1, 2 * mm)
    facts = [[_text(label, "label"), _text(value)] for label, value in page.facts]
    yield _grid(facts, (0.24, 0.76))
    if page.tests is not None:
        yield _text(page.tests.title, "head")
        yield _table(page.tests)
    yield _text("What this does not show", "head")
    yield from (_text(sentence, "said") for sentence in page.limits)
    if page.annex:
        yield PageBreak()
        yield _text("Technical annex", "head")
    for one in page.annex:
        yield _text(one.title, "part")
        if one.note:
            yield Paragraph(_plain(one.note), ParagraphStyle("note", STYLES["soft"], keepWithNext=1))
        yield _table(one)


def _table(table: Table) -> Flowable:
    def cell(place: int, text: str, style: str = "") -> Paragraph:
        if place in table.numbers:
            return _text(text, f"number {style}".strip())
        return _text(text, style or "plain")

    head = [cell(place, text, "label") for place, text in enumerate(table.head)]
    return _grid([head, *([cell(i, text) for i, text in enumerate(row)] for row in table.rows)], table.widths, head=1)


def _grid(rows: Sequence[Sequence[Paragraph]], widths: Sequence[float], head: int = 0) -> Flowable:
    style = [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LINEBELOW", (0, 0), (-1, -1), 0.5, RULE),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
        ("RIGHTPADDING", (0, 0), (-2, -1), 8),
        ("RIGHTPADDING", (-1, 0), (-1, -1), 0),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
    ]
    return Grid(
        rows, colWidths=[WIDTH * width for width in widths], repeatRows=head, style=style, hAlign="LEFT", splitInRow=1
    )


def _text(text: str, style: str = "plain") -> Paragraph:
    return Paragraph(_plain(text), STYLES[style])


def _plain(text: str) -> str:
    """Escaped, in letters that the fonts have."""
    return escape(text.translate(WRITTEN).encode("cp1252", "replace").decode("cp1252"))
