"""Keys: what openssl and other tools read, who may read a file, and a command in place of a private key."""

from __future__ import annotations

import base64
import os
import subprocess
import sys

import pytest

from unlearn.errors import Unavailable
from unlearn.evidence.signing import (
    COSIGNATURE,
    LedgerKeyError,
    PublicKey,
    command_signer,
    make_key_file,
    read_key_file,
    signer_of,
)

# RFC 8032, section 7.1, test 2.
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
RAW = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
# golang.org/x/mod/sumdb/note: the key of the Go checksum database.
SUMDB = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"


def test_the_vector_of_rfc_8032():
    signer = signer_of(base64.b64encode(SEED).decode(), "log.example/x")
    assert signer_of(SEED.hex(), "log.example/x").public == signer.public
    assert signer.public.raw == RAW
    assert signer.sign(b"\x72") == SIGNATURE
    assert signer.public.verify(b"\x72", SIGNATURE)
    assert not signer.public.verify(b"\x73", SIGNATURE)
    assert "4ccd" not in repr(signer)
    assert base64.b64encode(SEED).decode() not in repr(signer)


def test_a_verifier_key_that_public_tools_use_reads_and_writes_the_same():
    key = PublicKey.from_text(SUMDB + "\n")
    assert (key.name, key.key_id.hex()) == ("sum.golang.org", "033de0ae")
    assert key.text == SUMDB


@pytest.mark.parametrize("algorithm", [1, COSIGNATURE])
def test_both_spellings_of_a_public_key_come_back(algorithm):
    key = PublicKey("w.example/1", RAW, algorithm)
    assert PublicKey.from_text(key.text) == key
    assert PublicKey.from_pem("w.example/1", key.pem).raw == RAW


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nothing", "name\\+id\\+key"),
        ("a+b+!", "not base64"),
        ("a+00000000+AAAA", "no Ed25519"),
        (SUMDB.replace("033de0ae", "033de0af"), "is not that of its key, 033de0ae"),
        (SUMDB.replace("sum.", "sum "), "can't name a key"),
    ],
)
def test_a_text_that_is_no_key_says_why(text, why):
    with pytest.raises(LedgerKeyError, match=why):
        PublicKey.from_text(text)


def test_openssl_reads_the_key_file_and_verifies_what_it_signs(tmp_path):
    make_key_file(tmp_path / "k.pem")
    signer = signer_of(read_key_file(tmp_path / "k.pem"), "log.example/x")
    (tmp_path / "pub.pem").write_text(signer.public.pem)
    (tmp_path / "message").write_bytes(b"hello\n")
    (tmp_path / "signature").write_bytes(signer.sign(b"hello\n"))
    checked = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "pub.pem", "-rawin", "-in", "message"]
    done = subprocess.run([*checked, "-sigfile", "signature"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = subprocess.run(["openssl", "pkey", "-in", "k.pem", "-pubout"], cwd=tmp_path, capture_output=True, text=True)
    assert made.stdout == signer.public.pem


def test_a_key_file_is_its_owners_alone_and_made_once(tmp_path):
    path = tmp_path / "keys" / "k.pem"
    make_key_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()
    make_key_file(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["k.pem"]
    path.chmod(0o640)
    with pytest.raises(LedgerKeyError, match="others than its owner"):
        read_key_file(path)


@pytest.mark.parametrize(
    "secret", ["", "AAAA", "-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\n", "c2VjcmV0"]
)
def test_a_secret_that_is_no_key_is_refused_and_not_repeated(secret):
    with pytest.raises(LedgerKeyError, match="can't be read") as refused:
        signer_of(secret, "log.example/x")
    assert not secret or secret not in str(refused.value)


def command(tmp_path, body):
    (tmp_path / "sign.py").write_text(body)
    return command_signer([sys.executable, str(tmp_path / "sign.py")], PublicKey("log.example/x", RAW))


SIGN = f"""
import base64, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey as K
sys.stdout.write(base64.b64encode(K.from_private_bytes(bytes.fromhex('{SEED.hex()}')).sign(sys.stdin.buffer.read())).decode())
"""


def test_a_command_signs_and_what_is_no_signature_is_refused(tmp_path):
    assert command(tmp_path, SIGN).sign(b"\x72") == SIGNATURE
    for body in ("print('nonsense')", "print('AAAA')", SIGN.replace("read())", "read() + b'x')")):
        with pytest.raises(LedgerKeyError, match=r"is no signature by 'log\.example/x'"):
            command(tmp_path, body).sign(b"\x72")


def test_a_command_that_fails_or_is_missing_is_unavailable(tmp_path):
    with pytest.raises(Unavailable, match="failed with status 7"):
        command(tmp_path, "raise SystemExit(7)").sign(b"x")
    with pytest.raises(Unavailable, match="can't be started"):
        command_signer(["/nonexistent/kms"], PublicKey("a.example", RAW)).sign(b"x")
    with pytest.raises(LedgerKeyError, match="empty"):
        command_signer([], PublicKey("a.example", RAW))
