"""Which file of a bundle holds what."""

from __future__ import annotations

from collections.abc import Iterable

from unlearn.evidence.signing import PublicKey

STATEMENT, MANIFEST = "statement.dsse.json", "manifest.json"
REQUEST, README, SCRIPT = "request.json", "README.txt", "verify.py"
SEARCHED = "searched.json"
CERTIFICATE, PDF = "certificate.html", "certificate.pdf"
ENTRIES, CHECKPOINT, EARLIER = "ledger/entries.jsonl", "ledger/checkpoint.txt", "ledger/consistency.json"
SCHEMA = "unlearn/manifest/v1"
"""Of the manifest."""

RENDERER = 4
"""Version of the words and forms in which a bundle tells what its statement and reports say (`rendered`).

Raise it when one of them changes: verification compares only what its own version made.
"""


def key_files(keys: Iterable[PublicKey]) -> dict[str, bytes]:
    """The files that hold the ledger's keys, for convenience: as C2SP verifier keys and as PEM."""
    keys = list(keys)
    pems = {f"keys/{key.key_id.hex()}.pem": key.pem.encode() for key in keys}
    return {"keys/ledger.pub": "".join(f"{key.text}\n" for key in keys).encode(), **pems}
