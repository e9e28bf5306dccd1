"""The ledger: its entries, proofs and keys."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from api.schemas.base import Out


class EntryOut(Out):
    """One entry of the ledger; of another company's, place and hash alone."""

    seq: int = Field(description="Its place, from 1.", examples=[1])
    hash: str = Field(description="SHA-256 of its leaf (RFC 6962, section 2.1), in hexadecimal.", examples=["6b1f…"])
    at: str | None = Field(description="When, as RFC 3339.", examples=["2026-03-01T12:00:00.000Z"])
    action: str | None = Field(description="What happened.", examples=["request_accepted"])
    facts: dict[str, Any] | None = Field(description="Ids, and names of subjects under a salt.")


class EntryPage(BaseModel):
    """Entries of the ledger in order."""

    items: list[EntryOut]
    next: int | None = Field(description="`after` of the next page; null on the last.")


class InclusionOut(BaseModel):
    """That an entry is in the ledger (RFC 6962, section 2.1.1)."""

    seq: int = Field(description="The entry; its leaf index is one less.")
    size: int = Field(description="Of the tree: entries.")
    path: list[str] = Field(description="Hashes from the leaf to the root, in hexadecimal.")


class ConsistencyOut(BaseModel):
    """That the ledger only grew (RFC 6962, section 2.1.2)."""

    old: int = Field(description="Entries then.")
    new: int = Field(description="Entries now.")
    path: list[str] = Field(description="Hashes, in hexadecimal.")


class LedgerKeyOut(BaseModel):
    """A key that signs the ledger's checkpoints, or did."""

    key: str = Field(description="C2SP verifier key.", examples=["privacy.example.com/ledger+1a2b3c4d+AQ…"])
    pem: str = Field(description="The public key as PEM.")
    added_at: str = Field(description="When the ledger heard of it, as RFC 3339.")
    retired_at: str | None = Field(description="From when on it signs no more.")
