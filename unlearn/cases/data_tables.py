"""The tables of the data itself: corpora that are kept, fingerprints of what was erased. Shapes and constraints."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Float, ForeignKey, ForeignKeyConstraint, Index, Integer, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from unlearn.cases.tables import Table


class StoredCorpus(Table):
    """A corpus that the service keeps of a version, sealed in a file of its own; its key is forgotten with it.

    It is in its version's quarantine, or in its own, if a later edition took its place; `purging_at` is of the latter.
    """

    __tablename__ = "corpora"
    __table_args__ = (
        ForeignKeyConstraint(["adapter_id", "number"], ["adapter_versions.adapter_id", "adapter_versions.number"]),
    )

    adapter_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    edition: Mapped[int] = mapped_column(Integer, primary_key=True)
    kind: Mapped[str] = mapped_column(String(10), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    records: Mapped[int] = mapped_column(Integer)
    path: Mapped[str] = mapped_column(Text)
    sealed_key: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    quarantined_at: Mapped[datetime | None]
    purge_after: Mapped[datetime | None]
    purging_at: Mapped[datetime | None]
    purged_at: Mapped[datetime | None]


class ErasedFingerprint(Table):
    """What is kept of an erased record, so that it is known when it comes back: keyed, and without its text.

    A text whose likeness to it is at least `floor` counts as its near duplicate. Of one that came back from a journal
    the job may be unknown.
    """

    __tablename__ = "erased_fingerprints"
    __table_args__ = (Index("one_fingerprint_of_a_text", "controller_id", "exact", unique=True),)

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)
    controller_id: Mapped[str] = mapped_column(ForeignKey("controllers.id"))
    exact: Mapped[str] = mapped_column(String(64))
    sketch: Mapped[bytes] = mapped_column(LargeBinary)
    floor: Mapped[float] = mapped_column(Float)
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    created_at: Mapped[datetime]


class FingerprintBand(Table):
    """By which bands of its sketch a fingerprint is found."""

    __tablename__ = "fingerprint_bands"

    controller_id: Mapped[str] = mapped_column(ForeignKey("controllers.id"), primary_key=True)
    band: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    fingerprint_id: Mapped[int] = mapped_column(ForeignKey("erased_fingerprints.id"), primary_key=True)
