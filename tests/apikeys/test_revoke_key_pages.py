"""The pages that disable, enable and revoke keys."""

import re
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEvent
from apikeys import services
from apikeys.models import APIKey
from tests import factories
from tests.conftest import Browser, Cast, Program
from tests.factories import PASSWORD

from .pages import HTMX, form, operator, page, read, use, words


def test_a_disabled_key_is_refused_until_it_is_enabled(cast: Cast, owner: Browser) -> None:
    issued = factories.make_key(cast.account, "Deploys")
    asked = read(owner, page(cast, "disable_key", issued.api_key.id))
    disabled = owner.post(page(cast, "disable_key", issued.api_key.id), follow=True)
    refused = Program(issued.secret).get("/v2").status_code
    enabled = owner.post(page(cast, "enable_key", issued.api_key.id), follow=True)

    assert "Disable Deploys?" in asked
    assert "API key Deploys disabled" in words(disabled.content.decode())
    assert refused == 401
    assert "API key Deploys enabled" in words(enabled.content.decode())
    assert Program(issued.secret).get("/v2").status_code == 200


def test_a_get_request_disables_and_enables_nothing(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    owner.get(page(cast, "disable_key", api_key.id))
    owner.get(page(cast, "enable_key", api_key.id))

    assert not AuditEvent.objects.filter(event__in=["api_key.disabled", "api_key.enabled"]).exists()


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_selected_keys_are_listed_with_their_last_use_before_they_are_revoked(
    headers: dict[str, str], cast: Cast, owner: Browser
) -> None:
    keys = [factories.make_key(cast.account, name).api_key for name in ("alpha", "beta", "gamma")]
    selected = {"id": [key.id for key in keys[:2]]}
    text = words(owner.get(page(cast, "revoke_keys"), selected, headers=headers).content.decode())

    assert "Revoke 2 API keys?" in text
    assert re.search(rf"alpha {re.escape(keys[0].mask)} Never used beta", text)
    assert "gamma" not in text
    assert not APIKey.objects.exclude(revoked_at=None).exists()


def test_revoking_a_key_that_was_used_at_a_service_warns_of_open_connections(
    cast: Cast, owner: Browser, api_key: APIKey
) -> None:
    sentence = "WebSockets and streams that are already open at services stay open until they close."

    def told() -> list[bool]:
        one = read(owner, page(cast, "revoke_key", api_key.id))
        return [sentence in text for text in (one, read(owner, f"{page(cast, 'revoke_keys')}?id={api_key.id}"))]

    use(api_key)
    assert told() == [False, False]
    use(api_key, service="svc_7Qm2xV9tKc4LrBzW")
    assert told() == [True, True]


def test_selected_keys_are_revoked_together(cast: Cast, owner: Browser) -> None:
    issued = [factories.make_key(cast.account, name) for name in ("alpha", "beta", "gamma")]
    response = owner.post(page(cast, "revoke_keys"), {"id": [one.api_key.id for one in issued[:2]]}, follow=True)

    assert "2 API keys revoked" in words(response.content.decode())
    assert [Program(one.secret).get("/v2").status_code for one in issued] == [401, 401, 200]
    assert AuditEvent.objects.filter(event="api_key.revoked").count() == 2


def test_another_accounts_keys_and_revoked_ones_are_left_out(cast: Cast, owner: Browser) -> None:
    theirs = factories.make_key(cast.elsewhere).api_key
    gone = factories.make_key(cast.account, revoked_at=timezone.now() - timedelta(days=1)).api_key
    owner.post(page(cast, "revoke_keys"), {"id": [theirs.id, gone.id]})

    assert "No keys selected" in read(owner, f"{page(cast, 'revoke_keys')}?id={theirs.id}&id={gone.id}")
    assert APIKey.objects.get(pk=theirs.pk).revoked_at is None
    assert not AuditEvent.objects.filter(event="api_key.revoked").exists()


def test_a_keys_history_excludes_another_key_with_the_same_name(cast: Cast, owner: Browser, api_key: APIKey) -> None:
    namesake = factories.make_key(cast.account, api_key.id).api_key
    services.revoke_api_key(actor=operator(cast), api_key=namesake)

    assert "api_key.revoked" not in [
        event.event for event in owner.get(page(cast, "key", api_key.id)).context["events"]
    ]


def test_an_invalid_id_selects_no_key(cast: Cast, owner: Browser) -> None:
    """PostgreSQL raises an error for it."""
    assert owner.get(page(cast, "revoke_keys"), {"id": "a\0b"}).status_code == 200
    assert owner.post(page(cast, "revoke_keys"), {"id": "a\0b"}).status_code == 302


def test_after_the_password_the_same_keys_are_selected(cast: Cast, signed_in: Browser, api_key: APIKey) -> None:
    asked = signed_in.get(page(cast, "revoke_keys"), {"id": api_key.id})

    assert asked.headers["Location"].endswith(f"revoke%2F%3Fid%3D{api_key.id}")


def test_every_sensitive_page_asks_for_the_password_again(cast: Cast, signed_in: Browser, api_key: APIKey) -> None:
    for url in (page(cast, "rotate_key", api_key.id), page(cast, "revoke_keys"), page(cast, "import_keys")):
        for method in ("get", "post"):
            response = getattr(signed_in, method)(url)

            assert response.headers["Location"].startswith(reverse("account_reauthenticate"))


def test_long_input_is_restored_once_after_the_password_and_not_through_the_url(cast: Cast, signed_in: Browser) -> None:
    lines = "Nächtlich\n" * 500
    back = page(cast, "new_key")
    asked = signed_in.post(back, form(description=lines))
    again = signed_in.post(reverse("account_reauthenticate"), {"password": PASSWORD, "next": back}, follow=True)

    assert len(asked.headers["Location"]) < 200
    assert again.context["form"]["description"].value() == lines
    assert signed_in.get(back).context["form"]["description"].value() is None


def test_revoking_asks_with_the_name_the_mask_and_the_last_use(cast: Cast, owner: Browser) -> None:
    api_key = factories.make_key(cast.account, "Deploys").api_key
    html = owner.get(page(cast, "revoke_key", api_key.id)).content.decode()

    api_key.refresh_from_db()
    assert "Revoke Deploys?" in html
    assert api_key.mask in html
    assert "Never used" in html
    assert "can't be undone" in html
    assert api_key.revoked_at is None


def test_a_revoked_key_is_refused_on_the_next_request(cast: Cast, owner: Browser) -> None:
    issued = factories.make_key(cast.account, "Deploys")
    before = Program(issued.secret).get("/v2").status_code
    response = owner.post(page(cast, "revoke_key", issued.api_key.id), follow=True)
    after = Program(issued.secret).get("/v2")

    assert before == 200
    assert "API key Deploys revoked" in response.content.decode()
    assert (after.status_code, after.json()) == (401, {"Message": "API key has been revoked!"})


def test_a_revoked_key_can_not_be_revoked_again(cast: Cast, owner: Browser) -> None:
    api_key = factories.make_key(cast.account, revoked_at=timezone.now()).api_key

    assert ">Revoke</button>" not in owner.get(page(cast, "revoke_key", api_key.id)).content.decode()
    assert page(cast, "revoke_key", api_key.id) not in owner.get(page(cast)).content.decode()
