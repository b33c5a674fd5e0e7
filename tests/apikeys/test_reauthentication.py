"""Creating and revoking keys asks for the password again if it was entered long ago."""

import re
import time

import pytest
from django.core.cache import cache
from django.urls import reverse
from pytest_django import Settings

from accounts.sessions import SIGNED_IN_AT
from apikeys import tokens
from apikeys.models import APIKey
from tests import factories
from tests.conftest import Browser, Cast
from tests.factories import PASSWORD

from .pages import HTMX, form, page, words


@pytest.fixture
def signed_in(cast: Cast, browser: Browser) -> Browser:
    """The browser of an Owner who signed in through the form."""
    cache.clear()
    browser.post(reverse("account_login"), {"login": "owner@example.com", "password": PASSWORD})
    return browser


def age(browser: Browser, minutes: int) -> None:
    """Move the sign-in into the past by this many minutes."""
    session = browser.session
    for record in session["account_authentication_methods"]:
        record["at"] = time.time() - minutes * 60
    session.save()


def weighty(cast: Cast) -> list[str]:
    return [page(cast, "new_key"), page(cast, "revoke_key", factories.make_key(cast.account).api_key.id)]


def test_signing_in_counts_as_entering_the_password(cast: Cast, signed_in: Browser) -> None:
    assert [signed_in.get(url).status_code for url in weighty(cast)] == [200, 200]


def test_creating_and_revoking_ask_again_after_a_while(cast: Cast, signed_in: Browser) -> None:
    age(signed_in, 31)
    for url in weighty(cast):
        for method in ("get", "post"):
            response = getattr(signed_in, method)(url)

            assert response.status_code == 302
            assert response.headers["Location"] == (
                f"{reverse('account_reauthenticate')}?next={url.replace('/', '%2F')}"
            )
    assert not APIKey.objects.filter(revoked_at__isnull=False).exists()


def test_the_operator_sets_the_time(cast: Cast, signed_in: Browser, settings: Settings) -> None:
    settings.SUDO_MINUTES = 60
    age(signed_in, 31)

    assert signed_in.get(page(cast, "new_key")).status_code == 200


def test_personal_settings_also_ask_for_the_password_again(settings: Settings) -> None:
    assert settings.ACCOUNT_REAUTHENTICATION_TIMEOUT == settings.SUDO_MINUTES * 60


def test_a_page_is_compressed(cast: Cast, owner: Browser) -> None:
    response = owner.get(page(cast, "keys"), headers={"Accept-Encoding": "gzip"})

    assert response.headers["Content-Encoding"] == "gzip"


def test_from_a_dialog_the_whole_page_goes_to_the_password_form(cast: Cast, signed_in: Browser) -> None:
    age(signed_in, 31)
    response = signed_in.get(page(cast, "new_key"), headers=HTMX)

    assert response.status_code == 200
    assert response.headers["HX-Redirect"].startswith(reverse("account_reauthenticate"))


def test_the_input_is_kept_while_the_password_is_asked_for(cast: Cast, signed_in: Browser) -> None:
    age(signed_in, 31)
    sent = form(name="Nightly & more", permission="read_write", rate_limit="5/day")
    asked = signed_in.post(page(cast, "new_key"), sent)
    again = signed_in.post(
        reverse("account_reauthenticate"),
        {
            "password": PASSWORD,
            "next": re.findall(
                r'name="next" value="([^"]+)"', signed_in.get(asked.headers["Location"]).content.decode()
            )[0].replace("&amp;", "&"),
        },
        follow=True,
    )
    html = again.content.decode()

    assert 'value="Nightly &amp; more"' in html
    assert re.search(r'value="read_write"[^>]* checked', html)
    assert 'value="5/day"' in html
    assert sent["id"] in html
    assert not APIKey.objects.exists()


def test_a_wrong_password_is_refused(cast: Cast, signed_in: Browser) -> None:
    age(signed_in, 31)
    signed_in.post(reverse("account_reauthenticate"), {"password": "wrong", "next": page(cast, "new_key")})

    assert signed_in.get(page(cast, "new_key")).status_code == 302


def test_a_session_without_a_recorded_password_counts_from_its_sign_in(cast: Cast, owner: Browser) -> None:
    fresh = owner.get(page(cast, "new_key")).status_code
    session = owner.session
    session[SIGNED_IN_AT] -= 31 * 60
    session.save()

    assert (fresh, owner.get(page(cast, "new_key")).status_code) == (200, 302)


def given_the_password(browser: Browser, path: str) -> str:
    """The page after the password was entered."""
    return browser.post(
        reverse("account_reauthenticate"), {"password": PASSWORD, "next": path}, follow=True
    ).content.decode()


def test_an_entered_key_is_not_stored_meanwhile_and_the_page_says_so(cast: Cast, signed_in: Browser) -> None:
    age(signed_in, 31)
    secret, path = tokens.generate(), page(cast, "new_key")
    signed_in.post(path, form(name=f"Old {secret}", description="Why it is", rate_limit="5/day"))
    assert secret not in str(dict(signed_in.session))

    html = given_the_password(signed_in, path)
    assert "Fill in again: name. Fields that may contain a key were not kept while you signed in." in words(html)
    assert "Why it is" in html
    assert 'value="5/day"' in html


def test_lines_to_import_are_not_stored_meanwhile(cast: Cast, signed_in: Browser) -> None:
    age(signed_in, 31)
    path = page(cast, "import_keys")
    signed_in.post(path, {"text": "name,permission,digest\nsk_live_0123456789abcdef,read,0"})
    assert "sk_live" not in str(dict(signed_in.session))
    assert "Fill in again: text." in words(given_the_password(signed_in, path))


def test_a_key_in_the_url_or_as_the_name_of_a_field_is_not_stored_either(cast: Cast, signed_in: Browser) -> None:
    age(signed_in, 31)
    secret = tokens.generate()
    signed_in.post(page(cast, "new_key"), {secret: "1", "name": "Deploys"})
    signed_in.post(page(cast, "revoke_key", secret), {"name": "Deploys"})
    assert secret not in str(dict(signed_in.session))
    assert "Deploys" in given_the_password(signed_in, page(cast, "new_key"))
