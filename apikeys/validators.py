"""What may be said of a key or a service: the one set of rules for pages, the API, the commands and admin. Pure.

Each raises Django's `ValidationError`, which models, forms and serializers tell at the field it is about.
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

#: A century: more is a slip, and at the end of the calendar a moment has no place in every time zone.
MAXIMUM_DAYS = 36_500


def network_list(texts: Any) -> list[str]:
    """Networks in their plain form, each once."""
    return _networks(texts, "key", "networks")


def _networks(texts: Any, owner: str, what: str) -> list[str]:
    if not isinstance(texts, list):
        raise ValidationError(f"Write a list of {what}.")
    if len(texts) > networks.MAXIMUM:
        raise ValidationError(f"A {owner} may have {networks.MAXIMUM} {what} at most.")
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
    """When a key that is made now has to end at the latest, in an account whose keys live so many days at most."""
    return timezone.now() + timedelta(days=days) if days else None


def expiry(moment: datetime | None, *, latest: datetime | None) -> None:
    """Refuse an end that has passed, and one beyond `latest`, which never ending is too."""
    if moment is not None and moment <= timezone.now():
        raise ValidationError("This is in the past.")
    if moment is not None and moment > timezone.now() + timedelta(days=MAXIMUM_DAYS):
        raise ValidationError("This is more than a century ahead.")
    if latest is not None and (moment is None or moment > latest):
        raise ValidationError(f"Keys of this account end on {times.format_moment(latest)} at the latest.")


# What a key opens -------------------------------------------------------------------------------


def access(value: Any) -> str | None:
    """An access from the form of the API, null or a list, as it is stored."""
    try:
        no_secret(str(value))  # before a sentence repeats it
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
    """An access from the JSON text of the API's form, as it is stored."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ValidationError("This is not valid JSON.") from None
    return access(value)


def access_of_options(texts: Sequence[str]) -> str | None:
    """An access from the form of the commands, as it is stored."""
    no_secret(" ".join(texts))
    try:
        parsed = scopes.parse_options(texts)
    except ValueError as error:
        raise ValidationError(str(error)) from None
    return access(scopes.as_json(parsed))


def stored_access(text: str) -> None:
    """Refuse what `access` has not written."""
    if access_of_text(text) != text:
        raise ValidationError("This is not how an access is stored.")


# Services ---------------------------------------------------------------------------------------

#: The methods that a service reads by unless it says otherwise.
READING_METHODS = ("GET", "HEAD", "OPTIONS")

MOST_METHODS = 20

_METHOD = re.compile("[A-Z][A-Z-]{0,19}")
#: No user, no query, and no character that means something in a configuration.
_UPSTREAM = re.compile(r"https?://(?:\w[\w.-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[\w.~/-]*)?", re.ASCII)


def default_reading_methods() -> list[str]:
    return list(READING_METHODS)


def method_list(texts: Any) -> list[str]:
    """HTTP methods in capitals and in the order of the alphabet, each once."""
    if not isinstance(texts, list):
        raise ValidationError("Write a list of methods.")
    if len(texts) > MOST_METHODS:
        raise ValidationError(f"A service may have {MOST_METHODS} reading methods at most.")
    _require_no_secret(texts)
    methods = sorted({str(text).strip().upper() for text in texts})
    for method in methods:
        if not _METHOD.fullmatch(method):
            raise ValidationError(f"“{method}” is not a method. Write it as GET or PROPFIND.")
    return methods


def path_list(texts: Any) -> list[str]:
    """Patterns of paths, each once: a path, or one that ends in `/*`, for itself and all below."""
    _require_no_secret(texts)
    try:
        paths = list(scopes.parse_patterns(texts))
    except ValueError as error:
        raise ValidationError(str(error)) from None
    for path in paths:
        one_line(path)
    return paths


def gateway_list(texts: Any) -> list[str]:
    """The networks that gateways ask from in their plain form, each once."""
    _require_no_secret(texts)
    return _networks(texts, "service", "gateways")


def upstream(text: str) -> None:
    """Refuse what is no origin, perhaps with a path: it is pasted into configurations of gateways."""
    try:
        is_url = not text or (_UPSTREAM.fullmatch(text) is not None and urlsplit(text).port != 0)
    except ValueError:  # of the port, or of an IPv6 address
        is_url = False
    if not is_url:
        raise ValidationError("Write where the service listens, such as http://10.0.0.8:3000.")


def _require_no_secret(texts: Any) -> None:
    """Refuse a list that holds a key before a sentence repeats it."""
    no_secret(" ".join(map(str, texts)) if isinstance(texts, list) else "")
