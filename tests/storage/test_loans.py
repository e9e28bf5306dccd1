"""Inputs from a real S3: only what is needed is fetched, base models stay, everything else goes with the loan."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from crowd import at_once
from unlearn.errors import BadInput, CorpusError, ModelError, Unavailable
from unlearn.settings import Settings
from unlearn.storage import Loan, cache, loans, objects
from unlearn.weights import ADAPTER_CONFIG, ADAPTER_WEIGHTS

BASE = {"config.json": b"{}", "model.safetensors": b"weights", "tokenizer.json": b"{}"}


@pytest.fixture
def settings(tmp_path, plain_bucket):
    return Settings(home=tmp_path / "home", roots=[f"s3://{plain_bucket.name}"], cache_bytes=100)


@pytest.fixture
def fetched(monkeypatch):
    """Names of what is fetched."""
    names, fetch = [], objects.fetch
    monkeypatch.setattr(
        objects, "fetch", lambda url, found, file: (names.append(url.rpartition("/")[2]), fetch(url, found, file))[1]
    )
    return names


def upload(bucket, key, files):
    for name, content in files.items():
        bucket.put(f"{key}/{name}", content)
    return f"s3://{bucket.name}/{key}"


def entries(settings):
    return [path for path in (settings.home / "cache").iterdir() if path.is_dir()]


def test_a_local_place_is_itself_and_no_directory_is_made_for_it(tmp_path):
    settings = Settings(home=tmp_path / "home")
    with Loan(settings) as loan:
        for lend in (loan.base, loan.adapter, loan.corpus):
            assert lend("/data/x") == Path("/data/x")
    assert not settings.home.exists()


def test_a_base_is_fetched_once_for_all_and_only_the_files_that_are_needed(settings, plain_bucket, fetched):
    junk = {"pytorch_model.bin": b"pickle", "modeling.py": b"code", "deep/model.safetensors": b"x", "README.md": b"x"}
    place = upload(plain_bucket, "models/tiny", BASE | junk)
    for _ in range(2):
        with Loan(settings) as loan:
            base = loan.base(place)
    assert base.name == "tiny"  # what the adapter's config calls it
    assert {file.name: file.read_bytes() for file in base.iterdir()} == BASE
    assert sorted(fetched) == sorted(BASE)


def test_the_same_base_at_two_places_is_kept_once_and_a_changed_one_is_another(settings, plain_bucket):
    first = upload(plain_bucket, "a/tiny", BASE)
    with Loan(settings) as loan:
        assert loan.base(first) == loan.base(upload(plain_bucket, "b/tiny", BASE))
        before = loan.base(first)
        plain_bucket.put("a/tiny/model.safetensors", b"WEIGHTS")
        assert loan.base(first) != before
        assert (loan.base(first) / "model.safetensors").read_bytes() == b"WEIGHTS"
        assert (before / "model.safetensors").read_bytes() == b"weights"


def test_several_who_want_the_same_base_at_once_fetch_it_once(settings, plain_bucket, fetched):
    place = upload(plain_bucket, "models/tiny", BASE)
    assert len(set(at_once(lambda _: Loan(settings).base(place), 6))) == 1
    assert sorted(fetched) == sorted(BASE)


def test_the_least_recently_used_base_makes_room_and_what_may_be_in_use_does_not(settings, plain_bucket):
    def base(name, size):
        return upload(plain_bucket, name, {"config.json": b"{}", "model.safetensors": b"x" * size})

    def unused_for(path, seconds):
        os.utime(path.parent, (time.time() - seconds,) * 2)

    with Loan(settings) as loan:
        old, older, fresh = (loan.base(base(name, 25)) for name in ("old", "older", "fresh"))
        unused_for(old, cache.IN_USE_SECONDS + 100)
        unused_for(older, cache.IN_USE_SECONDS + 200)
        (settings.home / "cache" / ".draft.killed").mkdir()
        loan.base(base("next", 30))
        assert [path.exists() for path in (old, older, fresh)] == [True, False, True]
        assert not (settings.home / "cache" / ".draft.killed").exists()
        loan.base(base("old", 25))  # used again
        with pytest.raises(Unavailable, match="UNLEARN_CACHE_BYTES"):
            loan.base(base("one-more", 60))
        with pytest.raises(BadInput, match="101 bytes"):
            loan.base(base("huge", 99))
    assert sum(file.stat().st_size for entry in entries(settings) for file in entry.rglob("*") if file.is_file()) <= 100


def test_a_base_that_changes_while_it_is_fetched_is_not_kept(settings, plain_bucket, monkeypatch):
    place, found = upload(plain_bucket, "models/tiny", BASE), objects._found

    def changing(info):
        if info.get("size") == 7 and "ContentType" in info:  # looked at again, after it was read
            plain_bucket.put("models/tiny/model.safetensors", b"WEIGHTS")
            return objects.Found(7, "another")
        return found(info)

    monkeypatch.setattr(objects, "_found", changing)
    with pytest.raises(Unavailable, match="changed while it was read"), Loan(settings) as loan:
        loan.base(place)
    assert entries(settings) == []


@pytest.mark.parametrize("what", ["base", "adapter"])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "adapter_model.bin", "x.pt", "x.pth", "x.pkl", "x.ckpt"])
def test_pickles_are_refused_before_anything_is_fetched(settings, plain_bucket, fetched, what, name):
    place = upload(plain_bucket, "models/tiny", {"config.json": b"{}", ADAPTER_CONFIG: b"{}", name: b"pickle"})
    with pytest.raises(ModelError, match="pickled weights"), Loan(settings) as loan:
        getattr(loan, what)(place)
    assert fetched == []


def test_an_adapter_and_a_corpus_are_lent_and_gone_with_the_loan(settings, plain_bucket, tiny, fetched):
    adapter = tiny()
    place = plain_bucket.put_directory(adapter.path, "in/adapter")
    plain_bucket.put("in/adapter/adapter_model.bin", b"pickle")
    plain_bucket.put("in/adapter/optimizer.safetensors", b"x")
    plain_bucket.put("in/train.jsonl", b"a person's record\n")
    with Loan(settings) as loan:
        lent = loan.adapter(place), loan.corpus(f"s3://{plain_bucket.name}/in/train.jsonl")
        assert {file.name for file in lent[0].iterdir()} == {ADAPTER_CONFIG, ADAPTER_WEIGHTS}
        assert lent[1].read_bytes() == b"a person's record\n"
        assert lent[1].name == "train.jsonl"
        assert (settings.home / loans.LENT).stat().st_mode & 0o077 == 0
    assert sorted(fetched) == [ADAPTER_CONFIG, ADAPTER_WEIGHTS, "train.jsonl"]
    assert list((settings.home / loans.LENT).iterdir()) == []


def test_what_a_killed_process_was_lent_goes_with_the_next_loan_and_a_living_ones_stays(settings, plain_bucket):
    plain_bucket.put("train.jsonl", b"x")
    place = f"s3://{plain_bucket.name}/train.jsonl"
    killed = Loan(settings)
    left = killed.corpus(place)
    os.close(killed._lock)  # as the kernel does
    with Loan(settings) as living:
        kept = living.corpus(place)
        with Loan(settings) as third:
            third.corpus(place)
            assert not left.exists()
            assert kept.exists()


def test_an_error_names_the_place_that_was_given_and_not_the_copy(settings, plain_bucket):
    plain_bucket.put("train.jsonl", b"x")
    place = f"s3://{plain_bucket.name}/train.jsonl"
    with pytest.raises(CorpusError) as told, Loan(settings) as loan:
        raise CorpusError(f"{loan.corpus(place)}, line 1: is not JSON")
    assert str(told.value) == f"{place}, line 1: is not JSON"


@pytest.mark.parametrize(("what", "kind"), [("base", ModelError), ("adapter", ModelError), ("corpus", CorpusError)])
def test_nothing_at_a_place_is_said_by_its_name(settings, plain_bucket, what, kind):
    with pytest.raises(kind, match="nothing at 's3://"), Loan(settings) as loan:
        getattr(loan, what)(f"s3://{plain_bucket.name}/missing")


def test_what_is_too_large_is_refused_before_it_is_fetched(settings, plain_bucket, tiny, fetched, monkeypatch):
    monkeypatch.setattr(loans, "MOST_ADAPTER_BYTES", 10)
    monkeypatch.setattr(loans, "MOST_CORPUS_BYTES", 10)
    place = plain_bucket.put_directory(tiny().path, "in/adapter")
    plain_bucket.put("train.jsonl", b"x" * 11)
    with Loan(settings) as loan:
        for lend, where in ((loan.adapter, place), (loan.corpus, f"s3://{plain_bucket.name}/train.jsonl")):
            with pytest.raises(BadInput, match="10 are the most"):
                lend(where)
    assert fetched == []


def test_a_store_whose_driver_is_not_installed_says_so(settings):
    with pytest.raises(BadInput, match="no driver for gs"), Loan(settings) as loan:
        loan.corpus("gs://bucket/train.jsonl")
