"""MLflow's model registry: a model per adapter, a version per release, and the alias `champion` on the one to serve.

Speaks MlflowClient with explicit URIs: no active run, no global tracking URI. The registry is a view for people and
for servers that load by alias; it never says what is released. It holds ids, numbers, digests and, on a server, the
weights themselves; no person's data beside them. When a version is purged, what was put there of it goes as well.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sqlalchemy.exc import SQLAlchemyError

from unlearn.deploy.base import HookFailed, Release

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

log = logging.getLogger(__name__)

CHAMPION = "champion"
"""The alias of the version to serve, as in MLflow's own guides: models:/<adapter>@champion."""

ADAPTER_ID, NUMBER, SHA256, REVOKED = "adapter_id", "adapter_version", "sha256", "revoked"
"""Tags of a model version."""

ARTIFACT = "adapter"
"""Where in its run an adapter's weights were logged."""

EXPERIMENT = "unlearn-releases"
"""Of the runs that were made to register weights with a server."""


@dataclass(frozen=True)
class Registry:
    """Registers a release as a model version and moves the alias to it; older ones get the tag `revoked`.

    MLflow counts its own versions, so ours is found by its tags. A version's source is its run where there is one. A
    database store takes the version's path in its place; a server refuses paths that are not a run's artifacts, so one
    is made and the weights are logged there.

    Attributes:
        uri: MLflow tracking and registry URI; kept out of the repr, because it may hold a password.
        artifacts: where its server keeps what it serves as mlflow-artifacts:/; None if nobody said.
    """

    uri: str = field(repr=False)
    artifacts: str | None = None

    def __call__(self, release: Release) -> None:
        """Register the release, and make it the champion unless a newer one is."""
        with self._client(_named(release), "registered") as client:
            _create_model(client, release)
            versions = _versions(client, release)
            _refuse_anothers(client, release)
            own = _find(versions, release) or self._create(client, release)
            _check_weights(own, release)
            champion = _champion(client, release, versions)
            deployed = None if champion is None else _number(champion)
            left = REVOKED in own.tags and champion is not None and own.version != champion.version
            if (left and not release.forced) or not release.may_replace(deployed):
                log.info("MLflow model '%s': version %s stays the champion", release.adapter, deployed)
            else:
                if REVOKED in own.tags:
                    client.delete_model_version_tag(release.adapter, own.version, REVOKED)
                client.set_registered_model_alias(release.adapter, CHAMPION, own.version)
                champion, deployed = own, release.number
            newest_revoked = max(deployed or 0, (release.previous or 0) if release.forced else 0)
            others = [v for v in _versions(client, release) if champion is None or v.version != champion.version]
            _revoke(client, release, [version for version in others if _number(version) <= newest_revoked])

    def withdraw(self, release: Release) -> None:
        """Take the alias away and tag every version of the adapter; the versions stay for the record."""
        with self._client(_named(release), "withdrawn") as client:
            versions = _versions(client, release)
            if _champion(client, release, versions) is not None:
                client.delete_registered_model_alias(release.adapter, CHAMPION)
            _revoke(client, release, versions)

    def copies(self, adapter_id: str, number: int) -> list[str]:
        """Ids of the runs that were made to register the weights of a version, with them as the artifact ARTIFACT.

        Raises:
            HookFailed: the server could not be asked.
        """
        with self._client(f"version {number} of adapter {adapter_id}", "looked for") as client:
            experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                return []
            found, token = [], None
            while True:
                page = client.search_runs([experiment.experiment_id], _query(adapter_id, number), page_token=token)
                found += [str(run.info.run_id) for run in page]
                token = page.token
                if not token:
                    return found

    def forget(self, adapter_id: str, number: int) -> None:
        """Take the model versions of a version away, whatever the model is called; where none is, nothing happens.

        Raises:
            HookFailed: the server could not be told.
        """
        with self._client(f"version {number} of adapter {adapter_id}", "taken away") as client:
            for version in client.search_model_versions(_query(adapter_id, number)):
                client.delete_model_version(version.name, version.version)

    def _create(self, client: MlflowClient, release: Release) -> ModelVersion:
        here = self.uri.startswith(("http:", "https:")) and release.path is not None
        run_id = release.run_id or (_logged(client, release) if here else None)
        source = f"runs:/{run_id}/{ARTIFACT}" if run_id else release.url or str(release.path)
        tags = _tags(release)
        return client.create_model_version(release.adapter, source, run_id=run_id, tags=tags, await_creation_for=0)

    @contextmanager
    def _client(self, what: str, done: str) -> Iterator[MlflowClient]:
        """A client of the registry.

        Raises:
            HookFailed: in place of whatever MLflow raises.
        """
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported
        from mlflow.exceptions import MlflowException  # takes seconds: only who deploys to it pays
        from mlflow.tracking import MlflowClient

        try:
            yield MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise HookFailed(
                f"MLflow at {_shown(self.uri)}: {what} was not {done} ({self._reason(error)}); see that it can be "
                "reached and written to"
            ) from None

    def _reason(self, error: Exception) -> str:
        """What went wrong. MLflow quotes URIs in its messages, so next to a password only the kind of error is told."""
        kind = str(getattr(error, "error_code", None) or type(error).__name__)
        if _holds_secret(self.uri) or isinstance(error, SQLAlchemyError):
            return kind
        return f"{kind}: {str(error)[:300]}"


