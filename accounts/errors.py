"""The errors that services raise. Pure: no models, no HTTP framework.

Each carries the text that its reader may see (`message`) and the HTTP status that says the same to a
program. What only the log may know stays in the exception's cause.
"""

from collections.abc import Mapping, Sequence
from typing import Self


class DomainError(Exception):
    """Something asked of us that we refuse, with a sentence saying why.

    `errors` maps a field's name to its sentences, where the refusal is about fields. `challenge` says the same of
    the key in the words of RFC 6750, §3.1.
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
        """Names the fields that are wrong, each with its sentences."""
        return cls(f"These fields are invalid: {', '.join(errors)}.", errors=errors)


class InvalidState(DomainError):
    """The thing is not in a state that allows this (400)."""


class AlreadyExists(DomainError):
    """The same request was carried out before (400)."""


class NotPermitted(DomainError):
    """Known, but not allowed to do this (403)."""

    status = 403


class PermissionMissing(NotPermitted):
    """The actor lacks a permission (403)."""

    challenge = "insufficient_scope"


class NotFound(DomainError):
    """Not there, or another account's (404)."""

    status = 404


class LengthRequired(DomainError):
    """The body came without a length, so nobody can say whether it is whole (411)."""

    status = 411


class TooLarge(DomainError):
    """The body is larger than we read (413)."""

    status = 413


class UnsupportedMediaType(DomainError):
    """The body is of a kind that we don't read (415)."""

    status = 415


class TooManyRequests(DomainError):
    """Over a limit (429). `retry_after` is in whole seconds."""

    status = 429

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(DomainError):
    """We can't answer for a while (503). `retry_after` is in whole seconds."""

    status = 503

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after
