"""Records as plain data. Knows no file format, no tokenizer and no split."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Record:
    """One training example: `text`, or `prompt` with `completion`, or `messages`; never more than one of these."""

    id: str
    subjects: tuple[str, ...]
    text: str | None = None
    prompt: str | None = None
    completion: str | None = None
    messages: tuple[Message, ...] | None = None

    @property
    def content(self) -> str:
        """Everything readable in it, in order."""
        if self.messages is not None:
            return "\n".join(message.content for message in self.messages)
        if self.text is not None:
            return self.text
        return (self.prompt or "") + (self.completion or "")


@dataclass(frozen=True)
class Corpus:
    """A file of records: where it is, the SHA-256 of its bytes, what it holds."""

    path: Path
    sha256: str
    records: tuple[Record, ...]

    @cached_property
    def subjects(self) -> frozenset[str]:
        """Every subject that some record names."""
        return frozenset(subject for record in self.records for subject in record.subjects)