def _create_model(client: MlflowClient, release: Release) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(release.adapter)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _named(release: Release) -> str:
    return f"version {release.number} of adapter '{release.adapter}'"


def _query(adapter_id: str, number: int) -> str:
    return f"tags.{ADAPTER_ID} = '{adapter_id}' and tags.{NUMBER} = '{number}'"


def _tags(release: Release) -> dict[str, str]:
    return {ADAPTER_ID: release.adapter_id, NUMBER: str(release.number), SHA256: release.sha256}


def _logged(client: MlflowClient, release: Release) -> str:
    """Id of a run with the weights as its artifact; one that an earlier call broke off in is finished."""
    tags, experiment = _tags(release), _experiment(client)
    query = " and ".join(f"tags.{name} = '{value}'" for name, value in tags.items())
    found = client.search_runs([experiment], query, max_results=1)
    run = (
        found[0] if found else client.create_run(experiment, tags=tags, run_name=f"{release.adapter} {release.number}")
    )
    run_id = str(run.info.run_id)
    client.log_artifacts(run_id, str(release.path), ARTIFACT)
    client.set_terminated(run_id)
    return run_id


def _experiment(client: MlflowClient) -> str:
    from mlflow.exceptions import MlflowException

    try:
        return str(client.create_experiment(EXPERIMENT))
    except MlflowException as error:
        found = client.get_experiment_by_name(EXPERIMENT)
        if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
            raise
        return str(found.experiment_id)


def _versions(client: MlflowClient, release: Release) -> list[ModelVersion]:
    """Every model version of this adapter; an earlier adapter of the same name has others."""
    query = f"name = '{release.adapter}' AND tags.{ADAPTER_ID} = '{release.adapter_id}'"
    found: list[ModelVersion] = []
    token = None
    while True:
        page = client.search_model_versions(query, page_token=token)
        found += [version for version in page if version.tags.get(NUMBER, "").isdigit()]
        token = page.token
        if not token:
            return found


def _find(versions: list[ModelVersion], release: Release) -> ModelVersion | None:
    """The model version of the release; the first, should two processes have made one at once."""
    own = [version for version in versions if _number(version) == release.number]
    return min(own, key=lambda version: int(version.version), default=None)


def _check_weights(version: ModelVersion, release: Release) -> None:
    there = version.tags.get(SHA256, "")
    if there != release.sha256:
        raise HookFailed(
            f"MLflow model '{release.adapter}' has version {release.number} registered with other weights (model "
            f"version {version.version}, sha256:{there[:12]}…, not sha256:{release.sha256[:12]}…); find out who did, "
            "and delete that model version"
        )


def _refuse_anothers(client: MlflowClient, release: Release) -> None:
    """Two services that share a registry may have one name for two adapters; in one service no two have."""
    at = client.get_registered_model(release.adapter).aliases.get(CHAMPION)
    owner = None if at is None else client.get_model_version(release.adapter, at).tags.get(ADAPTER_ID)
    if owner not in (None, release.adapter_id):
        raise HookFailed(
            f"MLflow model '{release.adapter}' has version {at} of adapter '{owner}' as its champion "
            f"('{release.adapter_id}' was released); take that alias away if nobody needs it any more, or give one of "
            "the two a registry of its own"
        )


def _champion(client: MlflowClient, release: Release, versions: list[ModelVersion]) -> ModelVersion | None:
    """The model version of this adapter that has the alias."""
    if not client.search_registered_models(f"name = '{release.adapter}'"):
        return None
    at = client.get_registered_model(release.adapter).aliases.get(CHAMPION)
    return next((version for version in versions if str(version.version) == str(at)), None)


def _revoke(client: MlflowClient, release: Release, versions: list[ModelVersion]) -> None:
    for version in versions:
        if REVOKED not in version.tags:
            client.set_model_version_tag(release.adapter, version.version, REVOKED, "true")


def _number(version: ModelVersion) -> int:
    return int(version.tags[NUMBER])


def _holds_secret(uri: str) -> bool:
    return "@" in uri or "?" in uri


def _shown(uri: str) -> str:
    """The URI for a message: without what may be a password."""
    if not _holds_secret(uri):
        return uri
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
