"""Which keys sign the ledger: those that its own entries name, and the signers that this machine has for them.

A key is in force from the entry that adds it to the entry that retires it. Speaks no SQL, and sees no private key:
signers keep theirs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unlearn.evidence.ledger import Entry
from unlearn.evidence.signing import (
    LedgerKeyError,
    PublicKey,
    Signer,
    command_signer,
    make_key_file,
    read_key_file,
    signer_of,
)
from unlearn.settings import Settings

UNNAMED = "unnamed"


@dataclass(frozen=True)
class LedgerKey:
    """A key that signs the ledger, or did.

    Attributes:
        public: by which checkpoints are checked.
        added_at: when the ledger heard of it, RFC 3339.
        retired_at: from when on it signs no more.
    """

    public: PublicKey
    added_at: str
    retired_at: str | None = None


class _Command(BaseModel):
    model_config = ConfigDict(extra="forbid")

    command: Annotated[list[str], Field(min_length=1)]
    public_key: str


def keys_of(entries: Sequence[Entry]) -> list[LedgerKey]:
    """The keys that the entries of keys name, in their order; LedgerKeyError if one names none."""
    keys: dict[str, LedgerKey] = {}
    for entry in entries:
        text = str(entry.facts.get("ledger_key"))
        if entry.action == "ledger_key_added":
            keys[text] = LedgerKey(PublicKey.from_text(text), entry.at)
        elif text in keys:
            keys[text] = replace(keys[text], retired_at=entry.at)
    return list(keys.values())


def next_origin(keys: Sequence[PublicKey]) -> str | None:
    """The ledger's name under its next first key; None before there was any.

    Once all its keys are retired, as by a restore that can't go on where published checkpoints are, the ledger is
    another: its first name with a number.
    """
    names = list(dict.fromkeys(key.name for key in keys))
    return f"{names[0]}/{len(names) + 1}" if names else None


def signers(settings: Settings, origin: str | None) -> list[Signer]:
    """The signers of this machine; the first is the one for new keys.

    Commands come before UNLEARN_LEDGER_KEY, and that before the file under home, which is made where there is nothing.

    Args:
        settings: which keys there are.
        origin: the ledger's name; None before its first key, from which it is made then.

    Raises:
        LedgerKeyError: one can't be used.
    """
    name = origin or settings.ledger_origin or UNNAMED
    found: list[Signer] = [_command(given, name) for given in settings.ledger_signers]
    if settings.ledger_key is not None:
        found.append(signer_of(settings.ledger_key.get_secret_value(), name))
    file = key_file(settings)
    if not found and not file.exists():
        make_key_file(file)
    found += [signer_of(read_key_file(one), name) for one in (file, previous_key_file(settings)) if one.exists()]
    if settings.ledger_key_previous is not None:
        found.append(signer_of(settings.ledger_key_previous.get_secret_value(), name))
    first = found[0].public
    if first.name == UNNAMED:
        return signers(settings, f"unlearn.local/{hashlib.sha256(first.raw).hexdigest()[:16]}")
    ledger = origin or first.name
    for other in (one.public.name for one in found):
        if other != ledger:
            raise LedgerKeyError(
                f"a key is named '{other}', and the ledger '{ledger}'; the ledger's keys bear its name"
            )
    return found


def rotate_file(settings: Settings) -> None:
    """Put a new key file in the place of the present one, which signs on beside it.

    Raises:
        LedgerKeyError: the key before the present one is still there.
    """
    file, before = key_file(settings), previous_key_file(settings)
    if before.exists():
        raise LedgerKeyError(
            f"the key before, '{before}', still signs; retire it with `unlearn ledger key retire` first"
        )
    file.rename(before)
    make_key_file(file)


def forget_file(settings: Settings, key: PublicKey) -> None:
    """Delete the file of a retired key, if there is one."""
    for file in (key_file(settings), previous_key_file(settings)):
        if file.exists() and signer_of(read_key_file(file), key.name).public.raw == key.raw:
            file.unlink()


def key_file(settings: Settings) -> Path:
    """The key under home that signs the ledger."""
    return settings.home / "keys" / "ledger.pem"


def previous_key_file(settings: Settings) -> Path:
    """The one before it, until it is retired."""
    return settings.home / "keys" / "ledger.previous.pem"


def _command(given: dict[str, Any], name: str) -> Signer:
    try:
        read = _Command.model_validate(given)
    except ValidationError:
        raise LedgerKeyError(
            'UNLEARN_LEDGER_SIGNERS: give {"command": ["program", "argument"], "public_key": "…"} for each'
        ) from None
    text = read.public_key.strip()
    key = PublicKey.from_pem(name, text) if text.startswith("-----") else PublicKey.from_text(text)
    return command_signer(read.command, key)
