"""Ed25519 keys: public ones under a name, and signers, each of which keeps its private key to itself.

A public key is written as PEM (RFC 8410), which openssl reads, or as a C2SP verifier key, which tools for signed notes
read. Knows no database and no settings.

Source: https://github.com/C2SP/C2SP/blob/main/signed-note.md, https://github.com/C2SP/C2SP/blob/main/tlog-cosignature.md
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import re
import secrets
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from unlearn.errors import BadInput, Unavailable

ED25519, COSIGNATURE = 0x01, 0x04
"""Kinds of signatures on a note: of the log itself, and a witness's with the time."""
ALGORITHMS = (ED25519, COSIGNATURE)
KEY_BYTES, SIGNATURE_BYTES = 32, 64
COMMAND_SECONDS = 30
"""How long a signing command may take."""


SEED = re.compile(r"[0-9a-fA-F]{64}")
"""A private key as hex digits, as `openssl rand -hex 32` makes one; base64 of 32 bytes has 44 characters."""


class LedgerKeyError(BadInput):
    """A key of the ledger, or what signs with it, can't be used."""

    kind = "bad-ledger-key"
    title = "The ledger's key can't be used"


@dataclass(frozen=True)
class PublicKey:
    """Who signed.

    Attributes:
        name: without spaces and '+'; the ledger's origin, or the witness's name.
        raw: the 32 bytes of RFC 8032.
        algorithm: `ED25519` or `COSIGNATURE`.
    """

    name: str
    raw: bytes
    algorithm: int = ED25519

    def __post_init__(self) -> None:
        if not self.name or "+" in self.name or not self.name.isprintable() or " " in self.name:
            raise LedgerKeyError(f"'{self.name[:80]}' can't name a key; give printable text without spaces and '+'")
        if len(self.raw) != KEY_BYTES or self.algorithm not in ALGORITHMS:
            raise LedgerKeyError(f"key '{self.name}' is no Ed25519 key of {KEY_BYTES} bytes")

    @property
    def key_id(self) -> bytes:
        """The first 4 bytes of SHA-256(name || 0x0A || algorithm || key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + self._typed).digest()[:4]

    @property
    def text(self) -> str:
        """The C2SP verifier key: name, id and key joined by '+'."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(self._typed).decode('ascii')}"

    @property
    def pem(self) -> str:
        """SubjectPublicKeyInfo as PEM; it does not hold the name."""
        encoding = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        return Ed25519PublicKey.from_public_bytes(self.raw).public_bytes(*encoding).decode("ascii")

    @property
    def _typed(self) -> bytes:
        return bytes([self.algorithm]) + self.raw

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The key of a C2SP verifier key.

        Raises:
            LedgerKeyError: it is none, or its id is not that of its key.
        """
        parts = text.strip().split("+", 2)  # base64 may hold a '+', the name and the id can't
        if len(parts) != 3:
            raise LedgerKeyError("a verifier key looks like name+id+key; this is none")
        name, key_id, encoded = parts
        try:
            typed = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise LedgerKeyError(f"the key of '{name[:80]}' is not base64") from None
        if len(typed) != 1 + KEY_BYTES or typed[0] not in ALGORITHMS:
            raise LedgerKeyError(f"the key of '{name[:80]}' is no Ed25519 key")
        key = cls(name, typed[1:], typed[0])
        if key.key_id.hex() != key_id:
            raise LedgerKeyError(f"the id '{key_id[:16]}' of '{name}' is not that of its key, {key.key_id.hex()}")
        return key

    @classmethod
    def from_pem(cls, name: str, pem: str | bytes) -> Self:
        """The key of a PEM file under a name.

        Raises:
            LedgerKeyError: it holds no Ed25519 public key.
        """
        try:
            key = serialization.load_pem_public_key(pem.encode() if isinstance(pem, str) else pem)
        except (ValueError, UnsupportedAlgorithm):
            raise LedgerKeyError(f"the public key of '{name}' can't be read; give it as PEM") from None
        if not isinstance(key, Ed25519PublicKey):
            raise LedgerKeyError(f"the public key of '{name}' is of another kind than Ed25519")
        return cls(name, key.public_bytes_raw())

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether the 64 bytes are this key's signature of the message (RFC 8032)."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except InvalidSignature:
            return False
        return True


class Signer(Protocol):
    """Whatever signs in the name of a public key."""

    @property
    def public(self) -> PublicKey:
        """Whose signatures it makes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of an Ed25519 signature."""
        ...


@dataclass(frozen=True)
class LocalSigner:
    """Signs with a private key in this process."""

    public: PublicKey
    _private: Ed25519PrivateKey = field(repr=False, compare=False)

    def sign(self, message: bytes) -> bytes:
        """The signature."""
        return self._private.sign(message)


@dataclass(frozen=True)
class CommandSigner:
    """Has a command sign, such as a client of a key service: the message on stdin, base64 of the signature on stdout.

    Attributes:
        public: the key beside it.
        command: program and arguments; no shell reads them.
    """

    public: PublicKey
    command: tuple[str, ...]

    def sign(self, message: bytes) -> bytes:
        """The signature.

        Raises:
            Unavailable: the command can't be started, takes too long or fails.
            LedgerKeyError: what it prints is no signature of the message by the public key.
        """
        program = self.command[0]
        try:
            done = subprocess.run(self.command, input=message, capture_output=True, timeout=COMMAND_SECONDS, check=True)
        except subprocess.CalledProcessError as error:
            raise Unavailable(f"the signing command '{program}' failed with status {error.returncode}") from None
        except subprocess.TimeoutExpired:
            raise Unavailable(f"the signing command '{program}' took more than {COMMAND_SECONDS} s") from None
        except OSError as error:
            raise Unavailable(f"the signing command '{program}' can't be started ({error.strerror})") from None
        try:
            signature = base64.b64decode(done.stdout.strip(), validate=True)
        except binascii.Error:
            signature = b""
        if not self.public.verify(message, signature):
            raise LedgerKeyError(
                f"what the signing command '{program}' printed is no signature by '{self.public.name}' in base64; "
                "check that command and public key belong together"
            )
        return signature


def signer_of(secret: str, name: str, algorithm: int = ED25519) -> LocalSigner:
    """The signer of a private key: PEM (PKCS #8, without a passphrase), or the 32-byte seed in base64 or hex.

    Raises:
        LedgerKeyError: it is neither; the message does not repeat it.
    """
    private = _private(secret.strip(), name)
    return LocalSigner(PublicKey(name, private.public_key().public_bytes_raw(), algorithm), private)


def _private(secret: str, name: str) -> Ed25519PrivateKey:
    with contextlib.suppress(binascii.Error, ValueError):
        if SEED.fullmatch(secret):
            return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
        if not secret.startswith("-----"):
            return Ed25519PrivateKey.from_private_bytes(base64.b64decode(secret, validate=True))
    try:
        key = serialization.load_pem_private_key(secret.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise LedgerKeyError(
            f"the private key of '{name}' can't be read; give PEM without a passphrase, or the 32-byte seed in "
            "base64 or hex"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise LedgerKeyError(f"the private key of '{name}' is of another kind than Ed25519")
    return key


def read_key_file(path: Path) -> str:
    """The private key in a file that its owner alone can read.

    Raises:
        LedgerKeyError: others can read it, or it can't be read.
    """
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise LedgerKeyError(
                    f"others than its owner may read the key '{path}'; chmod 600 it, or take a new key"
                )
            return file.read()
    except OSError as error:
        raise LedgerKeyError(f"the key '{path}' can't be read ({error.strerror})") from None


def make_key_file(path: Path) -> None:
    """A new private key at `path`, mode 0600; of several processes that make it at once, one is first and it stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = Ed25519PrivateKey.generate().private_bytes(serialization.Encoding.PEM, *form)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(pem)
        out.flush()
        os.fsync(out.fileno())  # a key lost in a crash after it has signed could never sign again
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()


def command_signer(command: Sequence[str], public: PublicKey) -> CommandSigner:
    """The signer of a command and the public key beside it; LedgerKeyError without a program."""
    if not command or not command[0]:
        raise LedgerKeyError("the signing command is empty; give program and arguments as a JSON list")
    return CommandSigner(public, tuple(command))
