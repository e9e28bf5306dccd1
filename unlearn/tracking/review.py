"""What a reviewer opens: the report as JSON and as a page, every figure as SVG and PNG; one directory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unlearn.measurement import Measurement
from unlearn.tracking.figures import all_figures, svg
from unlearn.tracking.page import report_page

DPI = 150


def write_review(folder: Path, before: Measurement, after: Measurement, report: Mapping[str, Any]) -> None:
    """Write `report.json`, `report.html` and `figures/` into `folder`, each file whole or not at all.

    Args:
        folder: an existing directory.
        before, after: what was measured; the same of an audit of one adapter.
        report: on both.
    """
    figures = all_figures(before, after, report)
    (folder / "figures").mkdir(exist_ok=True)
    for name, figure in figures.items():
        _put(folder / "figures" / f"{name}.svg", svg(figure))
        figure.savefig(folder / "figures" / f"{name}.png", dpi=DPI)
    _put(folder / "report.html", report_page(report, figures))
    _put(folder / "report.json", json.dumps(report, indent=2, sort_keys=True) + "\n")


def _put(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
