"""The page that creates a key and shows its secret once."""

import re
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEvent
from apikeys import tokens
from apikeys.models import APIKey
from tests.conftest import Browser, Cast, Program

from .pages import HTMX, form, page, secret_in


def test_the_form_has_the_words_of_the_source_page(cast: Cast, owner: Browser) -> None:
    html = owner.get(page(cast, "new_key")).content.decode()
    labels = re.findall(r"<label[^>]*>([^<]+)</label>", html)

    assert labels.count("API Key Name") == 1
    assert "<legend>Permission</legend>" in html
    assert [label for label in labels if label in ("Read", "Write", "Read &amp; Write")] == [
        "Read",
        "Write",
        "Read &amp; Write",
    ]
    assert html.count(">Create</button>") == 1


def test_the_form_is_a_page_and_for_htmx_a_dialog(cast: Cast, owner: Browser) -> None:
    whole = owner.get(page(cast, "new_key"))
    part = owner.get(page(cast, "new_key"), headers=HTMX)

    assert "<html" in whole.content.decode()
    assert "<html" not in part.content.decode()
    assert 'id="dialog-title"' in part.content.decode()
    assert "HX-Request" in whole.headers["Vary"]


@pytest.mark.parametrize("headers", [{}, HTMX])
@pytest.mark.parametrize("permission", ["read", "write", "read_write"])
@pytest.mark.parametrize("role", ["owner", "admin"])
def test_a_new_key_is_shown_and_works_with_the_api(
    role: str, permission: str, headers: dict[str, str], cast: Cast, browser: Browser
) -> None:
    browser.as_(getattr(cast, role))
    response = browser.post(page(cast, "new_key"), form(permission=permission), headers=headers)
    made = APIKey.objects.get()
    answer = Program(secret_in(response)).get("/v2")

    assert response.status_code == 200
    assert made.permission == permission
    assert made.created_by == f"{role}@example.com"
    assert answer.json()["api_key"]["id"] == made.id


def test_a_key_gets_all_its_options(cast: Cast, owner: Browser) -> None:
    owner.post(
        page(cast, "new_key"),
        form(
            name="  Nightly  ",
            description="Export",
            expiry="90",
            allowed_networks="10.0.0.0/8\r\n::ffff:192.0.2.1\r\n\r\n10.0.0.0/8",
            rate_limit="100/hour",
            administrator="on",
        ),
    )

    made = APIKey.objects.get()
    assert (made.name, made.description, made.rate_limit, made.administrator) == ("Nightly", "Export", "100/hour", True)
    assert made.allowed_networks == ["10.0.0.0/8", "192.0.2.1/32"]
    assert made.expires_at is not None
    assert timedelta(days=89) < made.expires_at - timezone.now() < timedelta(days=91)


def test_a_key_expires_on_a_chosen_date(cast: Cast, owner: Browser) -> None:
    owner.post(page(cast, "new_key"), form(expiry="at", expires_at="2099-12-31T12:00"))

    made = APIKey.objects.get()
    assert made.expires_at is not None
    assert made.expires_at.isoformat() == "2099-12-31T12:00:00+00:00"


def test_a_date_is_ignored_unless_on_a_date_is_selected(cast: Cast, owner: Browser) -> None:
    owner.post(page(cast, "new_key"), form(expiry="", expires_at="2099-12-31T12:00"))

    assert APIKey.objects.get().expires_at is None


