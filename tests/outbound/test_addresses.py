"""Which URLs and addresses may be called, by spelling and by range."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn.outbound.addresses import SETTING, CallbackRefused, check_url, why_not_public

FORBIDDEN = [
    # not https, or not a URL
    "http://hooks.customer.example/",
    "ftp://hooks.customer.example/",
    "file:///etc/passwd",
    "gopher://hooks.customer.example:70/",
    "unix:///run/service.sock",
    "//hooks.customer.example/",
    "hooks.customer.example/hook",
    " https://hooks.customer.example/",
    "https://",
    "https:///hook",
    "https:hooks.customer.example",
    "",
    "https://hooks.customer.example/\r\nX-Forged: 1",
    "https://hooks.customer.example/" + "a" * 2048,
    # user names, ports
    "https://user@hooks.customer.example/",
    "https://user:password@hooks.customer.example/",
    "https://hooks.customer.example\\@127.0.0.1/",
    "https://hooks.customer.example:8443/",
    "https://hooks.customer.example:80/",
    "https://hooks.customer.example:99999/",
    # local names
    "https://localhost/",
    "https://LOCALHOST./",
    "https://api.localhost/",
    "https://broker/",
    "https://printer.local/",
    "https://metadata.google.internal/",
    "https://router.home.arpa/",
    # IPv4 and its spellings
    "https://127.0.0.1/",
    "https://127.0.0.1./",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://127.0.0.0x1/",
    "https://1.2.3.4.5/",
    "https://0/",
    "https://0.0.0.0/",
    "https://10.0.0.1/",
    "https://100.64.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://172.16.0.1/",
    "https://192.0.0.8/",
    "https://192.168.1.1/",
    "https://198.18.0.1/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://127%2e0.0.1/",
    "https://127.0.0.1\\.customer.example/",
    "https://１２７.0.0.1/",
    "https://127。0。0。1/",
    "https://ⓛocalhost/",
    # IPv6 and the IPv4 inside it
    "https://[::1]/",
    "https://[::]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::1%25lo]/",
    "https://[2606:4700::1%25eth0]/",
    "https://[fe80::1]/",
    "https://[fd00::1]/",
    "https://[fec0::1]/",
    "https://[3fff::1]/",
    "https://192.88.99.1/",
    "https://[ff02::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:a9fe:a9fe]/",
    "https://[::7f00:1]/",
    "https://[64:ff9b::a00:1]/",
    "https://[64:ff9b:1::1]/",
    "https://[2002:7f00:1::]/",
    "https://[2001:0:7f00:1::]/",
    "https://[2001:db8::1]/",
    # not host names
    "https://a..example/",
    "https://-a.example/",
    "https://a b.example/",
    "https://a,b.example/",
    "https://" + "a" * 64 + ".example/",
    "https://[v1.x]/",
]


@pytest.mark.parametrize("url", FORBIDDEN)
def test_a_forbidden_spelling_is_refused(url: str) -> None:
    with pytest.raises(CallbackRefused):
        check_url(url, allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.customer.example/hook?tenant=7",
        "https://hooks.customer.example:443/",
        "https://hooks.customer.example./",
        "HTTPS://Hooks.Customer.Example/",
        "https://münchen.example/",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]/",
        "https://[::ffff:8.8.8.8]/",
        "https://[64:ff9b::808:808]/",
        "https://localhost.customer.example/",
        "https://10.customer.example/",
    ],
)
def test_a_public_https_url_passes(url: str) -> None:
    check_url(url, allow_private=False)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/", "http://localhost/", "https://receiver:9443/", "https://[::1]:1234/x"]
)
def test_an_operator_may_allow_the_own_network(url: str) -> None:
    check_url(url, allow_private=True)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/",
        "http://user:password@127.0.0.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http:///x",
        "http://a b/",
    ],
)
def test_even_then_a_url_must_have_one_reading_and_no_password(url: str) -> None:
    with pytest.raises(CallbackRefused) as refused:
        check_url(url, allow_private=True)
    assert SETTING not in str(refused.value)
    assert "password" not in str(refused.value).replace("user name or password", "")


def test_the_message_names_the_host_the_reason_and_the_setting() -> None:
    with pytest.raises(CallbackRefused) as refused:
        check_url("https://169.254.169.254/latest", allow_private=False)
    assert str(refused.value) == (
        "callbacks to '169.254.169.254' are refused: the address is not a public one; give a public https address, "
        "or set UNLEARN_CALLBACKS_ALLOW_PRIVATE=true if the network is your own"
    )
    assert (refused.value.status, refused.value.kind) == (422, "callback-refused")


@given(st.text(max_size=60) | st.from_regex(r"https?://[^\n]{0,40}", fullmatch=True), st.booleans())
def test_any_text_is_either_a_url_or_refused(text: str, allow_private: bool) -> None:
    try:
        parsed = check_url(text, allow_private=allow_private)
    except CallbackRefused:
        return
    assert parsed.raw_host
    assert parsed.scheme in ("http", "https")


INSIDE = [ipaddress.IPv4Network(n) for n in ("127.0.0.0/8", "10.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16")]


@given(st.sampled_from(INSIDE), st.integers(0, 2**16 - 1))
def test_no_spelling_of_a_private_address_passes(network: ipaddress.IPv4Network, offset: int) -> None:
    number = int(network.network_address) + offset
    a, b, c, d = number.to_bytes(4, "big")
    spellings = [
        f"{a}.{b}.{c}.{d}",
        f"{number}",
        f"{number:#x}",
        f"0{number:o}",
        f"{a:#x}.{b}.{c}.{d}",
        f"{a}.{b}.{(c << 8) + d}",
        f"{a}.{(b << 16) + (c << 8) + d}",
        f"{a}.{b}.{c}.{d}.",
        f"[::{number >> 16:x}:{number & 0xFFFF:x}]",
        f"[::ffff:{a}.{b}.{c}.{d}]",
        f"[64:ff9b::{number >> 16:x}:{number & 0xFFFF:x}]",
        f"[2002:{number >> 16:x}:{number & 0xFFFF:x}::1]",
    ]
    for spelling in spellings:
        with pytest.raises(CallbackRefused):
            check_url(f"https://{spelling}/", allow_private=False)


@given(st.ip_addresses())
def test_what_counts_as_public_is_never_wider_than_the_registries_say(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if why_not_public(address) is None:
        assert not any([address.is_private, address.is_loopback, address.is_link_local, address.is_multicast])
