"""Sessions in the database. They end `SESSION_DAYS` after the sign-in, even if they are used."""

import re
import time
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore
from django.db import InterfaceError, InternalError, OperationalError
from django.dispatch import receiver
from django.http import HttpRequest

#: The session's key for the time of the sign-in, as Unix time.
SIGNED_IN_AT = "signed_in_at"

#: Django's session keys: 32 of its `VALID_KEY_CHARS`.
_KEY = re.compile(r"[0-9a-z]{32}", re.ASCII)


@receiver(user_logged_in)
def record_sign_in(request: HttpRequest, **kwargs: Any) -> None:
    """Django sends this signal for every kind of sign-in."""
    request.session[SIGNED_IN_AT] = time.time()


def was_renewed(request: HttpRequest) -> bool:
    """Whether this request has replaced the client's session, as Django does after a change of `SECRET_KEY`.

    Such a request can't run again (`accounts.turns`): it names the old session, which has ended.
    """
    return request.session.session_key != request.COOKIES.get(settings.SESSION_COOKIE_NAME)


class SessionStore(DatabaseSessionStore):
    """Django's session store with a maximum age: `SESSION_DAYS` after the sign-in, as currently configured.

    A session of an older version, without the time of its sign-in, has ended. Malformed keys are ignored, because
    PostgreSQL fails on a key that contains NUL.
    """

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key if _KEY.fullmatch(session_key or "") else None)

    def load(self) -> dict[str, Any]:
        data: dict[str, Any] = super().load()
        if SESSION_KEY in data and data.get(SIGNED_IN_AT, 0.0) + settings.SESSION_DAYS * 86400 <= time.time():
            self._session_key = None  # as Django does for an expired session
            return {}
        return data

    def save(self, must_create: bool = False) -> None:
        """Django treats any database error as a deleted session (400). Raise the database error instead (503)."""
        try:
            super().save(must_create)
        except UpdateError as error:
            if isinstance(error.__context__, (OperationalError, InterfaceError, InternalError)):
                raise error.__context__  # noqa: B904  unchanged, with its own cause
            raise

    def get_expiry_age(self, **kwargs: Any) -> int:
        """Seconds until the session ends, for its cookie."""
        age: int = super().get_expiry_age(**kwargs)
        return age if self._ends_at is None else max(0, min(age, int(self._ends_at - time.time())))

    def get_expiry_date(self, **kwargs: Any) -> datetime:
        """When the session ends, for its row."""
        date: datetime = super().get_expiry_date(**kwargs)
        return date if self._ends_at is None else min(date, datetime.fromtimestamp(self._ends_at, UTC))

    @property
    def _ends_at(self) -> float | None:
        """When a signed-in session ends, as Unix time."""
        signed_in_at: float | None = self.get(SIGNED_IN_AT)
        return None if signed_in_at is None else signed_in_at + settings.SESSION_DAYS * 86400
