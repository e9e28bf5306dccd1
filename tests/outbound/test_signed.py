"""OpenDSR signatures with real keys and certificates."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from papers import NOW, certificate, ec_key, pem, rsa_key

from unlearn.outbound.signed import DOMAIN_HEADER, SIGNATURE_HEADER, BadSignature, Signer, SigningKeyError, verify

DOMAIN = "desk.processor.example"
BODY = b'{"subject_request_id":"a7551968-d5d6-44b2-9831-815ac9017798","request_status":"completed"}'

RSA, EC = rsa_key(), ec_key()
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def signer(key: Key, *domains: str) -> Signer:
    return Signer(pem(key), certificate(key, *(domains or (DOMAIN,))), DOMAIN)


@pytest.mark.parametrize("key", [RSA, EC], ids=["RSA", "EC"])
class TestBothKinds:
    def test_what_is_signed_verifies(self, key: Key) -> None:
        signing = signer(key)
        headers = signing.headers(BODY)
        assert headers[DOMAIN_HEADER] == DOMAIN
        verify(signing.certificate_pem, DOMAIN, BODY, headers[SIGNATURE_HEADER])

    def test_a_changed_body_does_not(self, key: Key) -> None:
        signing = signer(key)
        with pytest.raises(BadSignature, match="does not match"):
            verify(signing.certificate_pem, DOMAIN, BODY.replace(b"completed", b"cancelled"), signing.sign(BODY))

    def test_nor_by_the_certificate_of_another_key(self, key: Key) -> None:
        for other in (ec_key(), rsa_key()):
            with pytest.raises(BadSignature):
                verify(certificate(other, DOMAIN), DOMAIN, BODY, signer(key).sign(BODY))

    def test_nor_once_the_certificate_has_expired(self, key: Key) -> None:
        signing = signer(key)
        signature = signing.sign(BODY)
        verify(signing.certificate_pem, DOMAIN, BODY, signature, now=signing.not_after)
        for moment in (signing.not_after + timedelta(seconds=1), NOW - timedelta(days=2)):
            with pytest.raises(SigningKeyError, match="renew"):
                verify(signing.certificate_pem, DOMAIN, BODY, signature, now=moment)

    def test_nor_for_another_domain(self, key: Key) -> None:
        signing = signer(key)
        for domain in ("evil.example", "example", f"x.{DOMAIN}", "processor.example", ""):
            with pytest.raises(SigningKeyError, match="does not name"):
                verify(signing.certificate_pem, domain, BODY, signing.sign(BODY))

    def test_a_key_never_shows(self, key: Key) -> None:
        shown = repr(signer(key))
        assert "PRIVATE" not in shown
        assert "BEGIN" not in shown
        assert DOMAIN in shown


@pytest.mark.parametrize("signature", ["", "AAAA", "no base64!", "ü"])
def test_what_is_no_signature_is_refused(signature: str) -> None:
    for key in (RSA, EC):
        with pytest.raises(BadSignature) as refused:
            verify(certificate(key, DOMAIN), DOMAIN, BODY, signature)
        assert refused.value.status == 403


def test_the_signature_is_over_the_sha_256_of_the_raw_body() -> None:
    """Against cryptography's primitives with the digest computed beforehand."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(BODY)
    prehashed = utils.Prehashed(hashes.SHA256())
    raw = base64.b64decode(signer(RSA).sign(BODY))
    value = digest.finalize()
    RSA.public_key().verify(raw, value, padding.PKCS1v15(), prehashed)
    EC.public_key().verify(base64.b64decode(signer(EC).sign(BODY)), value, ec.ECDSA(prehashed))
    with pytest.raises(InvalidSignature):
        RSA.public_key().verify(raw, b"\0" * 32, padding.PKCS1v15(), prehashed)


def test_domains_are_compared_without_case_and_a_star_stands_for_one_label() -> None:
    for names in ([DOMAIN.upper()], ["*.processor.example"], ["other.example", DOMAIN]):
        signing = signer(EC, *names)
        verify(signing.certificate_pem, DOMAIN, BODY, signing.sign(BODY))
    for names in (["*.example"], ["*"], ["*.desk.processor.example"], ["desk.*.example"], ["d*.processor.example"]):
        with pytest.raises(SigningKeyError, match="does not name"):
            signer(EC, *names)
    with pytest.raises(SigningKeyError, match="does not name"):  # a star for a whole top-level domain is nobody's
        Signer(pem(EC), certificate(EC, "*.example"), "processor.example")


