"""How a bundle is refused: which check, and why. Knows no check."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from unlearn.errors import UnlearnError

P = ParamSpec("P")
T = TypeVar("T")


class NotVerified(UnlearnError):
    """A bundle that does not hold; `check` names the check that it failed first."""

    kind = "not-verified"
    title = "The bundle does not verify"
    status = 422

    def __init__(self, check: str, message: str) -> None:
        super().__init__(message)
        self.check = check


def laid_out(check: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Turn what a file of another shape leads to into the failure of this check."""

    def around(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def run(*given: P.args, **named: P.kwargs) -> T:
            try:
                return function(*given, **named)
            except NotVerified:
                raise
            except Exception as error:  # whoever signed it chose what is in it, and so what breaks
                told = f"a file is not laid out as it should be ({type(error).__name__}: {str(error)[:80]})"
                raise NotVerified(check, told) from None

        return run

    return around
