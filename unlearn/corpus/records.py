"""What a corpus is made of: records of people, as plain data.

Knows nothing of files, tokenizers or models, and does not check what it holds: reading a file does.
"""

from __future__ import annotations

import hashlib
import json
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
    """One training example, in one of three forms: `text`, `prompt` with `completion`, or `messages`.

    `subjects` are the people it is about, possibly none. `paraphrases` are other wordings of the prompt, or of the last
    user turn: nobody learns them, an audit asks in them.
    """

    id: str
    subjects: tuple[str, ...]
    text: str | None = None
    prompt: str | None = None
    completion: str | None = None
    messages: tuple[Message, ...] | None = None
    paraphrases: tuple[str, ...] = ()

    @property
    def content(self) -> str:
        """Everything to learn: the text, prompt and completion as one, or the messages, a line break between."""
        if self.messages is not None:
            return "\n".join(message.content for message in self.messages)
        return f"{self.text or ''}{self.prompt or ''}{self.completion or ''}"

    @property
    def sha256(self) -> str:
        """Of what a model reads, to the letter and turn by turn; not of the id, the subjects and the paraphrases."""
        turns = None if self.messages is None else [(one.role, one.content) for one in self.messages]
        said = json.dumps((self.text, self.prompt, self.completion, turns))
        return hashlib.sha256(said.encode()).hexdigest()

    @property
    def parts(self) -> tuple[str, ...]:
        """What there is to learn, piece by piece: the text, prompt and completion, or each message."""
        if self.messages is not None:
            return tuple(message.content for message in self.messages)
        return tuple(part for part in (self.text, self.prompt, self.completion) if part)


@dataclass(frozen=True)
class Corpus:
    """The records of one file, in its order; `sha256` is that of the file's bytes."""

    path: Path
    sha256: str
    records: tuple[Record, ...]

    @cached_property
    def subjects(self) -> frozenset[str]:
        """Everybody whom some record names."""
        return frozenset(subject for record in self.records for subject in record.subjects)
