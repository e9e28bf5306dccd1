"""Where the service keeps things and what it may reach: settings from the environment.

Every setting is an environment variable with the prefix `UNLEARN_`, for example `UNLEARN_HOME`. Knows
nothing of what the settings are used for.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote
from zoneinfo import ZoneInfo

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

from unlearn.durable import write_once
from unlearn.errors import BadInput
from unlearn.locations import NO_SECRETS, holds_user, is_url, url_of

LONGEST_SOCKET_BYTES = 100
"""sockaddr_un holds 108 bytes on Linux and 104 elsewhere, a closing NUL among them."""

OPENDSR = ("opendsr_domain", "opendsr_key_file", "opendsr_certificate_file")
"""What the OpenDSR front needs, together."""

OIDC = ("oidc_issuer", "oidc_audience", "oidc_jwks_url", "oidc_controller_claim")
"""What may be left out or given as an empty text."""

EMPTY = ("ledger_origin", "ledger_key_previous", "retention_days", "worker_max_memory_mb")
"""So may these; OpenDSR's three as well."""

DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+")
"""A host name with at least two labels (RFC 1123, section 2.1)."""

_BETWEEN_ROOTS = re.compile(f"{re.escape(os.pathsep)}(?!//)")
"""The colon of a URL parts no roots."""


