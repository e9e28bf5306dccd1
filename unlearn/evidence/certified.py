"""Whether a bundle's certificate and tables are what its statement and reports make. Knows no signature and no ledger.

They are made anew and compared byte by byte; what is in no entry and follows from nothing else is named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence, Set
from typing import Any

from unlearn.evidence.agreement import Files, reports_of
from unlearn.evidence.layout import (
    CHECKPOINT,
    EARLIER,
    ENTRIES,
    MANIFEST,
    PDF,
    RENDERER,
    REQUEST,
    SEARCHED,
    STATEMENT,
)
from unlearn.evidence.ledger import Entry
from unlearn.evidence.numbering import about_request
from unlearn.evidence.refusal import NotVerified, laid_out
from unlearn.evidence.rendered import names, rendered
from unlearn.evidence.signing import PublicKey
from unlearn.evidence.statement import drawn_by, issue

Json = Mapping[str, Any]

FIXED = frozenset({STATEMENT, MANIFEST, REQUEST, ENTRIES, CHECKPOINT, EARLIER, SEARCHED})
OTHERS = re.compile(
    r"keys/(ledger\.pub|[0-9a-f]{8}\.pem)|jobs/([^/]+)/(job\.json|report\.json|mlflow\.json|figures/[^/]+)"
)
"""Files that a bundle may have; what is made from the statement and the reports is listed by `rendered`."""

LIBRARY = re.compile(r"reportlab [0-9][0-9A-Za-z.+!]{0,30}")

WORD = (
    "by the service's word alone, in no entry: the company's names for itself and for the request, errors in words and "
    "reasons of which the entry has no HMAC, when attempts began and ended, until when versions before the "
    "replaced one are kept, MLflow's run and figures, and what the files of request and jobs have beyond the statement"
)


@laid_out("certificate")
def check_certificate(
    files: Files, predicate: Json, entries: Sequence[Entry], signers: Sequence[PublicKey]
) -> tuple[str, bool]:
    """Check who issued the certificate and when, and the files that are made of statement and reports.

    Args:
        files: of the bundle.
        predicate: of its statement, which agrees with files and ledger.
        entries: about the request.
        signers: of the statement.

    Returns:
        What is to be said, and whether all files were compared: of those that an older version made the names alone,
        and not a PDF that another library drew.

    Raises:
        NotVerified: something is not as its version makes it, or that one is newer than this program's.
    """
    version = _version(predicate, entries)
    last = about_request(entries)[-1].at
    issued = issue(predicate["ledger"]["origin"], last, signers)
    unnamed = version == 0 and "issued" not in predicate and len(signers) == 1
    if not unnamed and predicate.get("issued") != issued:
        raise _no(f"it is not issued by this ledger under the keys that signed, as of its last entry, {last}")
    reports = reports_of(files, predicate)
    _check_names(files, predicate, names(reports))
    if version != RENDERER:
        named = f"an older version ({version or 'unnamed'}; this program makes {RENDERER})"
        return f"certificate and tables were made by {named}, not compared; read the statement", False
    made, left = rendered(predicate, reports), ""
    for name, data in made.items():
        if files[name] == data:
            continue
        if name != PDF or not _drawn_elsewhere(predicate):
            raise _no(f"'{name}' is not what the statement and the reports make: it was changed or replaced")
        by = f"as {predicate['drawn_by']} is said to have drawn it and {drawn_by()} is here"
        left = f"; {PDF}: not compared, {by}; the HTML is"
    return f"{len(made) - bool(left)} files are what the statement and the reports make{left}", not left


def _drawn_elsewhere(predicate: Json) -> bool:
    """Whether another version of the library is said to have drawn the PDF than is here."""
    by = predicate["drawn_by"]
    return by != drawn_by() and LIBRARY.fullmatch(by) is not None


def _version(predicate: Json, entries: Sequence[Entry]) -> int:
    """Which version made the certificate, at most this one's; 0 for those from before they named themselves."""
    if "renderer" not in predicate:
        if "controller" in about_request(entries)[0].facts:
            raise _no("the statement does not name the version of its certificate, though its first entry is newer")
        return 0
    version = predicate["renderer"]
    if type(version) is not int or version < 1:
        raise _no(f"{json.dumps(version)[:40]} is no version of a certificate")
    if version > RENDERER:
        raise _no(
            f"certificate and tables are said to be made by version {version}, and this program makes {RENDERER}: it "
            "can't tell whether they are true; verify with a newer program (`unlearn --version`)"
        )
    return version


def _check_names(files: Files, predicate: Json, made: Set[str]) -> None:
    """Check that the files are those of a bundle of this request, whatever is in them."""
    for name in sorted(made - set(files)):
        raise _no(f"'{name}' is missing, which every bundle of this request has")
    jobs = {job["id"] for job in predicate["jobs"]}
    for name in sorted(set(files) - made - FIXED):
        found = OTHERS.fullmatch(name)
        if found is None or found[2] not in (None, *jobs):
            raise _no(f"'{name}' is no file that a bundle of this request has: somebody added it")


def _no(message: str) -> NotVerified:
    return NotVerified("certificate", message)
