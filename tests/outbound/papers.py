"""Keys and certificates for tests, made on the spot."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

NOW = datetime.now(UTC)


def ec_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve or ec.SECP256R1())


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def certificate(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey,
    *domains: str,
    start: datetime = NOW - timedelta(days=1),
    end: datetime = NOW + timedelta(days=30),
    name: str = "a test",
    by: tuple[ec.EllipticCurvePrivateKey, str] | None = None,
) -> bytes:
    """Of the key; issued `by` another key under its name, else by itself."""
    signing, issuer = by or (key, name)
    made = x509.CertificateBuilder().subject_name(_named(name)).issuer_name(_named(issuer)).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    if domains:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(d) for d in domains]), critical=False)
    digest = None if isinstance(signing, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return made.sign(signing, digest).public_bytes(serialization.Encoding.PEM)


def opendsr(directory: Path) -> dict[str, Any]:
    """Settings that open the OpenDSR front, with a key and a certificate made in the directory."""
    key, domain = ec_key(), "privacy.desk.example"
    key_file, certificate_file = directory / "dsr.key", directory / "dsr.pem"
    key_file.write_bytes(pem(key))
    certificate_file.write_bytes(certificate(key, domain))
    return {
        "opendsr_domain": domain,
        "opendsr_key_file": key_file,
        "opendsr_certificate_file": certificate_file,
    }


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


@dataclass(frozen=True)
class Tls:
    """Both ends of a TLS connection to `domain`."""

    server: ssl.SSLContext
    trust: ssl.SSLContext


def tls(directory: Path, domain: str) -> Tls:
    key = ec_key()
    (directory / "key.pem").write_bytes(pem(key))
    (directory / "cert.pem").write_bytes(certificate(key, domain))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return Tls(server, ssl.create_default_context(cafile=str(directory / "cert.pem")))
