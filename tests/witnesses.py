"""A witness as C2SP tlog-witness has it, behind an address of its own."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from servers import Answer, Server
from unlearn.evidence.checkpoint import claimed
from unlearn.evidence.ledger import LedgerBroken
from unlearn.evidence.signing import COSIGNATURE, PublicKey, signer_of
from unlearn.evidence.witness import cosign, read_submission, seen_size

ALICE = signer_of(base64.b64encode(b"w" * 32).decode(), "alice.example/w", COSIGNATURE)
SEEN = datetime(2026, 3, 1, tzinfo=UTC)


class Witness:
    """Remembers the last checkpoint, and says so to whoever begins elsewhere."""

    def __init__(self, log: Sequence[PublicKey]) -> None:
        self.log, self.seen = log, None

    def __call__(self, body: str) -> tuple[int, str]:
        given = read_submission(body)
        old = seen_size(self.seen, ALICE.public)
        if given.old != old:
            return 409, f"{old}\n"
        try:
            self.seen = cosign(given, self.log, ALICE, self.seen, SEEN)
        except LedgerBroken as error:
            return (409 if given.old == claimed(given.note).size else 422), str(error)
        return 200, self.seen.splitlines(keepends=True)[-1]


@contextmanager
def answering(answer: Callable[[str, str, str], tuple[int, str]]) -> Iterator[str]:
    """The address of a server that answers a POST by its path, content type and body."""

    class Asked(Answer):
        def do_POST(self) -> None:
            status, told = answer(self.path, self.headers["content-type"], self.body().decode())
            self.send(status, told.encode())

    server = Server(Asked)
    try:
        yield server.url
    finally:
        server.stop()
