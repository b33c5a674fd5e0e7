"""Helpers for the tests of keys' pages: URLs, form data, a page's text and the secret in it."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

from django.urls import reverse
from django.utils import timezone

from accounts import ids, policy
from apikeys import scopes, tokens
from apikeys.models import APIKey
from tests import factories
from tests.conftest import Browser, Cast

HTMX = {"HX-Request": "true"}


def page(cast: Cast, name: str = "keys", *more: str) -> str:
    return reverse(f"apikeys:{name}", args=[cast.account.slug, *more])


def words(html: str) -> str:
    """A page's text in one line."""
    inline = re.sub(r"</?(?:a|b|code|span|time)\b[^>]*>", "", html)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", inline)))


def read(browser: Browser, url: str) -> str:
    return words(browser.get(url).content.decode())


def settings(**fields: str | None) -> dict[str, str]:
    """The data of an unchanged edit form. None omits a field."""
    sent: dict[str, str | None] = {
        "name": "Deploys",
        "permission": "read",
        "description": "",
        "expiry": "keep",
        "allowed_networks": "",
        "rate_limit": "",
        "accepts_query": "on",
        "accepts_body": "on",
    }
    return {name: value for name, value in {**sent, **fields}.items() if value is not None}


def operator(cast: Cast) -> policy.Actor:
    return policy.system(cast.account.ref)


def use(api_key: APIKey, days_ago: int = 0, service: str = scopes.API, **counts: int) -> None:
    factories.make_usage(api_key, timezone.now().date() - timedelta(days=days_ago), service, **counts)


def form(**fields: Any) -> dict[str, Any]:
    return {"name": "Deploys", "permission": "write", "id": ids.new_key_id(), **fields}


def secret_in(response: Any) -> str:
    found = re.search(tokens.SCANNER_PATTERN, response.content.decode())
    assert found
    return found.group()
