"""The retain pool's neighbours: those who read like the forget set, whoever else there is."""

import numpy as np
import pytest
from test_splits import HOLDOUT, corpus, ids, one_of

from unlearn.corpus.neighbours import similarities
from unlearn.corpus.records import Record
from unlearn.corpus.splits import split


def texts(prefix, *words):
    return [Record(f"{prefix}-{i:03d}", (f"{prefix}{i}",), text=word) for i, word in enumerate(words)]


FORGET = texts("f", "Ana Ruiz keeps bees in Toledo", "Ana Ruiz sells honey")


def test_the_likest_record_is_the_likest_and_a_stranger_is_not_like_at_all():
    found = similarities(texts("r", "Bo sells honey", "zinc tin lead", "Ana Ruiz sells honey"), FORGET)
    assert found[2] == pytest.approx(1.0)
    assert found[2] > found[0] > found[1] == 0.0


def test_a_rare_word_says_more_than_a_common_one():
    others = texts("r", *["the town is old"] * 30, "the toledo", "the town")
    found = similarities(others, texts("f", "the toledo town"))
    assert found[-2] > found[-1]


def test_records_without_a_word_are_like_nobody():
    assert similarities(texts("r", "...", "!?"), texts("f", "--")).tolist() == [0.0, 0.0]


def pool(share, size=10, order=1):
    strangers = texts("s", *[f"number {i} is a plain stone" for i in range(60)])
    near = texts("n", *[f"Ana Ruiz and {i} keep bees" for i in range(20)])
    records = [*FORGET, *strangers, *near][::order]
    return split(
        corpus(records),
        HOLDOUT,
        one_of("f0", "f1"),
        pool_records=size,
        check_records=4,
        neighbours=share,
        seed=0,
    )


@pytest.mark.parametrize(("share", "least"), [(0.5, 5), (1.0, 10)])
def test_the_share_of_the_pool_is_neighbours(share, least):
    parts = pool(share)
    assert len(parts.retain_pool) == 10
    assert sum(name.startswith("n-") for name in ids(parts.retain_pool)) >= least
    assert set(ids(parts.retain_pool)).isdisjoint(ids(parts.retain_check))


def test_without_a_share_the_pool_is_the_draw():
    parts = [ids(pool(0.0, size).retain_pool) for size in (5, 10)]
    assert parts[0] == parts[1][:5]
    assert any(name.startswith("s-") for name in parts[1])


def test_the_order_of_lines_decides_nothing():
    assert ids(pool(0.5).retain_pool) == ids(pool(0.5, order=-1).retain_pool)


def test_a_share_beyond_the_whole_is_an_error():
    with pytest.raises(ValueError, match=r"neighbours=1\.5"):
        pool(1.5)


def test_similarities_are_one_number_a_record():
    found = similarities(FORGET, FORGET)
    assert np.allclose(found, 1.0)
    assert found.shape == (2,)
