"""The zip of a bundle: written in one way, and read with nothing believed."""

from __future__ import annotations

import io
import stat
import struct
import warnings
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dossiers import zipped
from unlearn.evidence.container import LARGEST_BYTES, MOST_FILES, pack, unpack
from unlearn.evidence.refusal import NotVerified

FILES = {"a.txt": b"one", "b/c.json": b"{}", "empty": b""}
NAMES = st.lists(st.text("ab9-_", min_size=1, max_size=4), min_size=1, max_size=3).map("/".join)


def refused(data: bytes) -> str:
    with pytest.raises(NotVerified) as told:
        unpack(data)
    assert told.value.check == "container"
    return str(told.value)


@given(st.dictionaries(NAMES, st.binary(max_size=200), min_size=1, max_size=8))
def test_what_is_packed_comes_out_again_and_any_other_program_can_read_it(files):
    data = pack(files)
    assert unpack(data) == files
    assert pack(dict(reversed(files.items()))) == data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == files


@given(st.data())
def test_one_byte_anywhere_in_the_zip_is_found(data):
    whole = bytearray(pack(FILES))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    refused(bytes(whole))


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_fail_otherwise(noise):
    refused(noise)
    refused(pack(FILES)[:-22] + noise)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "C:\\x", "..\\x", "\\x"])
def test_a_path_that_leads_out_is_named(name):
    assert "leads out of the folder" in refused(zipped([(name, b"x")]))


def test_a_symbolic_link_a_folder_a_hidden_and_a_double_name_are_refused():
    link = zipfile.ZipInfo("a")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    assert "symbolic link" in refused(zipped([(link, b"/etc/passwd")]))
    for name in ("a/", ".hidden", "a b", "a\nb", "ä", "a//b", "x" * 201):
        assert "no name of a file" in refused(zipped([(name, b"")]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of what the test is about
        assert "two files called" in refused(zipped([("a", b"1"), ("a", b"2")]))


def test_a_zip_bomb_is_refused_before_anything_is_unpacked():
    bomb = zipped([("a", b"0" * 50_000_000)], zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    assert "zip bomb" in refused(bomb)
    overlapping = bytearray(pack({f"f{i}": bytes(1000) for i in range(3)}))
    place = bytes(overlapping).index(b"PK\1\2")
    for _ in range(2):  # every entry of the directory claims the whole zip
        struct.pack_into("<II", overlapping, place + 20, 3000, 3000)
        place = bytes(overlapping).index(b"PK\1\2", place + 4)
    assert "overlap, as in a zip bomb" in refused(bytes(overlapping))
    assert "files; a bundle has between" in refused(zipped([(f"f{i}", b"") for i in range(MOST_FILES + 1)]))
    assert str(LARGEST_BYTES) in refused(bytes(LARGEST_BYTES + 1))


def test_a_bundle_that_was_packed_anew_is_told_so():
    assert "packed anew" in refused(zipped(FILES.items()))
    assert "packed anew" in refused(pack(FILES)[:-2] + b"\1\0x")  # a comment
    assert "packed anew" in refused(b"x" + pack(FILES))
    assert "no zip" in refused(b"")
    assert "no zip" in refused(pack(FILES)[:100])


def test_what_no_bundle_can_hold_is_not_packed():
    for name in ("../x", "", "a b", "x" * 201):
        with pytest.raises(ValueError, match="can't be a file's name"):
            pack({name: b""})
