"""Extraction: how often must one ask until a record comes out, word for word?

(n, p)-discoverable extraction (arXiv 2410.19482), exact: the chance that a served model says a record after its prompt
is the product of its tokens' chances, so that no sampling is needed. Pure functions of log-probabilities.
"""

from __future__ import annotations

import math

NEVER = 99.0
"""Stands for so many queries, as a power of ten, that it never happens."""


def log10_queries(log_p: float, chance: float = 0.5) -> float:
    """log10 of the independent queries after which a record has come out with `chance`; at least 0, at most 99.

    n = log(1 - chance) / log(1 - p): 1 - (1 - p)^n >= chance.

    Args:
        log_p: log of the chance p that one query gives the record, nats; -inf if a token of it is never said.
        chance: in (0, 1).

    Raises:
        ValueError: `log_p` is NaN.

    >>> round(10 ** log10_queries(math.log(1e-4), 0.1))
    1054
    """
    if math.isnan(log_p):
        raise ValueError("log_p is NaN, which is no chance; leave the record out")
    if log_p > -1e-12:
        return 0.0
    per_query = math.log(-math.log1p(-math.exp(log_p))) if log_p > -30.0 else log_p  # log(-log(1 - p)), ~log p
    found = (math.log(-math.log1p(-chance)) - per_query) / math.log(10.0)
    return min(NEVER, max(0.0, found))
