"""The keys that whoever verifies a bundle trusts, a ledger's and witnesses', from files of theirs. Knows no bundle."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from unlearn.evidence.cosigning import witness_key
from unlearn.evidence.signing import LedgerKeyError, PublicKey

MOST_BYTES = 100_000


@dataclass(frozen=True)
class TrustedKey:
    """A public key of a ledger.

    Attributes:
        name: of the ledger; None where the file does not say (PEM).
        raw: the 32 bytes.
        until: when it was retired; None while it is in use.
    """

    name: str | None
    raw: bytes
    until: datetime | None = None

    def named(self, origin: str) -> PublicKey:
        """The key as a ledger of this name would have it, unless it has a name of its own."""
        return PublicKey(self.name or origin, self.raw)


def read_keys(path: Path) -> list[TrustedKey]:
    """The keys in a file: one as PEM, or a C2SP verifier key a line, `until` a date behind it once it is retired.

    Raises:
        LedgerKeyError: the file can't be read or holds something else.
    """
    text = _text(path, "--key", "the ledger's public key, as PEM or as name+id+key")
    if "-----BEGIN" in text:
        return [TrustedKey(None, PublicKey.from_pem("ledger", text).raw)]
    return [_line(line, path) for line in _lines(text, path, "--key")]


def read_witnesses(path: Path) -> list[PublicKey]:
    """The keys of witnesses in a file, a C2SP verifier key a line.

    Raises:
        LedgerKeyError: the file can't be read or holds something else.
    """
    text = _text(path, "--witness", "the witness's public key, as name+id+key")
    return [witness_key(line) for line in _lines(text, path, "--witness")]


def _text(path: Path, option: str, wanted: str) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES).decode()
    except OSError as error:
        raise LedgerKeyError(f"{option} '{path}' can't be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise LedgerKeyError(f"{option} '{path}' is no text; give {wanted}") from None
    if "PRIVATE KEY" in text:
        raise LedgerKeyError(
            f"{option} '{path}' is a private key, which should never leave its owner; give the public one"
        )
    return text


def _lines(text: str, path: Path, option: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise LedgerKeyError(f"{option} '{path}' holds no key")
    return lines


def _line(line: str, path: Path) -> TrustedKey:
    words = line.split()
    if len(words) not in (1, 3) or (len(words) == 3 and words[1] != "until"):
        raise LedgerKeyError(f"--key '{path}': a line is name+id+key, or name+id+key until 2027-01-31T00:00:00Z")
    key = PublicKey.from_text(words[0])
    try:
        until = datetime.fromisoformat(words[2]) if len(words) == 3 else None
    except ValueError:
        raise LedgerKeyError(f"--key '{path}': '{words[2][:40]}' is no date such as 2027-01-31T00:00:00Z") from None
    return TrustedKey(key.name, key.raw, until and (until if until.tzinfo else until.replace(tzinfo=UTC)))
