"""Browsers that users have signed in from before, recognised by a signed cookie."""

import secrets

from allauth.account.models import EmailAddress
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from . import cookies
from .models import User

#: The cookie holds an id of the browser and the ids of the users who have signed in from it: `DEVICE:USER.USER`.
COOKIE = "device"
MAX_AGE = 365 * 24 * 3600  # seconds
MAX_USERS = 20


def is_known(request: HttpRequest, user: User) -> bool:
    """Whether the user has signed in from this browser."""
    return str(user.pk) in _read(request)[1]


def known_user(request: HttpRequest, email: str) -> User | None:
    """The user with this address, if they have signed in from this browser.

    The query covers only the users of this browser, so it takes equally long for any other address, registered or not.
    """
    users = [int(pk) for pk in _read(request)[1]]
    addresses = EmailAddress.objects.filter(user__in=users, email=email.lower(), verified=True)
    address = addresses.select_related("user").first() if users else None
    return address.user if address else None


def bucket(request: HttpRequest, user: User | None) -> str | None:
    """The rate-limit key for this user in this browser; None if they haven't signed in from it.

    The id of a browser lasts as long as its cookie. If each sign-in created a new id, somebody else at
    this browser could sign in as themselves to reset the limit, and go on guessing this user's password.
    """
    device, users = _read(request)
    return f"{device}:{user.pk}" if user is not None and str(user.pk) in users else None


def remember(request: HttpRequest, response: HttpResponse, user: User) -> None:
    device, users = _read(request)
    users = [str(user.pk), *(pk for pk in users if pk != str(user.pk))]
    response.set_signed_cookie(
        cookies.name(COOKIE),
        f"{device or secrets.token_hex(16)}:{'.'.join(users[:MAX_USERS])}",
        max_age=MAX_AGE,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _read(request: HttpRequest) -> tuple[str, list[str]]:
    value = str(request.get_signed_cookie(cookies.name(COOKIE), default="", max_age=MAX_AGE))
    device, _, users = value.partition(":")
    return (device, users.split(".")) if users else ("", [])
