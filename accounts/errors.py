"""The errors that services raise. Pure: imports no models and no HTTP framework.

Each has a text that users may see (`message`) and an HTTP status for programs. Details for the log only are in
the exception's cause.
"""

from collections.abc import Mapping, Sequence
from typing import Self


class DomainError(Exception):
    """A refused request, with a sentence that says why.

    `errors` maps field names to their messages, if the error is about fields. `challenge` is the error code of
    RFC 6750, §3.1.
    """

    status = 400
    challenge: str | None = None

    def __init__(self, message: str, *, errors: Mapping[str, Sequence[str]] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.errors = errors


class Invalid(DomainError):
    """The request itself is wrong (400)."""

    @classmethod
    def of_fields(cls, errors: Mapping[str, Sequence[str]]) -> Self:
        """An error that names the invalid fields, each with its messages."""
        return cls(f"These fields are invalid: {', '.join(errors)}.", errors=errors)


class InvalidState(DomainError):
    """The item's state doesn't allow this (400)."""


class AlreadyExists(DomainError):
    """The item already exists, or the change was already made (400)."""


class InvalidSignature(DomainError):
    """The request has no signature, or an invalid one (401)."""

    status = 401


class NotPermitted(DomainError):
    """The actor may not do this (403)."""

    status = 403


class PermissionMissing(NotPermitted):
    """The actor lacks a permission (403)."""

    challenge = "insufficient_scope"


class NotFound(DomainError):
    """The item doesn't exist, or belongs to another account (404)."""

    status = 404


class MethodNotAllowed(DomainError):
    """The path doesn't support the request's method (405)."""

    status = 405


class Conflict(DomainError):
    """Another request that runs now prevents this one (409). `retry_after` is in whole seconds."""

    status = 409

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class LengthRequired(DomainError):
    """The body has no length, so it may be incomplete (411)."""

    status = 411


class PreconditionFailed(DomainError):
    """The item is no longer what the request expects (412)."""

    status = 412


class TooLarge(DomainError):
    """The body is too large (413)."""

    status = 413


class UnsupportedMediaType(DomainError):
    """The body's media type is not supported (415)."""

    status = 415


class Unprocessable(DomainError):
    """The request contradicts an earlier one (422)."""

    status = 422


class TooManyRequests(DomainError):
    """Over a limit (429). `retry_after` is in whole seconds."""

    status = 429

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(DomainError):
    """Temporarily unavailable (503). `retry_after` is in whole seconds."""

    status = 503

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after
