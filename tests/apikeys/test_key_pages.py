"""Settings » Account Settings » API Keys."""

import re
import time
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone

from accounts import ids, policy
from accounts.models import AuditEvent
from apikeys import services, tokens
from apikeys.models import APIKey, KeyUsage
from apikeys.services import Overlap
from tests import factories
from tests.conftest import Browser, Cast, Program
from tests.factories import PASSWORD

HTMX = {"HX-Request": "true"}


def page(cast: Cast, name: str = "keys", *more: str) -> str:
    return reverse(f"apikeys:{name}", args=[cast.account.slug, *more])


def form(**fields: str) -> dict[str, str]:
    return {"name": "Deploys", "permission": "write", "id": ids.new_key_id(), **fields}


def secret_in(response: Any) -> str:
    found = re.search(tokens.SCANNER_PATTERN, response.content.decode())
    assert found
    return found.group()


@pytest.fixture
def owner(cast: Cast, browser: Browser) -> Browser:
    return browser.as_(cast.owner)


# The list


def test_an_account_without_keys_is_shown_one_button_and_a_call(cast: Cast, owner: Browser) -> None:
    html = owner.get(page(cast)).content.decode()

    assert html.count("New API Key</button>") == 1
    assert "curl https://testserver/v2" in html


def test_the_list_tells_a_key_by_its_mask_and_never_shows_more(cast: Cast, owner: Browser) -> None:
    issued = factories.make_key(cast.account, "Deploys")
    html = owner.get(page(cast)).content.decode()

    assert issued.api_key.mask in html
    assert "Never used" in html
    assert not re.search(tokens.SCANNER_PATTERN, html)
    assert issued.api_key.digest not in html


def test_the_list_tells_when_and_from_where_a_key_was_used(cast: Cast, owner: Browser) -> None:
    api_key = factories.make_key(cast.account).api_key
    APIKey.objects.filter(pk=api_key.pk).update(
        last_used_at=timezone.now() - timedelta(days=1, hours=2), last_used_from="203.0.113.9"
    )
    html = owner.get(page(cast)).content.decode()

    assert re.search(r'<time datetime="[^"]+" title="[^"]+ UTC">1\sday ago</time>', html)
    assert "203.0.113.9" in html


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["expiring", "disabled", "expired", "revoked", "active"]),
        ("state=active", ["expiring", "active"]),
        ("state=expiring", ["expiring"]),
        ("state=disabled", ["disabled"]),
        ("state=ended", ["expired", "revoked"]),
        ("state=nonsense", ["expiring", "disabled", "expired", "revoked", "active"]),
        ("q=EXPIR", ["expiring", "expired"]),
        ("q=expir&state=ended", ["expired"]),
        ("q=nothing", []),
    ],
)
def test_search_and_filter_stand_in_the_address(query: str, names: list[str], cast: Cast, owner: Browser) -> None:
    now = timezone.now()
    for name, fields in {
        "active": {},
        "revoked": {"revoked_at": now},
        "expired": {"expires_at": now - timedelta(hours=1)},
        "disabled": {"disabled_at": now},
        "expiring": {"expires_at": now + timedelta(days=3)},
    }.items():
        factories.make_key(cast.account, name, **fields)

    assert [key.name for key in owner.get(f"{page(cast)}?{query}").context["page"]] == names


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["b", "c", "a"]),
        ("sort=name", ["a", "b", "c"]),
        ("sort=-name", ["c", "b", "a"]),
        ("sort=created", ["a", "c", "b"]),
        ("sort=used", ["c", "a", "b"]),
        ("sort=-used", ["a", "c", "b"]),
        ("sort=expires", ["b", "a", "c"]),
        ("sort=-expires", ["a", "b", "c"]),
        ("sort=digest", ["b", "c", "a"]),
    ],
)
def test_the_order_stands_in_the_address(query: str, names: list[str], cast: Cast, owner: Browser) -> None:
    now = timezone.now()
    for name, used, expires in (("a", 1, 9), ("c", 2, None), ("b", None, 5)):
        key = factories.make_key(cast.account, name, expires_at=expires and now + timedelta(days=expires)).api_key
        APIKey.objects.filter(pk=key.pk).update(last_used_at=used and now - timedelta(days=used))

    assert [key.name for key in owner.get(f"{page(cast)}?{query}").context["page"]] == names


def test_a_heading_turns_the_order_round_and_says_how_it_is(cast: Cast, owner: Browser) -> None:
    factories.make_key(cast.account)
    html = owner.get(page(cast), {"sort": "name", "q": "d"}).content.decode()

    assert re.search(r'<th scope="col" aria-sort="ascending"><a id="sort-key" href="\?sort=-name&amp;q=d"', html)
    assert html.count("aria-sort") == 1


