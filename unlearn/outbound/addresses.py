"""Which addresses may be called. Knows spellings and address ranges; opens no connection, asks no name server.

`ipaddress.is_global` alone is not enough: in the Python versions served it calls multicast, 192.0.0.8, 6to4, and
private IPv4 addresses embedded in IPv6 (`64:ff9b::7f00:1`, `::7f00:1`) global.
"""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import httpx

from unlearn.errors import BadInput

LONGEST_URL = 2048
"""Characters; what common servers and browsers still take."""

SETTING = "UNLEARN_CALLBACKS_ALLOW_PRIVATE"

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOCAL_NAMES = ("localhost", "localdomain", "local", "internal", "intranet", "lan", "home.arpa")
"""Names that live on one machine or one network: RFC 6761, RFC 6762, RFC 8375, ICANN's .internal, and habit."""

_UNICAST = IPv6Network("2000::/3")
"""The only IPv6 space that is given out for global unicast (IANA, IPv6 Global Unicast Address Assignments)."""
_NAT64 = IPv6Network("64:ff9b::/96")
_NOT_PUBLIC: tuple[IPv4Network | IPv6Network, ...] = (
    IPv4Network("192.0.0.0/24"),  # IETF protocol assignments, RFC 6890
    IPv4Network("192.88.99.0/24"),  # 6to4 relays, RFC 7526
    IPv6Network("2001::/23"),  # IETF protocol assignments, Teredo among them
    IPv6Network("2002::/16"),  # 6to4: an IPv4 address inside, RFC 7526
    IPv6Network("3fff::/20"),  # documentation, RFC 9637
)

Address = IPv4Address | IPv6Address


class CallbackRefused(BadInput):
    """The service won't call this address: its spelling or its network is not allowed."""

    kind = "callback-refused"
    title = "This callback address is not allowed"


def check_url(url: str, *, allow_private: bool) -> httpx.URL:
    """Refuse a callback URL by its spelling alone; no name is resolved.

    A URL that passes may still be refused when it is called, since only then its name has an address.

    Args:
        url: as a client gave it.
        allow_private: the operator vouches for the own network: http, any port and any address are allowed.

    Returns:
        The URL in the one reading that a call will use.

    Raises:
        CallbackRefused: it is not allowed; the message names the host and the reason.
    """
    if len(url) > LONGEST_URL:
        raise CallbackRefused(f"the callback URL has {len(url)} characters; give at most {LONGEST_URL}")
    try:
        parsed = httpx.URL(url)
        host = parsed.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError):
        raise CallbackRefused("the callback URL can't be read; give one like https://hooks.example.com/path") from None
    if parsed.userinfo:
        raise refusal(host, "the URL holds a user name or password; leave them out", setting=False)
    if parsed.scheme not in ("https", "http"):
        raise refusal(host, "the URL must begin with https://", setting=False)
    if parsed.scheme == "http" and not allow_private:
        raise refusal(host, "the URL must begin with https://")
    if parsed.port is not None and not allow_private:
        raise refusal(host, f"port {parsed.port} is not 443")
    address = literal(host)
    reason = _unreadable(host) if address is None else None
    if reason:
        raise refusal(host, reason, setting=False)
    if not allow_private:
        reason = _local_name(host) if address is None else why_not_public(address)
        if reason:
            raise refusal(host, reason)
    return parsed


def refusal(host: str, reason: str, *, setting: bool = True) -> CallbackRefused:
    """The error for `host`; with `setting`, it tells the operator which setting would allow the address."""
    hint = f", or set {SETTING}=true if the network is your own" if setting else ""
    step = f"; give a public https address{hint}" if setting else ""
    return CallbackRefused(f"callbacks to '{host}' are refused: {reason}{step}")


def literal(host: str) -> Address | None:
    """The address that `host` spells in its one plain form; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def why_not_public(address: Address) -> str | None:
    """Why `address` is not a public unicast address, also by the IPv4 address inside it; None if it is one."""
    if isinstance(address, IPv6Address):
        inner = _inner(address)
        if inner is not None:
            return why_not_public(inner)
        if address not in _UNICAST or address.scope_id:
            return "the address is not a public one"
    public = address.is_global and not (address.is_multicast or address.is_reserved)
    if not public or any(address in net for net in _NOT_PUBLIC):
        return "the address is not a public one"
    return None


def _inner(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that packets for `address` end at: IPv4-mapped (RFC 4291) or NAT64 (RFC 6052)."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def _unreadable(host: str) -> str | None:
    """Why `host` is no host name that every resolver reads alike."""
    if not host:
        return "the URL names no host"
    name = host.removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        return "the host is neither a name nor an address"
    if _NUMBER.fullmatch(labels[-1]):  # inet_aton would read it: 2130706433, 127.1, 0x7f.0.0.1
        return "write an IPv4 address as four decimal numbers"
    return None


def _local_name(host: str) -> str | None:
    """Why the name `host` can't be public."""
    name = host.removesuffix(".")
    if any(name == local or name.endswith(f".{local}") for local in _LOCAL_NAMES):
        return "the name belongs to a local network"
    return None if "." in name else "the name has no domain"
