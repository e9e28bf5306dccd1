"""What somebody does to a bundle who has no key of its ledger: each edit at random, and the check that must find it."""

from __future__ import annotations

import base64
import json
import random
import struct
import zipfile
from io import BytesIO

from bundles import Kind, Real, flipped, resigned

from unlearn.evidence.container import pack
from unlearn.evidence.dsse import PAYLOAD_TYPE, pae
from unlearn.evidence.layout import STATEMENT
from unlearn.evidence.signing import signer_of
from unlearn.evidence.statement import spelled


def _a_byte_of_the_zip(real: Real, dice: random.Random) -> bytes:
    return flipped(real.data, dice)


def _a_byte_of_a_listed_file(real: Real, dice: random.Random) -> bytes:
    name = dice.choice(sorted(name for name, data in real.files.items() if data and name != STATEMENT))
    return pack(real.files | {name: flipped(real.files[name], dice)})


def _a_byte_of_the_envelope(real: Real, dice: random.Random) -> bytes:
    return pack(real.files | {STATEMENT: flipped(real.files[STATEMENT], dice)})


def _a_byte_that_means_nothing(real: Real, dice: random.Random) -> bytes:
    """Date, time, attributes, versions, flags of an entry, in both of its headers."""
    changed = bytearray(real.data)
    place = changed.index(b"PK\1\2")
    for _ in range(dice.randrange(len(real.files))):
        place = changed.index(b"PK\1\2", place + 4)
    field = dice.choice([4, 5, 12, 13, 14, 15, 36, 38, 39, 40, 41])
    changed[place + field] ^= dice.randrange(1, 256)
    return bytes(changed)


def _bytes_around_the_zip(real: Real, dice: random.Random) -> bytes:
    noise = dice.randbytes(dice.randrange(1, 40))
    if dice.random() < 0.3:
        return noise + real.data
    if dice.random() < 0.5:
        return real.data[: -dice.randrange(1, len(real.data))]
    return real.data[:-2] + struct.pack("<H", len(noise)) + noise  # a comment


def _packed_anew(real: Real, dice: random.Random) -> bytes:
    out = BytesIO()
    how = dice.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    with zipfile.ZipFile(out, "w", how) as archive:
        names = list(real.files)
        dice.shuffle(names)
        for name in names:
            stamp = (dice.randrange(1981, 2030), 1, dice.randrange(1, 28), 0, 0, 0)
            archive.writestr(zipfile.ZipInfo(name, stamp), real.files[name], how)
    return out.getvalue()


def _a_file_dropped(real: Real, dice: random.Random) -> bytes:
    gone = dice.choice(sorted(set(real.files) - {STATEMENT}))
    return pack({name: data for name, data in real.files.items() if name != gone})


def _the_statement_dropped(real: Real, _: random.Random) -> bytes:
    return pack({name: data for name, data in real.files.items() if name != STATEMENT})


def _a_file_added(real: Real, dice: random.Random) -> bytes:
    return pack(real.files | {f"added-{dice.randrange(10**6)}.txt": dice.randbytes(dice.randrange(50))})


def _files_swapped(real: Real, dice: random.Random) -> bytes:
    one, other = dice.sample(sorted(set(real.files) - {STATEMENT}), 2)
    if real.files[one] == real.files[other]:
        return _a_file_dropped(real, dice)
    return pack(real.files | {one: real.files[other], other: real.files[one]})


def _the_signature_stripped(real: Real, dice: random.Random) -> bytes:
    envelope = json.loads(real.files[STATEMENT])
    if dice.random() < 0.5:
        envelope["signatures"] = []
    else:
        envelope["signatures"][0]["sig"] = base64.b64encode(dice.randbytes(64)).decode()
    return pack(real.files | {STATEMENT: json.dumps(envelope, indent=1).encode() + b"\n"})


def _another_payload_type(real: Real, dice: random.Random) -> bytes:
    envelope = json.loads(real.files[STATEMENT])
    envelope["payloadType"] = dice.choice(["text/plain", "application/json", PAYLOAD_TYPE.upper()])
    return pack(real.files | {STATEMENT: json.dumps(envelope, indent=1).encode() + b"\n"})


def _signed_under_another_key(real: Real, dice: random.Random) -> bytes:
    """Everything edited at will and signed by a stranger, in the ledger's name or in one of their own."""
    name = dice.choice([real.signer.public.name, "elsewhere.example/ledger"])
    seed = base64.b64encode(dice.randbytes(32)).decode()
    files = real.files | {"request.json": flipped(real.files["request.json"], dice)}
    return resigned(files, real.statement, signer_of(seed, name))


def _the_keyid_of_the_ledger_on_a_strangers_signature(real: Real, dice: random.Random) -> bytes:
    payload = spelled(real.statement | {"predicate": {"request": dice.randrange(10**6)}})
    envelope = json.loads(real.files[STATEMENT])
    envelope["payload"] = base64.b64encode(payload).decode()
    envelope["signatures"][0]["sig"] = base64.b64encode(real.stranger.sign(pae(PAYLOAD_TYPE, payload))).decode()
    return pack(real.files | {STATEMENT: json.dumps(envelope, indent=1).encode() + b"\n"})


OUTSIDERS = (
    Kind("one byte of the zip, anywhere", "outsider", _a_byte_of_the_zip, frozenset({"container"}), 6),
    Kind("one byte of a file inside", "outsider", _a_byte_of_a_listed_file, frozenset({"files"}), 8),
    Kind(
        "one byte of the signed envelope",
        "outsider",
        _a_byte_of_the_envelope,
        frozenset({"signature", "payload type"}),
        4,
    ),
    Kind(
        "one byte of a header that no content depends on",
        "outsider",
        _a_byte_that_means_nothing,
        frozenset({"container"}),
        3,
    ),
    Kind(
        "cut off, or bytes before it or as its comment", "outsider", _bytes_around_the_zip, frozenset({"container"}), 2
    ),
    Kind("the same files packed anew", "outsider", _packed_anew, frozenset({"container"})),
    Kind("a file dropped", "outsider", _a_file_dropped, frozenset({"files"}), 2),
    Kind("the statement dropped", "outsider", _the_statement_dropped, frozenset({"signature"})),
    Kind("a file added", "outsider", _a_file_added, frozenset({"files"})),
    Kind("two files swapped", "outsider", _files_swapped, frozenset({"files"}), 2),
    Kind("the signature stripped or replaced", "outsider", _the_signature_stripped, frozenset({"signature"}), 2),
    Kind("another payload type", "outsider", _another_payload_type, frozenset({"payload type"})),
    Kind("edited and signed under another key", "outsider", _signed_under_another_key, frozenset({"signature"}), 2),
    Kind(
        "another statement, signed by a stranger in the ledger's name",
        "outsider",
        _the_keyid_of_the_ledger_on_a_strangers_signature,
        frozenset({"signature"}),
    ),
)