def test_what_is_the_matter_with_a_key_is_seen_in_the_list(cast: Cast, owner: Browser) -> None:
    now = timezone.now()
    factories.make_key(cast.account, "soon", expires_at=now + timedelta(days=3, hours=1))
    rotated = factories.make_key(cast.account, "rotated").api_key
    services.rotate(actor=policy.system(cast.account.ref), api_key=rotated, overlap=Overlap.DAY)
    services.expose(api_key=factories.make_key(cast.account, "exposed").api_key, address="203.0.113.9")
    unused = factories.make_key(cast.account, "unused").api_key
    APIKey.objects.filter(pk=unused.pk).update(created_at=now - timedelta(days=91))
    html = re.sub(r"<[^>]+>", "", owner.get(page(cast)).content.decode())

    for badge in ("Expires in 3\N{NO-BREAK SPACE}days", "Rotated", "Exposed", "Unused"):
        assert html.count(badge) == 1


def test_a_row_tells_the_use_of_30_days(cast: Cast, owner: Browser) -> None:
    key = factories.make_key(cast.account).api_key
    for days_ago in (0, 29, 30):
        KeyUsage.objects.create(
            api_key=key, day=timezone.now().date() - timedelta(days=days_ago), requests=500, succeeded=499
        )
    html = owner.get(page(cast)).content.decode()

    assert "1,000 requests" in html
    assert '<path d="M2 22v-22M118 22v-22"/>' in html
    assert '<path class="failed"' in html
    assert "style=" not in html


def test_the_list_tells_how_to_find_and_end_a_key_that_leaked(cast: Cast, owner: Browser) -> None:
    html = owner.get(page(cast)).content.decode()

    assert f'<pre class="snippet" id="pattern">{tokens.SCANNER_PATTERN}</pre>' in html
    assert "https://testserver/v2/leaked-keys" in html


def test_a_key_is_found_by_its_last_characters(cast: Cast, owner: Browser) -> None:
    issued = factories.make_key(cast.account, "this one")
    factories.make_key(cast.account, "another")

    found = owner.get(page(cast), {"q": issued.secret[-4:]}).context["page"]

    assert [key.name for key in found] == ["this one"]


def test_htmx_gets_the_lower_part_alone_and_caches_keep_the_two_apart(cast: Cast, owner: Browser) -> None:
    factories.make_key(cast.account)
    part = owner.get(page(cast), {"q": "dep"}, headers=HTMX)
    whole = owner.get(page(cast), {"q": "dep"})

    assert part.content.decode().lstrip().startswith('<div id="keys">')
    assert "<html" in whole.content.decode()
    assert "HX-Request" in part.headers["Vary"]
    assert "HX-Request" in whole.headers["Vary"]


def test_the_list_costs_the_same_however_long_it_is(cast: Cast, owner: Browser, django_assert_num_queries: Any) -> None:
    owner.get(page(cast))
    for number in range(30):
        factories.make_key(cast.account, f"key {number}")

    # Session, person, membership; how many, the page, its keys' use; the switcher.
    with django_assert_num_queries(7):
        response = owner.get(page(cast))

    assert len(response.context["page"]) == 20
    assert "page=2" in response.content.decode()


def test_another_accounts_keys_are_not_in_the_list(cast: Cast, owner: Browser) -> None:
    factories.make_key(cast.elsewhere, "theirs")

    assert "theirs" not in owner.get(page(cast)).content.decode()


