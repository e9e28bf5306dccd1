"""OpenDSR 2.0 signatures: a processor signs each body it sends. Knows keys and certificates; no HTTP, no store.

The signature is over the SHA-256 of the raw body, by RSA (PKCS #1 v1.5) or ECDSA P-256, both of FIPS 186-4, which the
specification names; the certificate's subject alternative names hold the processor's domain. Whether the certificate
leads to an authority that is trusted is for the one who fetched it to check.

Source: https://github.com/opengdpr/OpenDSR, specification.md and security_guidelines.md
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from unlearn.errors import BadInput
from unlearn.settings import OPENDSR, Settings

DOMAIN_HEADER = "X-OpenDSR-Processor-Domain"
SIGNATURE_HEADER = "X-OpenDSR-Signature"

FEWEST_RSA_BITS = 2048

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class SigningKeyError(BadInput):
    """A private key or certificate that can't be used for signing or verifying."""

    kind = "bad-signing-key"
    title = "The signing key or certificate can't be used"


class BadSignature(BadInput):
    """A signature that is not of this body by this certificate."""

    kind = "bad-signature"
    title = "The signature does not hold"
    status = 403


@dataclass(frozen=True, eq=False)
class Signer:
    """Signs bodies in the name of a domain. Key, certificate and domain are checked when it is made.

    Args:
        private_key_pem: without a passphrase; RSA of 2048 bits or more, or EC P-256.
        certificate_pem: X.509, of that key, with the domain among its DNS names; those that issued it may follow, each
            by the next. Afterwards these certificates alone, whatever else stood between them.
        domain: the processor's, as receivers know it.
        now: the moment at which the certificate must be in date; by default the present one.

    Raises:
        SigningKeyError: they can't be used, or not together; the message says which and why, and holds no key.
    """

    private_key_pem: InitVar[bytes]
    certificate_pem: bytes = field(repr=False)
    domain: str
    now: InitVar[datetime | None] = None
    not_after: datetime = field(init=False)
    """End of the certificate, or of the first of its issuers to end. A signature made later would not be believed."""
    _key: PrivateKey = field(init=False, repr=False)

    def __post_init__(self, private_key_pem: bytes, now: datetime | None) -> None:
        key = _private_key(private_key_pem)
        now = now or datetime.now(UTC)
        chain = _certificates(self.certificate_pem)
        if _public_key(chain[0]) != key.public_key():
            raise SigningKeyError(
                "the private key and the certificate don't belong together; give the pair, with the key's own "
                "certificate first in its file"
            )
        _check(chain[0], self.domain, now)
        _check_issuers(chain, now)
        published = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)
        object.__setattr__(self, "certificate_pem", published)
        object.__setattr__(self, "not_after", min(one.not_valid_after_utc for one in chain))
        object.__setattr__(self, "_key", key)

    def days_left(self, now: datetime | None = None) -> float:
        """Until the certificate must have been renewed; below 0 once it ended."""
        return (self.not_after - (now or datetime.now(UTC))) / timedelta(days=1)

    def sign(self, body: bytes) -> str:
        """Base64 of the signature over the SHA-256 of `body`; ECDSA signatures are DER (RFC 3279, section 2.2.3)."""
        if isinstance(self._key, rsa.RSAPrivateKey):
            signature = self._key.sign(body, padding.PKCS1v15(), hashes.SHA256())
        else:
            signature = self._key.sign(body, ec.ECDSA(hashes.SHA256()))
        return base64.b64encode(signature).decode("ascii")

    def headers(self, body: bytes) -> dict[str, str]:
        """The two headers that go with `body`."""
        return {DOMAIN_HEADER: self.domain, SIGNATURE_HEADER: self.sign(body)}


def verify(
    certificate_pem: bytes, domain: str, body: bytes, signature_b64: str, *, now: datetime | None = None
) -> None:
    """Check that the processor `domain` signed the raw `body`.

    The certificate must come from that domain over HTTPS; whether it, and the issuers that may follow it, lead to an
    authority is not checked here.

    Raises:
        SigningKeyError: the certificate can't be used, is out of date at `now`, or does not name `domain`.
        BadSignature: the signature is not of this body by this certificate.
    """
    certificate = _certificates(certificate_pem)[0]
    key = _public_key(certificate)
    _check(certificate, domain, now or datetime.now(UTC))
    try:
        signature = base64.b64decode(signature_b64, validate=True)
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, body, padding.PKCS1v15(), hashes.SHA256())
        else:
            key.verify(signature, body, ec.ECDSA(hashes.SHA256()))
    except (binascii.Error, ValueError, InvalidSignature):
        raise BadSignature(f"the signature of '{domain}' does not match the body; don't use what it says") from None


