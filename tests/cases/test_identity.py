"""Identities: one spelling, one keyed hash."""

import hashlib
import hmac

import pytest

from unlearn.cases.identity import canonical, subject_hash
from unlearn.errors import BadInput


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("customer:c-17", "customer:c-17"),
        ("  Customer : c-17 ", "customer:c-17"),
        ("EMAIL:Ada@Post.Example", "email:ada@post.example"),
        ("customer:C-17", "customer:C-17"),
        ("c-17", "id:c-17"),
        ("url:http://x", "url:http://x"),
        ("name:Jose\u0301", "name:José"),
    ],
)
def test_spellings_of_one_identity_are_one(given, expected):
    assert canonical(given) == expected


def test_the_hash_is_hmac_sha256_of_the_canonical_identity():
    expected = hmac.new(b"k" * 32, b"customer:c-17", hashlib.sha256).hexdigest()
    assert subject_hash(b"k" * 32, " customer:c-17") == expected
    assert subject_hash(b"q" * 32, "customer:c-17") != expected


@pytest.mark.parametrize("bad", ["", "  ", ":", "customer:", ":c-17", "a:" + "b" * 600, "a:b\0c", "a:b\nc", "a:\ud800"])
def test_what_is_no_identity_is_refused_without_repeating_it(bad):
    with pytest.raises(BadInput) as refused:
        canonical(bad)
    assert not bad.strip(" :") or bad not in str(refused.value)