@pytest.mark.parametrize("headers", [{}, HTMX])
@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("name", "  ", "This field is required."),
        ("name", "x" * 101, "at most 100 characters"),
        ("permission", "", "Select a permission."),
        ("permission", "admin", "not one of the available choices"),
        ("expires_at", "2001-01-01T00:00", "Enter a time in the future."),
        ("expires_at", "", "Enter the date when the key expires."),
        ("expires_at", "soon", "Enter a valid date/time."),
        ("allowed_networks", "10.0.0.0/8\nhome", "is not a network"),
        ("rate_limit", "fast", "Write a rate as a number and a unit"),
    ],
)
def test_an_error_is_shown_at_its_field_which_gets_the_focus(
    field: str, value: str, sentence: str, headers: dict[str, str], cast: Cast, owner: Browser
) -> None:
    response = owner.post(
        page(cast, "new_key"), form(expiry="at", **{"expires_at": "2099-01-01T00:00", field: value}), headers=headers
    )
    html = response.content.decode()

    assert response.status_code == 422
    assert sentence in html.replace("&#x27;", "'")
    assert f'id="id_{field}_error"' in html
    control = re.findall(rf'<(?:input|textarea)[^>]*name="{field}"[^>]*>', html)[0]
    assert 'aria-invalid="true"' in control
    assert " autofocus" in control
    assert html.count(" autofocus") == 1
    assert ("<details" in html and "open" in re.findall(r"<details class=\"more\"([^>]*)>", html)[0]) or field in (
        "name",
        "permission",
    )
    assert not APIKey.objects.exists()


def test_an_invalid_id_is_refused(cast: Cast, owner: Browser) -> None:
    response = owner.post(page(cast, "new_key"), form(id="key_../../etc/passwd"))

    assert response.status_code == 422
    assert not APIKey.objects.exists()


def test_a_form_without_an_id_gets_one(cast: Cast, owner: Browser) -> None:
    owner.post(page(cast, "new_key"), form(id=""))

    assert re.fullmatch(r"key_[0-9A-Za-z]{16}", APIKey.objects.get().id)


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_submitting_the_form_twice_creates_one_key_and_says_so(
    headers: dict[str, str], cast: Cast, owner: Browser
) -> None:
    sent = form()
    owner.post(page(cast, "new_key"), sent, headers=headers)
    again = owner.post(page(cast, "new_key"), sent, headers=headers)

    assert APIKey.objects.count() == 1
    assert "This key was already created." in again.content.decode()
    assert not re.search(tokens.SCANNER_PATTERN, again.content.decode())
    assert APIKey.objects.get().mask in again.content.decode()


def test_every_opened_form_creates_its_own_key(cast: Cast, owner: Browser) -> None:
    first, second = (
        re.findall(r'name="id" value="([^"]+)"', owner.get(page(cast, "new_key")).content.decode())[0] for _ in "ab"
    )

    assert first != second


# The secret


def test_the_secret_is_in_one_response_and_stored_nowhere(cast: Cast, owner: Browser) -> None:
    response = owner.post(page(cast, "new_key"), form())
    secret = secret_in(response)
    later = [
        owner.get(page(cast)),
        owner.get(page(cast, "new_key")),
        owner.get(reverse("accounts:audit_log", args=["acme"])),
    ]

    assert response.headers["Cache-Control"] == "private, no-store"
    assert response.content.decode().count(f'<code id="secret">{secret}</code>') == 1
    for other in later:
        assert secret not in other.content.decode()
    assert not any(secret in str(session.get_decoded()) for session in Session.objects.all())
    assert not any(secret in str(event.__dict__) for event in AuditEvent.objects.all())
    assert not any(secret in str(row) for row in APIKey.objects.values())
    assert secret not in str(response.headers)
    assert secret not in str(response.cookies)


def test_the_snippets_contain_the_key_and_this_servers_address(cast: Cast, owner: Browser) -> None:
    response = owner.post(page(cast, "new_key"), form())
    secret = secret_in(response)
    snippets = [
        re.sub(r"<[^>]+>", "", text)
        for text in re.findall(r"<pre[^>]*>(.*?)</pre>", response.content.decode(), re.DOTALL)
    ]

    assert len(snippets) == 3
    for snippet in snippets:
        assert secret in snippet
        assert "https://testserver/v2" in snippet
        assert "X-API-KEY" in snippet


def test_python_accepts_the_python_snippet(cast: Cast, owner: Browser) -> None:
    html = owner.post(page(cast, "new_key"), form()).content.decode()
    snippet = re.findall(r'<pre id="snippet-python">(.*?)</pre>', html, re.DOTALL)[0]

    compile(re.sub(r"<[^>]+>", "", snippet).replace("&quot;", '"'), "snippet", "exec")