def _root(url: str) -> str:
    """The URL of a root in its one spelling, which may name the company that asks."""
    return url_of(url.replace("{controller}", "=controller=")).replace("=controller=", "{controller}")


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
    mlflow_artifacts: str | None = Field(
        default=None,
        min_length=1,
        description="Where MLflow's server keeps what it serves as mlflow-artifacts:/ (its --artifacts-destination): a "
        "directory of this machine, or s3://bucket/prefix. Purges dispose of weights there as in our store; without "
        "this MLflow alone deletes them, and the ledger says so.",
    )
    mlflow_experiment: str = Field(default="unlearn", description="MLflow experiment of the erasing runs.")
    journal: Path | None = Field(
        default=None,
        description="File that gets every entry of the ledger as well, for `unlearn restore`; by default under home, "
        "and best on another disk.",
    )
    roots: Annotated[list[Path | str], NoDecode] = Field(
        default_factory=list,
        description="Directories and URLs of object stores (s3://bucket/prefix) that may be read from, joined by "
        f"'{os.pathsep}'; `inputs` under home is always one. '{{controller}}' in one stands for the id of the company "
        "that asks, so that no company may name another's files. Credentials come from the environment (AWS_…), "
        "never from a URL.",
    )
    store: str | None = Field(
        default=None,
        description="Where versions of adapters live: a directory, or s3://bucket/prefix for several machines; by "
        "default `adapters` under home.",
    )
    cache_bytes: int = Field(
        default=200 * 10**9, gt=0, description="Most bytes of base models from object stores that are kept under home."
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
    statutory_zone: str = Field(
        default="UTC",
        description="Zone of the tz database, such as Europe/Berlin, in whose calendar a request's month and business "
        "days are counted; requests that are open keep their day.",
    )
    oidc_issuer: str | None = Field(
        default=None, description="URL of an OIDC issuer whose bearer tokens are taken beside API keys."
    )
    oidc_audience: str | None = Field(
        default=None, description="What the issuer calls this service (`aud`); tokens for others are refused."
    )
    oidc_jwks_url: str | None = Field(
        default=None, description="Where the issuer's keys are; by default its discovery document says so."
    )
    oidc_scope_claim: str = Field(
        default="scope", min_length=1, description="Claim with the scopes: words with spaces between, or a list."
    )
    oidc_scope_prefix: str = Field(
        default="", description="What our scopes begin with there, such as 'unlearn:'; all other words are left alone."
    )
    oidc_controller_claim: str | None = Field(
        default=None,
        description="Claim with the name of the company a token is for; without, all are for the default one.",
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
        description="Whether the API runs callbacks, hooks and purges itself; no where `workers.errands` does.",
    )
    ledger_origin: str | None = Field(
        default=None,
        pattern=r"^[!-*,-~]{1,200}$",
        description="Name of the ledger in its checkpoints, such as privacy.example.com/ledger, for good; by default "
        "made from its first key.",
    )
    ledger_key: SecretStr | None = Field(
        default=None,
        description="Ed25519 key that signs the ledger, as PEM or its seed in base64 or hex; by default made under "
        "home. Machines that share a database share it.",
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
        "s3://bucket/ledger, an https address that gets a POST; one that ends in /add-checkpoint is a witness (C2SP "
        "tlog-witness).",
    )
    ledger_witnesses: list[str] = Field(
        default_factory=list,
        description="Witnesses whose cosignatures of checkpoints are kept, as a JSON list of verifier keys "
        "(name+id+key).",
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
        description="Its X.509 certificate as PEM, with the domain among its names, by an authority controllers trust; "
        "its issuers may follow.",
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
    worker_max_memory_mb: int | None = Field(
        default=None,
        ge=64,
        description="Peak memory (MB) above which a worker's process makes way for a fresh one, after its job; by "
        "default three quarters of the machine's, or of its container's.",
    )
    lease_seconds: float = Field(default=90, gt=0, description="How long a job's lease lasts without a heartbeat.")
    heartbeat_seconds: float = Field(default=20, gt=0, description="Seconds between two heartbeats of a job.")
    sweep_seconds: float = Field(default=2, gt=0, description="Seconds between two sweeps of outbox and leases.")
    retention_days: int | None = Field(
        default=None,
        ge=1,
        description="Days after a person's last request ended until nothing needs to link the ledger to her.",
    )
    purge_seconds: float = Field(
        default=3600, gt=0, description="Seconds between two looks for what is due to be purged."
    )
    job_limit_seconds: int = Field(
        default=5 * 3600,
        ge=60,
        description="Seconds after which an attempt of a job is killed; the same for API, workers and maintenance.",
    )
    max_attempts: int = Field(
        default=3,
        ge=1,
        description="How often a job may be started before a person decides; one that something was away for counts "
        "once in three hours.",
    )

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

    @model_validator(mode="after")
    def _issuer_and_audience(self) -> Self:
        if self.oidc_issuer is None and (self.oidc_audience or self.oidc_jwks_url or self.oidc_controller_claim):
            raise ValueError("the OIDC settings are about tokens of an issuer: set UNLEARN_OIDC_ISSUER as well")
        if self.oidc_issuer is not None and self.oidc_audience is None:
            raise ValueError(
                "a token must be for this service, not for any of the issuer's: set UNLEARN_OIDC_AUDIENCE as well"
            )
        return self

    @field_validator("oidc_issuer", "oidc_jwks_url")
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^\s/?#@]+([/?][^\s#]*)?", value):
            raise ValueError("give an address such as https://login.example.com/realm: no user, no fragment")
        return value

    @field_validator(*OPENDSR, *OIDC, *EMPTY, mode="before")
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
        if isinstance(value, str):
            if holds_user(value):
                raise ValueError(NO_SECRETS)
            value = [part for part in _BETWEEN_ROOTS.split(value) if part]
        if isinstance(value, list):
            return [_root(str(root)) if is_url(str(root)) else Path(root) for root in value]
        return value

    @field_validator("statutory_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"'{value}' is no zone of the tz database; name one such as Europe/Berlin") from error
        return value

    @field_validator("store")
    @classmethod
    def _one_store(cls, value: str | None) -> str | None:
        if not value:
            return None
        if not is_url(value):
            return str(Path(value).expanduser().resolve())
        if not value.startswith("s3://"):
            raise ValueError("versions live in a directory or at s3://bucket/prefix")
        return url_of(value)

    def model_post_init(self, _context: object) -> None:
        """Make every path absolute."""
        object.__setattr__(self, "home", self.home.expanduser().resolve())
        roots = [r.expanduser().resolve() if isinstance(r, Path) else r for r in self.roots]
        object.__setattr__(self, "roots", roots)
        for name in ("journal", "opendsr_key_file", "opendsr_certificate_file"):
            path = getattr(self, name)
            if path is not None:
                object.__setattr__(self, name, path.expanduser().resolve())

    @property
    def zone(self) -> ZoneInfo:
        """Of the statutory clock."""
        return ZoneInfo(self.statutory_zone)

    @property
    def effective_database_url(self) -> str:
        """SQLAlchemy URL of the case database."""
        return self.database_url or f"sqlite:///{self.home / 'unlearn.db'}"

    @property
    def effective_broker_url(self) -> str:
        """URL of the broker, in Celery's spelling."""
        return self.broker_url or f"redis+socket://{quote(str(self.broker_socket))}"

    @property
    def effective_journal(self) -> Path:
        """Where the journal is."""
        return self.journal or self.home / "journal.jsonl"

    @property
    def effective_store(self) -> str:
        """Directory or URL of the adapters' versions."""
        return self.store or str(self.home / "adapters")

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


def _variable(loc: tuple[int | str, ...]) -> str:
    return f"UNLEARN_{str(loc[0]).upper().removeprefix('UNLEARN_')}: " if loc else ""


def _key_file(path: Path) -> bytes:
    """Read the key at `path`, or make it: 32 random bytes as hex, mode 0600, safe against a racing process."""
    if not path.exists():
        write_once(path, secrets.token_hex(32).encode())  # lost in a crash, it would orphan every hash made with it
    key = path.read_bytes().strip()
    if len(key) < 32:
        raise BadInput(
            f"the identity key '{path}' has {len(key)} bytes, 32 are the least; put the right key back from a backup, "
            "since hashes made with another can't be matched"
        )
    return key
