"""Where the service keeps things and what it may reach: settings from the environment.

Every setting is an environment variable with the prefix `UNLEARN_`, for example `UNLEARN_HOME`. Knows
nothing of what the settings are used for.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from unlearn.errors import BadInput, PathNotAllowed

LONGEST_SOCKET_BYTES = 100
"""sockaddr_un holds 108 bytes on Linux and 104 elsewhere, a closing NUL among them."""

OPENDSR = ("opendsr_domain", "opendsr_key_file", "opendsr_certificate_file")
"""What the OpenDSR front needs, together."""

DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+")
"""A host name with at least two labels (RFC 1123, section 2.1)."""


class Settings(BaseSettings):
    """The effective settings of one process. Paths are absolute; durations are in seconds."""

    model_config = SettingsConfigDict(
        env_prefix="UNLEARN_", extra="ignore", frozen=True, ignored_types=(cached_property,)
    )

    home: Path = Field(
        default=Path("~/.unlearn"), description="Directory of everything the service keeps on this machine."
    )
    database_url: str | None = Field(default=None, description="SQLAlchemy URL; by default an SQLite file under home.")
    broker_url: str | None = Field(
        default=None, description="Redis or Valkey URL; by default a server on a unix socket under home."
    )
    mlflow_tracking_uri: str | None = Field(
        default=None,
        validation_alias=AliasChoices("UNLEARN_MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_URI", "mlflow_tracking_uri"),
        description="MLflow tracking URI; by default an SQLite file under home.",
    )
    mlflow_experiment: str = Field(default="unlearn", description="MLflow experiment of the erasing runs.")
    roots: Annotated[list[Path], NoDecode] = Field(
        default_factory=list,
        description=f"Directories that may be read from, joined by '{os.pathsep}'; home is always one.",
    )
    identity_key: SecretStr | None = Field(
        default=None, description="Key of the identity hashes (32 bytes or more); by default made under home."
    )
    api_key: SecretStr | None = Field(
        default=None, description="API key of the command line; by default the local key under home."
    )
    local_key: bool = Field(
        default=True,
        description="Whether the API keeps an admin key under home, readable by the owner alone, for commands on the "
        "same machine.",
    )
    hooks: list[dict[str, Any]] = Field(
        default_factory=list,
        description="Whom to tell of releases, as JSON: kinds 'link', 'mlflow', 'vllm' (unlearn.deploy). The link "
        "`current` under home is always moved.",
    )
    callbacks_allow_private: bool = Field(
        default=False, description="Whether callbacks may go to plain http, any port and private addresses."
    )
    errands: bool = Field(
        default=True,
        description="Whether the API runs callbacks and hooks itself; no where `python -m workers.errands` does.",
    )
    ledger_origin: str | None = Field(
        default=None,
        pattern=r"^[!-*,-~]{1,200}$",
        description="Name of the ledger in its checkpoints, such as privacy.example.com/ledger, for good; by default "
        "made from its first key.",
    )
    ledger_key: SecretStr | None = Field(
        default=None,
        description="Ed25519 key that signs the ledger, as PEM or its seed in base64; by default made under home.",
    )
    ledger_key_previous: SecretStr | None = Field(
        default=None, description="The key before, which signs as well until it is retired."
    )
    ledger_signers: list[dict[str, Any]] = Field(
        default_factory=list,
        description="Commands that sign the ledger with keys kept elsewhere, the newest first, as JSON: `command` (a "
        "list; gets the message on stdin, prints the signature in base64) and `public_key`.",
    )
    ledger_publish: list[Annotated[str, StringConstraints(pattern=r"^[^@]{1,200}$")]] = Field(
        default_factory=list,
        description="Where checkpoints are published, as a JSON list: a file that grows, an fsspec URL such as "
        "s3://bucket/ledger, an https address that gets a POST.",
    )
    ledger_publish_seconds: float = Field(
        default=300, gt=0, description="Seconds between two checkpoints, if the ledger grew meanwhile."
    )
    host: str = Field(default="127.0.0.1", description="Address the API listens on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port the API listens on.")
    opendsr_domain: str | None = Field(
        default=None, description="Domain under which controllers reach the OpenDSR front; without it there is none."
    )
    opendsr_key_file: Path | None = Field(
        default=None, description="Private key that signs OpenDSR answers: PEM without a passphrase, RSA or EC P-256."
    )
    opendsr_certificate_file: Path | None = Field(
        default=None,
        description="Its X.509 certificate as PEM, with the domain among its names, by an authority controllers trust.",
    )
    metrics_open: bool = Field(
        default=False,
        description="Whether /metrics answers without a key, and then for all companies; for a network that only the "
        "monitoring reaches.",
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="How API and workers log: lines for people, or a JSON object a line."
    )
    device: str = Field(default="cpu", description="torch device of the workers.")
    lease_seconds: float = Field(default=90, gt=0, description="How long a job's lease lasts without a heartbeat.")
    heartbeat_seconds: float = Field(default=20, gt=0, description="Seconds between two heartbeats of a job.")
    sweep_seconds: float = Field(default=2, gt=0, description="Seconds between two sweeps of outbox and leases.")
    max_attempts: int = Field(default=3, ge=1, description="How often a job may be started before a person decides.")

    def __init__(self, **given: Any) -> None:
        """Read the environment; `given` goes before it.

        Raises:
            BadInput: a value that can't be, by the name of its variable.
        """
        try:
            super().__init__(**given)
        except ValidationError as error:
            faults = (f"{_variable(e['loc'])}{e['msg'].removeprefix('Value error, ')}" for e in error.errors())
            raise BadInput("; ".join(faults)) from None

    @model_validator(mode="after")
    def _beat_within_the_lease(self) -> Self:
        if self.heartbeat_seconds * 2 > self.lease_seconds:
            raise ValueError(
                f"UNLEARN_HEARTBEAT_SECONDS ({self.heartbeat_seconds:g}) must be at most half of UNLEARN_LEASE_SECONDS "
                f"({self.lease_seconds:g}), or a busy worker loses its job"
            )
        return self

    @model_validator(mode="after")
    def _opendsr_whole_or_not_at_all(self) -> Self:
        given = {name.upper(): getattr(self, name) is not None for name in OPENDSR}
        if any(given.values()) and not all(given.values()):
            missing = " and ".join(f"UNLEARN_{name}" for name, there in given.items() if not there)
            raise ValueError(f"the OpenDSR front signs what it says: set {missing} as well, or none of the three")
        return self

    @field_validator(*OPENDSR, mode="before")
    @classmethod
    def _empty_is_not_given(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("opendsr_domain")
    @classmethod
    def _domain(cls, value: str | None) -> str | None:
        if value is not None and not DOMAIN.fullmatch(value.lower()):
            raise ValueError("give a domain alone, such as privacy.example.com: no scheme, port or path")
        return value and value.lower()

    @field_validator("roots", mode="before")
    @classmethod
    def _split_roots(cls, value: object) -> object:
        return [p for p in value.split(os.pathsep) if p] if isinstance(value, str) else value

    def model_post_init(self, _context: object) -> None:
        """Make every path absolute."""
        object.__setattr__(self, "home", self.home.expanduser().resolve())
        roots = [r.expanduser().resolve() for r in self.roots]
        object.__setattr__(self, "roots", roots)
        for name in ("opendsr_key_file", "opendsr_certificate_file"):
            path = getattr(self, name)
            if path is not None:
                object.__setattr__(self, name, path.expanduser().resolve())

    @property
    def effective_database_url(self) -> str:
        """SQLAlchemy URL of the case database."""
        return self.database_url or f"sqlite:///{self.home / 'unlearn.db'}"

    @property
    def effective_broker_url(self) -> str:
        """URL of the broker, in Celery's spelling."""
        return self.broker_url or f"redis+socket://{quote(str(self.broker_socket))}"

    @property
    def broker_socket(self) -> Path:
        """Unix socket of the broker that the program starts itself.

        Under home; where home is too deep for a socket's address, in a directory of this user's under /tmp, whose
        name hangs on home alone, so that every process finds it whatever its TMPDIR.
        """
        path = self.home / "broker" / "broker.sock"
        if len(os.fsencode(path)) <= LONGEST_SOCKET_BYTES:
            return path
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]
        return Path("/tmp") / f"unlearn-{os.getuid()}-{digest}" / "broker.sock"  # noqa: S108 - made 0700, owner checked

    @property
    def local_key_file(self) -> Path:
        """Where the API keeps the key for commands on the same machine."""
        return self.home / "keys" / "local.token"

    @property
    def effective_mlflow_uri(self) -> str:
        """MLflow tracking URI."""
        return self.mlflow_tracking_uri or f"sqlite:///{self.home / 'mlflow.db'}"

    @cached_property
    def identity_hash_key(self) -> bytes:
        """Key of the identity hashes; generated on first use, readable by the owner alone.

        Raises:
            BadInput: the key given, or kept under home, is shorter than 32 bytes.
        """
        if self.identity_key is not None:
            key = self.identity_key.get_secret_value().encode()
            if len(key) < 32:
                raise BadInput(
                    f"UNLEARN_IDENTITY_KEY has {len(key)} bytes; give at least 32, "
                    "for example from: python3 -c 'import secrets; print(secrets.token_hex(32))'"
                )
            return key
        return _key_file(self.home / "keys" / "identity.key")

    def allowed_path(self, path: str | Path, what: str) -> Path:
        """The real path of `path`, if it lies under home or one of the roots.

        Args:
            path: as a client named it; links are followed before the check.
            what: what the path is for, for the message.

        Raises:
            PathNotAllowed: it lies elsewhere, or is relative.
            BadInput: nothing is there.
        """
        if "\0" in str(path):
            raise BadInput(f"{what}: the path holds a NUL character")
        given = Path(path)
        if not given.is_absolute():
            raise PathNotAllowed(f"{what}: '{path}' is relative; give an absolute path under an allowed root")
        try:
            real = given.resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise BadInput(f"{what}: '{path}' can't be resolved ({error})") from None
        if not any(real.is_relative_to(root) for root in [self.home, *self.roots]):
            raise PathNotAllowed(
                f"{what}: '{path}' is outside the allowed roots; move it under one of them, "
                "or add its directory to UNLEARN_ROOTS"
            )
        try:
            there = real.exists()
        except OSError as error:
            raise BadInput(f"{what}: '{path}' can't be reached ({error.strerror})") from None
        if not there:
            raise BadInput(f"{what}: nothing at '{path}'")
        return real


def _variable(loc: tuple[int | str, ...]) -> str:
    return f"UNLEARN_{str(loc[0]).upper().removeprefix('UNLEARN_')}: " if loc else ""


def _key_file(path: Path) -> bytes:
    """Read the key at `path`, or make it: 32 random bytes as hex, mode 0600, safe against a racing process."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as out:
            out.write(secrets.token_hex(32))
            out.flush()
            os.fsync(out.fileno())  # a key lost in a crash would orphan every hash made with it
        with contextlib.suppress(FileExistsError):  # another process was first; its key holds
            os.link(draft, path)
        draft.unlink()
    key = path.read_bytes().strip()
    if len(key) < 32:
        raise BadInput(
            f"the identity key '{path}' has {len(key)} bytes, 32 are the least; put the right key back from a backup, "
            "since hashes made with another can't be matched"
        )
    return key
