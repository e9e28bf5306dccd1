"""Which file of a bundle holds what."""

from __future__ import annotations

STATEMENT, MANIFEST = "statement.dsse.json", "manifest.json"
REQUEST, README, SCRIPT = "request.json", "README.txt", "verify.py"
ENTRIES, CHECKPOINT, EARLIER = "ledger/entries.jsonl", "ledger/checkpoint.txt", "ledger/consistency.json"
SCHEMA = "unlearn/manifest/v1"
"""Of the manifest."""
