"""Validators for the fields of keys and services, used by pages, the API, the commands and admin. Pure.

They raise Django's `ValidationError`, which models, forms and serializers show at the field.
"""

import json
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts import times
from accounts.validators import no_secret, one_line

from . import networks, rates, scopes

#: A century. A later time is probably a mistake, and a time near year 9999 can't be converted to every time zone.
MAXIMUM_DAYS = 36_500


def network_list(texts: Any) -> list[str]:
    """Networks in normal form, without duplicates."""
    return _networks(texts, "key", "networks")


def _networks(texts: Any, owner: str, what: str) -> list[str]:
    if not isinstance(texts, list):
        raise ValidationError(f"Write a list of {what}.")
    if len(texts) > networks.MAXIMUM:
        raise ValidationError(f"A {owner} can have at most {networks.MAXIMUM} {what}.")
    try:
        return list(dict.fromkeys(str(networks.parse_network(str(text))) for text in texts))
    except ValueError as error:
        raise ValidationError(str(error)) from None


def rate_limit(text: str) -> None:
    try:
        rates.parse(text)
    except ValueError as error:
        raise ValidationError(str(error)) from None


def latest_expiry(days: int | None) -> datetime | None:
    """The latest expiry of a key that is created now, in an account whose keys may live for this many days."""
    return timezone.now() + timedelta(days=days) if days else None


def expiry(moment: datetime | None, *, latest: datetime | None) -> None:
    """Refuse an expiry in the past or after `latest`. None, which means never, is after any `latest`."""
    if moment is not None and moment <= timezone.now():
        raise ValidationError("Enter a time in the future.")
    if moment is not None and moment > timezone.now() + timedelta(days=MAXIMUM_DAYS):
        raise ValidationError("Enter a time within the next 100 years.")
    if latest is not None and (moment is None or moment > latest):
        raise ValidationError(f"Keys of this account expire on {times.format_moment(latest)} at the latest.")


# Access -----------------------------------------------------------------------------------------


def access(value: Any) -> str | None:
    """An access as stored, from the API's form: null or a list."""
    try:
        no_secret(str(value))  # before an error message repeats it
        parsed = scopes.parse(value)
    except RecursionError:
        raise ValidationError("This is nested too deep.") from None
    except ValueError as error:
        raise ValidationError(str(error)) from None
    for entry in parsed or ():
        for path in entry.paths or ():
            one_line(path)
    return scopes.store(parsed)


def access_of_text(text: str) -> str | None:
    """An access as stored, from the JSON text of the API's form."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ValidationError("This is not valid JSON.") from None
    return access(value)


def access_of_options(texts: Sequence[str]) -> str | None:
    """An access as stored, from the commands' form."""
    no_secret(" ".join(texts))
    try:
        parsed = scopes.parse_options(texts)
    except ValueError as error:
        raise ValidationError(str(error)) from None
    return access(scopes.as_json(parsed))


def stored_access(text: str) -> None:
    """Refuse any text that `access` would not return."""
    if access_of_text(text) != text:
        raise ValidationError("This is not a stored access.")


# Services ---------------------------------------------------------------------------------------

#: The default reading methods of a service.
READING_METHODS = ("GET", "HEAD", "OPTIONS")

MAX_METHODS = 20

_METHOD = re.compile("[A-Z][A-Z-]{0,19}")
#: No user name, no query, and no character with a meaning in gateways' configurations.
_UPSTREAM = re.compile(r"https?://(?:\w[\w.-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[\w.~/-]*)?", re.ASCII)


def default_reading_methods() -> list[str]:
    return list(READING_METHODS)


def method_list(texts: Any) -> list[str]:
    """HTTP methods in upper case and alphabetical order, without duplicates."""
    if not isinstance(texts, list):
        raise ValidationError("Write a list of methods.")
    if len(texts) > MAX_METHODS:
        raise ValidationError(f"A service can have at most {MAX_METHODS} reading methods.")
    _require_no_secret(texts)
    methods = sorted({str(text).strip().upper() for text in texts})
    for method in methods:
        if not _METHOD.fullmatch(method):
            raise ValidationError(f"“{method}” is not a method. Write it as GET or PROPFIND.")
    return methods


def path_list(texts: Any) -> list[str]:
    """Path patterns without duplicates: a path, or one that ends in `/*`, which also matches all paths below it."""
    _require_no_secret(texts)
    try:
        paths = list(scopes.parse_patterns(texts))
    except ValueError as error:
        raise ValidationError(str(error)) from None
    for path in paths:
        one_line(path)
    return paths


def gateway_list(texts: Any) -> list[str]:
    """The networks of gateways in normal form, without duplicates."""
    _require_no_secret(texts)
    return _networks(texts, "service", "gateways")


def upstream(text: str) -> None:
    """Refuse anything but an origin with an optional path: the text is inserted into gateways' configurations."""
    try:
        is_url = not text or (_UPSTREAM.fullmatch(text) is not None and urlsplit(text).port != 0)
    except ValueError:  # of the port, or of an IPv6 address
        is_url = False
    if not is_url:
        raise ValidationError("Enter where the service listens, such as http://10.0.0.8:3000.")


def _require_no_secret(texts: Any) -> None:
    """Refuse a list that contains a key, before an error message repeats it."""
    no_secret(" ".join(map(str, texts)) if isinstance(texts, list) else "")