def test_a_key_and_a_certificate_that_dont_belong_together_are_refused() -> None:
    for other in (ec_key(), RSA):
        with pytest.raises(SigningKeyError, match="don't belong together"):
            Signer(pem(EC), certificate(other, DOMAIN), DOMAIN)


def test_a_certificate_out_of_date_is_refused() -> None:
    expired = certificate(EC, DOMAIN, start=NOW - timedelta(days=9), end=NOW - timedelta(days=2))
    with pytest.raises(SigningKeyError, match="renew"):
        Signer(pem(EC), expired, DOMAIN)
    Signer(pem(EC), expired, DOMAIN, NOW - timedelta(days=5))
    with pytest.raises(SigningKeyError, match="renew"):
        Signer(pem(EC), certificate(EC, DOMAIN, start=NOW + timedelta(days=1)), DOMAIN)


def test_a_certificate_without_names_is_refused() -> None:
    with pytest.raises(SigningKeyError, match="no subject alternative names"):
        Signer(pem(EC), certificate(EC), DOMAIN)


MIDDLE, TOP = ec_key(), ec_key()


def chain(**middle):
    """The key's certificate, the one that issued it, and the one that issued that."""
    return (
        certificate(EC, DOMAIN, name="leaf", by=(MIDDLE, "middle")),
        certificate(MIDDLE, name="middle", by=(TOP, "top"), **middle),
        certificate(TOP, name="top"),
    )


def test_a_chain_is_published_in_its_order_and_nothing_else_of_its_file() -> None:
    leaf, middle, top = chain()
    for given in ((leaf,), (leaf, middle), (leaf, middle, top)):
        signing = Signer(pem(EC), b"Bag Attributes: a note\n" + b"\n# why\n".join(given), DOMAIN)
        assert signing.certificate_pem == b"".join(given)
        verify(signing.certificate_pem, DOMAIN, BODY, signing.sign(BODY))


def test_a_chain_in_another_order_or_with_a_stranger_is_refused() -> None:
    leaf, middle, top = chain()
    with pytest.raises(SigningKeyError, match=r"don't belong together.*first in its file"):
        Signer(pem(EC), middle + leaf, DOMAIN)
    namesake = certificate(ec_key(), name="middle")
    for given, place in ((leaf + top, 2), (leaf + leaf, 2), (leaf + namesake, 2), (leaf + middle + middle, 3)):
        with pytest.raises(SigningKeyError, match=f"certificate {place} of the file did not issue"):
            Signer(pem(EC), given, DOMAIN)


def test_a_chain_ends_with_the_first_of_its_certificates_to_end() -> None:
    over = {"start": NOW - timedelta(days=9), "end": NOW - timedelta(days=2)}
    with pytest.raises(SigningKeyError, match=r"certificate 2 of the file holds from .* renew"):
        Signer(pem(EC), b"".join(chain(**over)), DOMAIN)
    signing = Signer(pem(EC), b"".join(chain(end=NOW + timedelta(days=7))), DOMAIN)
    assert signing.days_left(NOW) == pytest.approx(7, abs=1e-4)
    assert signing.days_left(NOW + timedelta(days=8)) == pytest.approx(-1, abs=1e-4)


def test_weak_and_foreign_keys_are_refused() -> None:
    weak, other, foreign = rsa_key(1024), ec_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()
    with pytest.raises(SigningKeyError, match="1024 bits; 2048 are the least"):
        Signer(pem(weak), certificate(weak, DOMAIN), DOMAIN)
    with pytest.raises(SigningKeyError, match="secp384r1; use P-256"):
        Signer(pem(other), certificate(other, DOMAIN), DOMAIN)
    with pytest.raises(SigningKeyError, match="neither RSA nor EC P-256"):
        Signer(pem(foreign), certificate(foreign, DOMAIN), DOMAIN)
    with pytest.raises(SigningKeyError, match="neither RSA nor EC P-256"):
        verify(certificate(foreign, DOMAIN), DOMAIN, BODY, "AAAA")


def test_files_that_cant_be_read_are_named_and_not_shown() -> None:
    locked = EC.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"a passphrase"),
    )
    with pytest.raises(SigningKeyError, match="has a passphrase"):
        Signer(locked, certificate(EC, DOMAIN), DOMAIN)
    with pytest.raises(SigningKeyError, match="private key can't be read"):
        Signer(certificate(EC, DOMAIN), certificate(EC, DOMAIN), DOMAIN)
    with pytest.raises(SigningKeyError, match="certificate can't be read") as refused:
        Signer(pem(EC), pem(EC), DOMAIN)
    assert "PRIVATE" not in str(refused.value)
