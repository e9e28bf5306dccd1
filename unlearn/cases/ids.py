"""Ids of what the desk keeps. They tell nothing but what they are ids of."""

from __future__ import annotations

import secrets
from typing import Literal

Kind = Literal["adp", "ctl", "end", "job", "msg", "req"]


def new_id(kind: Kind) -> str:
    """A new id: what it is the id of, and 96 random bits."""
    return f"{kind}_{secrets.token_hex(12)}"
