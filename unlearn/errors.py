"""The errors a person can meet. Knows nothing of HTTP frameworks, torch or SQL.

    UnlearnError                 anything this program says no with
    ├── BadInput                 the input can't be used                   exit 2, HTTP 422
    │   ├── CorpusError          a file of records: names file, line, key
    │   ├── ModelError           a base model, tokenizer or adapter
    │   ├── PolicyError          a policy file or object
    │   ├── RecipeError          how an adapter was trained (recipes)
    │   ├── UnknownSubject       no record names this subject
    │   └── PathNotAllowed       a path or URL outside the configured roots       403
    ├── Unauthenticated          nobody this service knows                        401
    ├── NotAllowed               known, but not allowed to do this                403
    ├── NotFound                 no such request, adapter, job                    404
    ├── Conflict                 it is there, but not in a state for this         409
    │   └── ErasedRecords        a corpus holds what was erased before
    ├── Unavailable              a part of the service can't be reached           503
    ├── LeaseLost                another worker has the job now
    └── ErasureFailed            an erasing that must not be released      exit 3
        ├── Diverged             a loss or gradient stopped being finite
        └── Unchanged            the weights are what they were before

Every message says what was wrong, with which value, and what to do next. No message holds a prompt,
a completion or an identity: record ids, file names and line numbers find the place.
"""

from __future__ import annotations

from typing import ClassVar


class UnlearnError(Exception):
    """Base of all errors with a message meant for a person.

    `kind` is the last part of the problem type URI (RFC 9457, section 3.1.1); `status` the HTTP status
    code; `exit_code` that of the command line.
    """

    kind: ClassVar[str] = "error"
    title: ClassVar[str] = "Something went wrong"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1


class BadInput(UnlearnError):
    """The input can't be used as it is; nothing was changed."""

    kind = "bad-input"
    title = "The input can't be used"
    status = 422
    exit_code = 2


class CorpusError(BadInput):
    """A file of records is not what it should be."""

    kind = "bad-corpus"
    title = "The corpus can't be used"


class ModelError(BadInput):
    """A base model, its tokenizer or an adapter can't be used."""

    kind = "bad-model"
    title = "The model can't be used"


class PolicyError(BadInput):
    """A policy is not valid."""

    kind = "bad-policy"
    title = "The policy can't be used"


class UnknownSubject(BadInput):
    """No train record names the subject."""

    kind = "unknown-subject"
    title = "No record names this subject"


class PathNotAllowed(BadInput):
    """A path or URL lies outside the roots that the service may read."""

    kind = "path-not-allowed"
    title = "This path may not be read"
    status = 403


class Unauthenticated(UnlearnError):
    """Nobody this service knows: no key or token, or one that is not good (any more)."""

    kind = "unauthenticated"
    title = "An API key or token is needed"
    status = 401
    exit_code = 2


class NotAllowed(UnlearnError):
    """Somebody known, who lacks the right for this."""

    kind = "not-allowed"
    title = "The key or token has no right to this"
    status = 403
    exit_code = 2


class NotFound(UnlearnError):
    """The thing asked for does not exist."""

    kind = "not-found"
    title = "Not found"
    status = 404
    exit_code = 2


class Conflict(UnlearnError):
    """The thing exists, but its state does not allow this."""

    kind = "conflict"
    title = "Not possible in this state"
    status = 409
    exit_code = 2


class ErasedRecords(Conflict):
    """A corpus holds records that were erased before, or near duplicates of such."""

    kind = "erased-records"
    title = "The corpus holds erased records"


class Unavailable(UnlearnError):
    """A part of the service can't be reached now; the same call may succeed later."""

    kind = "unavailable"
    title = "Not available right now"
    status = 503


class LeaseLost(UnlearnError):
    """The worker's claim on a job is over; nothing it writes counts any more."""

    kind = "lease-lost"
    title = "The lease is lost"


class ErasureFailed(UnlearnError):
    """An erasing ended without weights that may be released."""

    kind = "erasure-failed"
    title = "The erasing failed"
    exit_code = 3


class Diverged(ErasureFailed):
    """A loss or a gradient stopped being finite."""

    kind = "diverged"
    title = "The erasing diverged"


class Unchanged(ErasureFailed):
    """Training or erasing left every weight as it was."""

    kind = "unchanged"
    title = "The weights did not change"
