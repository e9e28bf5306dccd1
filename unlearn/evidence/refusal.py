"""How a bundle is refused: which check, and why. Knows no check."""

from __future__ import annotations

from unlearn.errors import UnlearnError


class NotVerified(UnlearnError):
    """A bundle that does not hold; `check` names the check that it failed first."""

    kind = "not-verified"
    title = "The bundle does not verify"
    status = 422

    def __init__(self, check: str, message: str) -> None:
        super().__init__(message)
        self.check = check
