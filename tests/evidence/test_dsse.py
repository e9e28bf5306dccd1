"""DSSE envelopes: by hand, and both ways with another implementation."""

from __future__ import annotations

import base64
import copy
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from dossiers import signer
from unlearn.evidence.dsse import PAYLOAD_TYPE, pae, seal, unseal
from unlearn.evidence.refusal import NotVerified

PAYLOAD = b'{"_type":"https://in-toto.io/Statement/v1"}'


def refused(envelope: bytes, keys) -> NotVerified:
    with pytest.raises(NotVerified) as told:
        unseal(envelope, keys)
    return told.value


def test_what_is_signed_by_hand():
    # protocol.md of DSSE gives this example.
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@given(st.binary(max_size=100))
def test_what_is_sealed_is_opened_by_its_key_alone(payload):
    who, other = signer(), signer(b"o")
    sealed = seal(payload, who)
    assert unseal(sealed, [other.public, who.public]) == (payload, [who.public])
    assert refused(sealed, [other.public]).check == "signature"


def test_of_several_signatures_one_trusted_key_is_enough_and_all_who_signed_are_told():
    old, new, other = signer(), signer(b"n"), signer(b"o")
    sealed = seal(PAYLOAD, new, old)
    for trusted in (old, new):
        assert unseal(sealed, [other.public, trusted.public]) == (PAYLOAD, [new.public, old.public])
    assert "and no key you trust signed it" in str(refused(sealed, [other.public]))


def test_no_signature_of_several_is_changed_though_another_is_trusted():
    old, new = signer(), signer(b"n")
    data = json.loads(seal(PAYLOAD, new, old))
    first, second = data["signatures"]
    wrong = first | {"sig": base64.b64encode(new.sign(b"other")).decode()}
    for signatures, said in (
        ([wrong, second], "is wrong: it was changed or added"),
        ([first | {"keyid": signer(b"o").public.text}, second], "is wrong"),
        ([first | {"keyid": "nobody"}, second], "is no key"),
        ([first | {"keyid": 7}, second], "is no key"),
        ([second, second], "signed it twice"),
    ):
        envelope = json.dumps(data | {"signatures": signatures}, indent=1).encode() + b"\n"
        assert said in str(refused(envelope, [old.public]))
    many = json.dumps(data | {"signatures": [second] * 17}).encode()
    assert "no DSSE envelope" in str(refused(many, [old.public]))


def test_an_envelope_of_ours_holds_for_securesystemslib_and_a_changed_one_does_not():
    who = signer()
    data = json.loads(seal(PAYLOAD, who))
    keyid = data["signatures"][0]["keyid"]
    key = SSlibKey(keyid, "ed25519", "ed25519", {"public": who.public.raw.hex()})
    envelope = Envelope.from_dict(copy.deepcopy(data))  # it takes its argument apart
    assert set(envelope.verify([key], 1)) == {keyid}
    several = json.loads(seal(PAYLOAD, signer(b"n"), who))
    assert set(Envelope.from_dict(several).verify([key], 1)) == {keyid}
    for changed in ({"payload": base64.b64encode(b"{}").decode()}, {"payloadType": "application/json"}):
        with pytest.raises(VerificationError):
            Envelope.from_dict(copy.deepcopy(data | changed)).verify([key], 1)


def test_an_envelope_of_securesystemslib_holds_for_us_once_it_is_spelled_as_ours():
    private = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    envelope = Envelope(PAYLOAD, PAYLOAD_TYPE, {})
    envelope.sign(CryptoSigner(private))
    [signature] = envelope.to_dict()["signatures"]
    ours = json.loads(seal(PAYLOAD, signer()))
    assert ours["payload"] == envelope.to_dict()["payload"]
    assert base64.b64decode(ours["signatures"][0]["sig"]) == private.sign(pae(PAYLOAD_TYPE, PAYLOAD))
    ours["signatures"][0]["sig"] = signature["sig"]
    assert unseal(json.dumps(ours, indent=1).encode() + b"\n", [signer().public])[0] == PAYLOAD


@given(st.data())
def test_one_byte_of_an_envelope_is_found_even_where_it_means_nothing(data):
    sealed = bytearray(seal(PAYLOAD, signer()))
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= data.draw(st.integers(1, 255))
    assert refused(bytes(sealed), [signer().public]).check in ("signature", "payload type")


def test_each_way_not_to_be_signed_is_told_apart():
    who = signer()
    sealed = json.loads(seal(PAYLOAD, who))
    assert "no signature" in str(refused(json.dumps(sealed | {"signatures": []}).encode(), [who.public]))
    assert "no DSSE envelope" in str(refused(b"[]", [who.public]))
    assert "no DSSE envelope" in str(refused(b"\xff", [who.public]))
    other_type = json.dumps(sealed | {"payloadType": "text/plain"}).encode()
    assert refused(other_type, [who.public]).check == "payload type"
    assert "another deployment" in str(refused(seal(PAYLOAD, signer(b"o", "other")), [who.public]))
    assert "under another key" in str(refused(seal(PAYLOAD, signer(b"o")), [who.public]))
    forged = sealed | {"payload": base64.b64encode(b"{}").decode()}
    assert "changed after it was signed" in str(refused(json.dumps(forged).encode(), [who.public]))
    assert "not spelled" in str(refused(json.dumps(sealed).encode(), [who.public]))