# Making a key


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
def test_a_made_key_is_shown_and_opens_the_api(
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


def test_a_date_that_was_not_asked_for_is_ignored(cast: Cast, owner: Browser) -> None:
    owner.post(page(cast, "new_key"), form(expiry="", expires_at="2099-12-31T12:00"))

    assert APIKey.objects.get().expires_at is None


@pytest.mark.parametrize("headers", [{}, HTMX])
@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("name", "  ", "This field is required."),
        ("name", "x" * 101, "at most 100 characters"),
        ("permission", "", "Choose what the key may do."),
        ("permission", "admin", "not one of the available choices"),
        ("expires_at", "2001-01-01T00:00", "This is in the past."),
        ("expires_at", "", "Say when the key expires."),
        ("expires_at", "soon", "Enter a valid date/time."),
        ("allowed_networks", "10.0.0.0/8\nhome", "is not a network"),
        ("rate_limit", "fast", "Write a rate as a number and a unit"),
    ],
)
def test_what_is_refused_is_told_at_its_field_which_gets_the_focus(
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


def test_an_id_that_is_none_of_ours_is_refused(cast: Cast, owner: Browser) -> None:
    response = owner.post(page(cast, "new_key"), form(id="key_../../etc/passwd"))

    assert response.status_code == 422
    assert not APIKey.objects.exists()


def test_a_form_without_an_id_gets_one(cast: Cast, owner: Browser) -> None:
    owner.post(page(cast, "new_key"), form(id=""))

    assert re.fullmatch(r"key_[0-9A-Za-z]{16}", APIKey.objects.get().id)


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_sending_the_form_twice_makes_one_key_and_says_so(headers: dict[str, str], cast: Cast, owner: Browser) -> None:
    sent = form()
    owner.post(page(cast, "new_key"), sent, headers=headers)
    again = owner.post(page(cast, "new_key"), sent, headers=headers)

    assert APIKey.objects.count() == 1
    assert "This key was made already" in again.content.decode()
    assert not re.search(tokens.SCANNER_PATTERN, again.content.decode())
    assert APIKey.objects.get().mask in again.content.decode()


def test_every_opened_form_makes_a_key_of_its_own(cast: Cast, owner: Browser) -> None:
    first, second = (
        re.findall(r'name="id" value="([^"]+)"', owner.get(page(cast, "new_key")).content.decode())[0] for _ in "ab"
    )

    assert first != second


# The secret


def test_the_secret_is_in_one_answer_that_nobody_keeps(cast: Cast, owner: Browser) -> None:
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


def test_the_snippets_carry_the_key_and_this_servers_address(cast: Cast, owner: Browser) -> None:
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


# Revoking


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
    assert "Deploys is revoked." in response.content.decode()
    assert (after.status_code, after.json()) == (401, {"Message": "API key has been revoked!"})


def test_a_revoked_key_offers_no_second_revoking(cast: Cast, owner: Browser) -> None:
    api_key = factories.make_key(cast.account, revoked_at=timezone.now()).api_key

    assert ">Revoke</button>" not in owner.get(page(cast, "revoke_key", api_key.id)).content.decode()
    assert page(cast, "revoke_key", api_key.id) not in owner.get(page(cast)).content.decode()


# Asking for the password again


@pytest.fixture
def signed_in(cast: Cast, browser: Browser) -> Browser:
    """An Owner who signed in by the form."""
    cache.clear()
    browser.post(reverse("account_login"), {"login": "owner@example.com", "password": PASSWORD})
    return browser


def age(browser: Browser, minutes: int) -> None:
    """Let so much time pass since the sign-in."""
    session = browser.session
    for record in session["account_authentication_methods"]:
        record["at"] = time.time() - minutes * 60
    session.save()


def weighty(cast: Cast) -> list[str]:
    return [page(cast, "new_key"), page(cast, "revoke_key", factories.make_key(cast.account).api_key.id)]


def test_signing_in_counts_as_giving_the_password(cast: Cast, signed_in: Browser) -> None:
    assert [signed_in.get(url).status_code for url in weighty(cast)] == [200, 200]


def test_making_and_revoking_ask_again_after_a_while(cast: Cast, signed_in: Browser) -> None:
    age(signed_in, 31)
    for url in weighty(cast):
        for method in ("get", "post"):
            response = getattr(signed_in, method)(url)

            assert response.status_code == 302
            assert response.headers["Location"] == (
                f"{reverse('account_reauthenticate')}?next={url.replace('/', '%2F')}"
            )
    assert not APIKey.objects.filter(revoked_at__isnull=False).exists()


def test_the_time_is_the_operators_choice(cast: Cast, signed_in: Browser, settings: Any) -> None:
    settings.SUDO_MINUTES = 60
    age(signed_in, 31)

    assert signed_in.get(page(cast, "new_key")).status_code == 200


def test_pages_of_a_persons_own_ask_as_often(settings: Any) -> None:
    assert settings.ACCOUNT_REAUTHENTICATION_TIMEOUT == settings.SUDO_MINUTES * 60


def test_a_page_travels_packed(cast: Cast, owner: Browser) -> None:
    response = owner.get(page(cast, "keys"), headers={"Accept-Encoding": "gzip"})

    assert response.headers["Content-Encoding"] == "gzip"


def test_in_a_dialog_the_whole_page_goes_to_ask(cast: Cast, signed_in: Browser) -> None:
    age(signed_in, 31)
    response = signed_in.get(page(cast, "new_key"), headers=HTMX)

    assert response.status_code == 200
    assert response.headers["HX-Redirect"].startswith(reverse("account_reauthenticate"))


def test_what_was_typed_comes_back_after_the_password(cast: Cast, signed_in: Browser) -> None:
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


def test_a_wrong_password_opens_nothing(cast: Cast, signed_in: Browser) -> None:
    age(signed_in, 31)
    signed_in.post(reverse("account_reauthenticate"), {"password": "wrong", "next": page(cast, "new_key")})

    assert signed_in.get(page(cast, "new_key")).status_code == 302


def test_a_session_without_any_proof_counts_from_the_sign_in(cast: Cast, owner: Browser) -> None:
    fresh = owner.get(page(cast, "new_key")).status_code
    cast.owner.last_login = timezone.now() - timedelta(minutes=31)
    cast.owner.save()

    assert (fresh, owner.get(page(cast, "new_key")).status_code) == (200, 302)