def _private_key(pem: bytes) -> PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        raise SigningKeyError("the private key has a passphrase; give it without one") from None
    except (ValueError, UnsupportedAlgorithm):
        raise SigningKeyError("the private key can't be read; give it as PEM") from None
    if not isinstance(key, PrivateKey):
        raise SigningKeyError(f"the private key is neither RSA nor EC P-256 but {type(key).__name__}")
    return key


def _certificates(pem: bytes) -> list[x509.Certificate]:
    """Those in a file, in its order; at least one."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise SigningKeyError("the certificate can't be read; give it as X.509 PEM") from None


def _public_key(certificate: x509.Certificate) -> PublicKey:
    """The certificate's key, if it is of a kind and size that OpenDSR signatures use."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise SigningKeyError("the certificate's key can't be read") from None
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < FEWEST_RSA_BITS:
            raise SigningKeyError(f"the certificate's RSA key has {key.key_size} bits; {FEWEST_RSA_BITS} are the least")
        return key
    if isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, ec.SECP256R1):
            raise SigningKeyError(f"the certificate's EC key is on curve {key.curve.name}; use P-256")
        return key
    raise SigningKeyError(f"the certificate's key is neither RSA nor EC P-256 but {type(key).__name__}")


def _check(certificate: x509.Certificate, domain: str, now: datetime) -> None:
    """Refuse a certificate that is out of date or does not name the domain."""
    _check_dates(certificate, "the certificate", now)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        raise SigningKeyError("the certificate has no subject alternative names that can be read") from None
    if not any(_names(pattern, domain) for pattern in names.get_values_for_type(x509.DNSName)):
        raise SigningKeyError(f"the certificate does not name '{domain}' among its subject alternative names")


def _check_dates(certificate: x509.Certificate, which: str, now: datetime) -> None:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not start <= now <= end:
        raise SigningKeyError(f"{which} holds from {start:%Y-%m-%d} to {end:%Y-%m-%d} only; renew it")


def _check_issuers(chain: list[x509.Certificate], now: datetime) -> None:
    """Refuse a chain in which one did not issue the one before it, or is out of date."""
    for place, (issued, issuer) in enumerate(pairwise(chain), 2):
        _check_dates(issuer, f"certificate {place} of the file", now)
        try:
            issued.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            raise SigningKeyError(
                f"certificate {place} of the file did not issue the one before it; put the key's own first, then its "
                "issuer, and so on"
            ) from None


def _names(pattern: str, domain: str) -> bool:
    """Whether a DNS name of a certificate is `domain`, or has `*` for its first label (RFC 9525, section 6.3)."""
    pattern, domain = pattern.lower(), domain.lower()
    first, _, rest = domain.partition(".")
    return pattern == domain or bool(first and "." in rest and pattern == f"*.{rest}")


def signer_of(settings: Settings) -> Signer | None:
    """Who signs what OpenDSR controllers get; None where that front is not set up.

    Raises:
        BadInput: a file can't be read, or the certificate's file holds a private key too.
        SigningKeyError: key, certificate and domain don't go together.
    """
    domain, key, certificate = (getattr(settings, name) for name in OPENDSR)
    if domain is None:
        return None
    published = _read(certificate, "UNLEARN_OPENDSR_CERTIFICATE_FILE")
    if b"PRIVATE KEY" in published:
        raise BadInput(
            f"UNLEARN_OPENDSR_CERTIFICATE_FILE: '{certificate}' holds a private key, and anybody may download the "
            "certificate; keep the two in files of their own"
        )
    return Signer(_read(key, "UNLEARN_OPENDSR_KEY_FILE"), published, domain)


def _read(path: Path, variable: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{variable}: '{path}' can't be read ({error.strerror})") from None
