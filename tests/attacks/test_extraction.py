"""(n, p)-extraction: the arithmetic, its ends, and what a served adapter gives away."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn.attacks.audit import audit
from unlearn.attacks.extraction import NEVER, log10_queries
from unlearn.attacks.panel import panel
from unlearn.corpus.splits import split
from unlearn.lm.base import attached
from unlearn.policy import Decoding
from unlearn.weights import read_adapter


@given(st.floats(-25, -0.01), st.floats(0.01, 0.99))
def test_after_so_many_queries_the_record_has_come_out_with_that_chance(log_p, chance):
    n = 10 ** log10_queries(log_p, chance)
    reached = -math.expm1(n * math.log1p(-math.exp(log_p)))
    assert reached == pytest.approx(chance, rel=1e-5) or (n == 1.0 and reached >= chance)


@pytest.mark.parametrize(("log_p", "found"), [(0.0, 0.0), (-math.inf, NEVER), (-1e9, NEVER), (math.log(0.5), 0.0)])
def test_certainty_needs_one_query_and_the_impossible_never_comes(log_p, found):
    assert log10_queries(log_p) == found


def test_what_is_no_number_is_no_certainty():
    with pytest.raises(ValueError, match="log_p is NaN"):
        log10_queries(math.nan)


def test_less_likely_records_need_more_queries_without_a_jump():
    powers = [log10_queries(-x / 10) for x in range(1, 3000)]
    assert powers == sorted(powers)
    assert max(b - a for a, b in itertools.pairwise(powers[20:])) < 0.05


def test_what_was_learned_comes_out_sooner_and_decoding_decides_how_soon(company, base):
    parts = split(
        company.train, company.holdout, {company.subject}.__contains__, pool_records=8, check_records=8, seed=0
    )

    def tries(decoding, forget=parts.forget):
        measured = panel(base, forget, parts.retain_check, parts.audit, decoding)
        with attached(base, read_adapter(company.adapter)) as model:
            found = audit(model, measured, 0)
        return sum(found.queries.values()) / len(found.queries)

    plain = tries(Decoding())
    assert tries(Decoding(temperature=0.5)) < plain
    assert tries(Decoding(top_k=1)) > plain  # what is not the likeliest word is never said
    assert tries(Decoding(), parts.audit) > plain + 1.0
