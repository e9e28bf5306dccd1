"""`unlearn settings`: the effective settings, each with where it comes from; nothing secret is shown."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from unlearn.settings import Settings

MASK = "********"
EFFECTIVE = {
    "database_url": "effective_database_url",
    "broker_url": "effective_broker_url",
    "mlflow_tracking_uri": "effective_mlflow_uri",
    "store": "effective_store",
}
"""Settings that say nothing by default, and what holds then."""

_USER = re.compile(r"(?<=://)([^:/@]*):.*@")
SECRET = "pass|pwd|secret|token|key|credential|auth"  # noqa: S105 - words that names of secrets hold
_SECRET = re.compile(SECRET, re.IGNORECASE)
_QUERY = re.compile(rf"([?&;][^=&;#]*(?:{SECRET})[^=&;#]*=)[^&;#]*", re.IGNORECASE)


def show(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False) -> None:
    """Print the effective settings: each variable, its value, where it comes from and what it is."""
    from unlearn.cli.render import settings_table
    from unlearn.cli.render import show as print_it

    found = effective(Settings())
    if as_json:
        typer.echo(json.dumps(found))
    else:
        print_it(settings_table(found))


def effective(settings: Settings) -> list[dict[str, Any]]:
    """Every setting as {"variable", "value", "source", "description"}, in JSON types."""
    return [
        {
            "variable": f"UNLEARN_{name.upper()}",
            "value": _shown(getattr(settings, EFFECTIVE.get(name, name))),
            "source": "environment" if name in settings.model_fields_set else "default",
            "description": field.description or "",
        }
        for name, field in Settings.model_fields.items()
    ]


def without_secrets(url: str) -> str:
    """The URL without its password, also one that was not escaped, and without what its query calls a secret.

    >>> without_secrets("redis://:pa/ss@broker:6379/0?ssl_password=x")
    'redis://:********@broker:6379/0?ssl_password=********'
    """
    masked = _USER.sub(rf"\1:{MASK}@", url)
    masked = re.sub(r"^(https?://)[^:/@]+@", rf"\1{MASK}@", masked)  # a token alone, in a user's place
    return _QUERY.sub(rf"\1{MASK}", masked)


def _shown(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, str):
        return without_secrets(value) if "://" in value else value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list):
        return os.pathsep.join(str(_shown(one)) for one in value)
    if isinstance(value, dict):
        return json.dumps({name: MASK if _SECRET.search(name) else _shown(one) for name, one in value.items()})
    return value
