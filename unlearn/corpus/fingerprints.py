"""Keyed fingerprints of texts: enough to know an erased text, or a near duplicate, when it comes back, and no text.

*Exact*: HMAC-SHA-256 (RFC 2104) of the text in one spelling (`spelling.py`). *Near*: a MinHash sketch
(Broder 1997) over its character shingles, each hashed under a key, so that without the key nobody can ask whether a
text is among the erased. Bands of the sketch are what a table is indexed by: two alike share one, so that nobody
compares all with all. Shingle, size and threshold were measured (docs/benchmarks/evidence.md, "Resurrection guard").
Those of earlier releases were made of another spelling, under other keys, and go on matching. Knows no database, no
person and no model.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from unlearn.corpus.parts import LEAST_CHARACTERS, texts_of
from unlearn.corpus.records import Record
from unlearn.corpus.spelling import spelled

SHINGLE_CHARACTERS = 4
PERMUTATIONS = 128
ROWS = 4
"""Values of a sketch in one band; PERMUTATIONS / ROWS bands."""
THRESHOLD = 0.55
"""Likeness from which on a text counts as a near duplicate, unless texts that stay are as like (`floors`)."""
WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Sketched:
    """What one text is compared by.

    Attributes:
        exact: 64 hex digits.
        sketch: PERMUTATIONS values of 4 bytes, little-endian.
    """

    exact: str
    sketch: bytes


@dataclass(frozen=True)
class Fingerprint(Sketched):
    """What is kept of one text, and looked for: as much work again as the sketch.

    Attributes:
        bands: keys of the sketch's bands, signed and of 8 bytes, as databases store them.
    """

    bands: tuple[int, ...]


class Fingerprinter:
    """Makes fingerprints that can be compared with others of the same key and scope.

    Args:
        key: the service's identity key; what is used comes from it by HKDF (RFC 5869).
        scope: whose texts these are, so that fingerprints of two companies can't be matched.
    """

    def __init__(self, key: bytes, scope: str) -> None:
        self._now, self._before = (_Maker(key, version, scope) for version in ("v2", "v1"))

    def kept(self, erased: Sequence[Record], stay: Sequence[Record] = ()) -> list[tuple[Fingerprint, ...]]:
        """What is kept of each record that is erased: of the whole, and of its parts (`texts_of`).

        A short whole without its frame is looked for alone: kept, it would be like those of others.

        Args:
            erased: records of a corpus.
            stay: its others, which say what is a frame.
        """
        texts = ((wholes[0], [*wholes[1:], *parts]) for wholes, parts in texts_of([*erased, *stay])[: len(erased)])
        return _grouped(
            self._now, [(whole, *(text for text in more if len(text) >= LEAST_CHARACTERS)) for whole, more in texts]
        )

    def looked_for(self, records: Sequence[Record]) -> list[tuple[Fingerprint, ...]]:
        """By which fingerprints each record of a corpus would be known: as they are kept now, and as they were before.

        What is looked for among those of before is no part: the floors of that time were of whole records.
        """
        texts = texts_of(records)
        before = []
        for record, (wholes, _) in zip(records, texts, strict=True):
            own = normalised(record.content)
            before.append((own, *(whole for whole in wholes if whole != " ".join(WORD.findall(own)))))
        sought = _grouped(self._now, [wholes + parts for wholes, parts in texts])
        found = zip(sought, _grouped(self._before, before), strict=True)
        return [now + then for now, then in found]

    def of_those_who_stay(self, erased: Sequence[Record], stay: Sequence[Record]) -> list[Sketched]:
        """By what those who stay would be known, were their records brought again by themselves.

        What frames their texts is counted with and without the erased: no text that is looked for may be unknown here.
        """
        beside = texts_of([*erased, *stay])[len(erased) :]
        texts = dict.fromkeys(chain(*(wholes + parts for wholes, parts in [*texts_of(stay), *beside])))
        return self._now.sketched(list(texts))

    def __call__(self, texts: Iterable[str]) -> list[Fingerprint]:
        """The fingerprint of each text as a whole, in order."""
        return self._now([spelled(text) for text in texts])

    def before(self, texts: Iterable[str]) -> list[Fingerprint]:
        """The fingerprint of each text as earlier releases made it, in order."""
        return self._before([normalised(text) for text in texts])

    def again(self, exact: str, sketch: bytes) -> Fingerprint:
        """The fingerprint of which these two were kept, with the bands of either version: nobody noted which it is."""
        now, before = (maker.again(exact, sketch) for maker in (self._now, self._before))
        return Fingerprint(exact, sketch, now.bands + before.bands)


class _Maker:
    """Makes fingerprints of texts in one spelling, under the keys of one version of them."""

    def __init__(self, key: bytes, version: str, scope: str) -> None:
        self._exact, self._near = (_derived(key, version, purpose, scope) for purpose in ("exact", "near"))
        near = self._near

        @lru_cache(maxsize=1 << 18)
        def hashed(shingle: str) -> int:
            return int.from_bytes(hashlib.blake2b(shingle.encode(), key=near, digest_size=4).digest(), "little")

        self._hashed = hashed

    def __call__(self, plain: Sequence[str]) -> list[Fingerprint]:
        return [self.again(one.exact, one.sketch) for one in self.sketched(plain)]

    def sketched(self, plain: Sequence[str]) -> list[Sketched]:
        """What each text is compared by."""
        from datasketch import MinHash  # with SciPy, which the API does not need before it looks at a corpus

        sketches = MinHash.bulk(
            [shingles(text) for text in plain], num_perm=PERMUTATIONS, hashfunc=self._hashed, scheme="affine32"
        )
        return [
            Sketched(
                hmac.new(self._exact, text.encode(), hashlib.sha256).hexdigest(),
                sketch.hashvalues.astype("<u4").tobytes(),
            )
            for text, sketch in zip(plain, sketches, strict=True)
        ]

    def again(self, exact: str, sketch: bytes) -> Fingerprint:
        """The fingerprint of which these two were kept."""
        bands = (
            hashlib.blake2b(band.tobytes(), key=self._near, digest_size=8, person=number.to_bytes(2, "big")).digest()
            for number, band in enumerate(np.frombuffer(sketch, "<u4").reshape(-1, ROWS))
        )
        return Fingerprint(exact, sketch, tuple(int.from_bytes(band, "big", signed=True) for band in bands))


def normalised(text: str) -> str:
    """The spelling of earlier releases: NFC, casefolded, white space collapsed.

    >>> normalised("  Ada\\n LOVELACE ")
    'ada lovelace'
    """
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return " ".join(folded.split())


def shingles(text: str) -> set[str]:
    """Runs of SHINGLE_CHARACTERS characters of a spelled text, without what punctuation it has.

    >>> sorted(shingles("she, ad"))
    ['e ad', 'he a', 'she ']
    """
    words = " ".join(WORD.findall(text)) or text
    last = max(1, len(words) - SHINGLE_CHARACTERS + 1)
    return {words[start : start + SHINGLE_CHARACTERS] for start in range(last)}


def likeness(sketch: bytes, others: Sequence[bytes]) -> np.ndarray:
    """Estimated Jaccard similarity of a text's shingles with each other's: floats in [0, 1], [len(others)]."""
    if not others:
        return np.zeros(0)
    return _alike(np.frombuffer(sketch, "<u4"), _sketches(others))


def _sketches(sketches: Sequence[bytes]) -> np.ndarray:
    """[len(sketches), PERMUTATIONS]."""
    return np.frombuffer(b"".join(sketches), "<u4").reshape(len(sketches), PERMUTATIONS)


def _alike(one: np.ndarray, many: np.ndarray) -> np.ndarray:
    return np.asarray((many == one).mean(axis=1))


def floors(erased: Sequence[Sketched], stay: Sequence[Sketched]) -> list[float | None]:
    """How like a text must be to each erased one to count as its near duplicate.

    At least THRESHOLD, and more than any text that stays: where all are written after one pattern, the people who stay
    must not look like those who left. None for an erased text that stays elsewhere to the letter: it tells of nobody.
    """
    known, sketches = {one.exact for one in stay}, _sketches([one.sketch for one in stay])
    just_above = 0.5 / PERMUTATIONS

    def floor(one: Sketched) -> float | None:
        if one.exact in known:
            return None
        return max(THRESHOLD, float(_alike(np.frombuffer(one.sketch, "<u4"), sketches).max(initial=0.0)) + just_above)

    return [floor(one) for one in erased]


def _grouped(make: _Maker, texts: Sequence[Sequence[str]]) -> list[tuple[Fingerprint, ...]]:
    """Fingerprints of all texts at once, as they were grouped; of each text once."""
    once = list(dict.fromkeys(text for of in texts for text in of))
    made = dict(zip(once, make(once), strict=True))
    return [tuple(made[text] for text in of) for of in texts]


def _derived(key: bytes, version: str, purpose: str, scope: str) -> bytes:
    info = f"unlearn/fingerprints/{version}/{purpose}/{scope}".encode()
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(key)
