"""Browsers that people have signed in from before, known by a cookie that we sign."""

import secrets

from allauth.account.models import EmailAddress
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from . import cookies
from .models import User

#: Holds an id of the browser and the ids of the people who have signed in from it: `DEVICE:PERSON.PERSON`.
COOKIE = "device"
MAX_AGE = 365 * 24 * 3600  # seconds
MAX_USERS = 20


def is_known(request: HttpRequest, user: User) -> bool:
    """Whether this person has signed in from this browser."""
    return str(user.pk) in _read(request)[1]


def known_user(request: HttpRequest, email: str) -> User | None:
    """Whose address that is, if it is one of the people who have signed in from this browser.

    Asked about them alone, the answer takes as long for any other address, whether or not somebody has it.
    """
    people = [int(person) for person in _read(request)[1]]
    addresses = EmailAddress.objects.filter(user__in=people, email=email.lower(), verified=True)
    address = addresses.select_related("user").first() if people else None
    return address.user if address else None


def bucket(request: HttpRequest, user: User | None) -> str | None:
    """What limits count this person's attempts from this browser by; None where they are not known here.

    The id of a browser stays the same for as long as its cookie does, whoever signs in from it: if a sign-in gave it
    a new one, somebody else at this browser could sign in as themselves and guess this person's password afresh.
    """
    device, people = _read(request)
    return f"{device}:{user.pk}" if user is not None and str(user.pk) in people else None


def remember(request: HttpRequest, response: HttpResponse, user: User) -> None:
    device, people = _read(request)
    people = [str(user.pk), *(person for person in people if person != str(user.pk))]
    response.set_signed_cookie(
        cookies.name(COOKIE),
        f"{device or secrets.token_hex(16)}:{'.'.join(people[:MAX_USERS])}",
        max_age=MAX_AGE,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _read(request: HttpRequest) -> tuple[str, list[str]]:
    value = str(request.get_signed_cookie(cookies.name(COOKIE), default="", max_age=MAX_AGE))
    device, _, people = value.partition(":")
    return (device, people.split(".")) if people else ("", [])
