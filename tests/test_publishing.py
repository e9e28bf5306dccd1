"""Publishing: a file that grows, an object a checkpoint, a POST; doing it again changes nothing."""

from __future__ import annotations

import base64
import http.server
import threading

import fsspec
import pytest

from s3 import _s3_environment, _s3_server, bucket  # noqa: F401
from unlearn.errors import BadInput, Conflict, Unavailable
from unlearn.evidence.checkpoint import Checkpoint, sign_note, split_notes
from unlearn.evidence.signing import signer_of
from unlearn.outbound import CallbackFailed, CallbackRefused
from unlearn.publishing import publish

LOG = signer_of(base64.b64encode(b"l" * 32).decode(), "ledger.example/1")


def note(size, byte=b"\x01"):
    return sign_note(Checkpoint("ledger.example/1", size, byte * 32).text, [LOG])


def test_a_file_grows_and_has_each_note_once(tmp_path):
    file = tmp_path / "anchor" / "ledger.txt"
    publish(note(1), str(file))
    publish(note(2), f"file://{file}")
    publish(note(1), str(file))
    assert split_notes(file.read_text()) == [note(1), note(2)]
    with pytest.raises(BadInput, match="absolute"):
        publish(note(1), "ledger.txt")
    with pytest.raises(Unavailable, match="does not take"):
        publish(note(1), str(file / "below"))


def test_an_object_store_gets_an_object_a_checkpoint_and_none_is_written_over():
    files = fsspec.filesystem("memory")
    publish(note(7), "memory://anchor/ledger/")
    publish(note(7), "memory://anchor/ledger")
    publish(note(12), "memory://anchor/ledger")
    assert [path.rpartition("/")[2] for path in sorted(files.ls("/anchor/ledger", detail=False))] == [
        "00000000000000000007.txt",
        "00000000000000000012.txt",
    ]
    assert files.cat_file("/anchor/ledger/00000000000000000007.txt") == note(7).encode()
    with pytest.raises(Conflict, match="another checkpoint of 7 entries"):
        publish(note(7, b"\x02"), "memory://anchor/ledger")
    with pytest.raises(BadInput, match="can't be published"):
        publish(note(7), "nothing-known://x/y")


def test_an_s3_bucket_gets_each_checkpoint_once(bucket):  # noqa: F811
    place = f"s3://{bucket.name}/anchor"
    for _ in range(2):
        publish(note(7), place)
        publish(note(12), f"{place}/")
    keys = ["anchor/00000000000000000007.txt", "anchor/00000000000000000012.txt"]
    assert bucket.keys() == bucket.versions() == keys
    assert bucket.get(keys[1]) == note(12).encode()
    with pytest.raises(Conflict, match="another checkpoint of 7 entries"):
        publish(note(7, b"\x02"), place)
    with pytest.raises(Unavailable, match="does not take checkpoints"):
        publish(note(7), "s3://no-such-bucket-here/anchor")


@pytest.fixture
def receiver():
    got = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.headers["content-type"], self.rfile.read(int(self.headers["content-length"])).decode()))
            self.send_response(500 if self.path == "/broken" else 204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_address_gets_the_note_as_text(receiver):
    url, got = receiver
    publish(note(3), f"{url}/anchor", allow_private=True)
    assert got == [("text/plain; charset=utf-8", note(3))]
    with pytest.raises(CallbackFailed, match="answered 500"):
        publish(note(3), f"{url}/broken", allow_private=True)
    with pytest.raises(CallbackRefused):
        publish(note(3), url)
