"""What may be said of a key: the one set of rules for its pages, the API, the commands and admin. Pure.

Each raises Django's `ValidationError`, which models, forms and serializers tell at the field it is about.
"""

from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts import times

from . import networks, rates

#: A century: more is a slip, and at the end of the calendar a moment has no place in every time zone.
MAXIMUM_DAYS = 36_500


def network_list(texts: Any) -> list[str]:
    """Networks in their plain form, each once."""
    if not isinstance(texts, list):
        raise ValidationError("Write a list of networks.")
    if len(texts) > networks.MAXIMUM:
        raise ValidationError(f"A key may have {networks.MAXIMUM} networks at most.")
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
        raise ValidationError(f"Keys of this account end on {times.exactly(latest)} at the latest.")
