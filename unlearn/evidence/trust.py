"""The keys that whoever verifies a bundle trusts, from files of theirs. Knows no bundle."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

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
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES).decode()
    except OSError as error:
        raise LedgerKeyError(f"--key '{path}' can't be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise LedgerKeyError(
            f"--key '{path}' is no text; give the ledger's public key, as PEM or as name+id+key"
        ) from None
    if "PRIVATE KEY" in text:
        raise LedgerKeyError(
            f"--key '{path}' is a private key, which should never leave its owner; give the public one"
        )
    if "-----BEGIN" in text:
        return [TrustedKey(None, PublicKey.from_pem("ledger", text).raw)]
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise LedgerKeyError(f"--key '{path}' holds no key")
    return [_line(line, path) for line in lines]


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
