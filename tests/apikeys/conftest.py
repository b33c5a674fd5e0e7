"""Fixtures: an Owner's browser, and a key."""

import time

import pytest
from django.core.cache import cache
from django.urls import reverse

from accounts import policy
from apikeys.models import APIKey
from tests import factories
from tests.conftest import Browser, Cast
from tests.factories import PASSWORD


@pytest.fixture
def owner(cast: Cast, browser: Browser) -> Browser:
    return browser.as_(cast.owner)


@pytest.fixture
def api_key(cast: Cast) -> APIKey:
    return factories.make_key(cast.account, "Deploys", policy.KeyPermission.READ).api_key


@pytest.fixture
def signed_in(cast: Cast, browser: Browser) -> Browser:
    """The browser of an Owner who signed in through the form, long ago."""
    cache.clear()
    browser.post(reverse("account_login"), {"login": "owner@example.com", "password": PASSWORD})
    session = browser.session
    for record in session["account_authentication_methods"]:
        record["at"] = time.time() - 31 * 60
    session.save()
    return browser
