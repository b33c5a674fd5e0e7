"""No API key is stored anywhere: all text fields, and all ways to send one."""

import io
import itertools
import json
import logging
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from allauth.usersessions.models import UserSession
from django import forms
from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.db import connection, models
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings
from rest_framework import serializers

from accounts import fields, redaction, services, validators
from accounts.models import AuditEvent, Deployment, Project, User
from accounts.policy import Role, system
from accounts.sessions import SIGNED_IN_AT, SessionStore
from apikeys import tokens
from apikeys.usage import counts, sources
from atatus_dash.logs import RedactingFormatter
from tests.mail import delivered

from . import factories
from .conftest import Browser, Cast, Program, SecureClient

#: Well formed, and the same in every process, because it is in names of tests.
CANARY = "atk_TESTtestTESTtestTESTtestTESTte0x4sVJ"
SEEN = CANARY[len(tokens.PREFIX) :].lower()  # the texts below join it to others, change its case or escape it
DISGUISES = [CANARY, f"x{CANARY}y", CANARY.lower(), CANARY.replace("_", "%5F"), f"?api_key={CANARY}&a=b"]


# Every text column -------------------------------------------------------------------------------

CHOSEN_BY_US = "our own ids, digests, choices and numbers"
OF_OTHERS = "a model of another app: masked when it is written"
COLUMNS = {
    "accounts.Account.slug": "made from the name, which was checked",
    "accounts.Account.offered_to": CHOSEN_BY_US,
    "accounts.AuditEvent.changes": "values of fields that were checked",
    "accounts.AuditEvent.request_id": "the middleware accepts no request id that contains a key",
    "accounts.OutgoingMail.about": CHOSEN_BY_US,
    "accounts.Project.kept_id": "24 hexadecimal characters",
    "accounts.User.password": "a hash",
    "accounts.User.time_zone": "a choice from a list",
    "apikeys.APIKey.access": "`validators.access` refuses a key before a message repeats it",
    "apikeys.APIKey.allowed_networks": "each is a network, in normal form",
    "apikeys.APIKey.rate_limit": "a number and a unit",
    "apikeys.IdempotencyKey.fingerprint": "a digest",
    "apikeys.KeyOrigin.origin": "an address",
    "apikeys.KeyUsage.service": CHOSEN_BY_US,
    "apikeys.Notice.about": "a time",
    **dict.fromkeys(
        [f"apikeys.Service.{name}" for name in ("reading_methods", "reading_paths", "gateways")],
        "`validators` reads each and refuses a key before a message repeats it",
    ),
}
#: Columns whose name says that the program fills them.
OURS = (
    *("id", "role", "permission", "event", "kind", "actor_kind", "actor_id", "target_kind", "target_id"),
    *("digest", "token_digest", "mask"),
)
TEXT = (models.CharField, models.TextField, models.JSONField)


def columns() -> Iterator[tuple[str, Any]]:
    for model in apps.get_models(include_auto_created=True):
        for field in model._meta.local_fields:
            if isinstance(field, TEXT):
                yield f"{model._meta.label}.{field.name}", field


def test_every_text_column_refuses_keys_or_says_why_not() -> None:
    ours = ("accounts", "apikeys", "atatus_dash")
    for name, field in columns():
        checked = isinstance(field, (fields.LineField, fields.EmailField, fields.TextField))
        known = field.model._meta.app_label not in ours or field.name in OURS or name in COLUMNS
        assert checked or known, f"{name}: make it a LineField or a TextField, or say why it can hold no key"


def test_a_list_of_columns_names_existing_ones() -> None:
    assert {name for name, _ in columns()} | {"accounts.Account.offered_to"} >= set(COLUMNS)


# Every field of forms and serializers ------------------------------------------------------------

#: Fields whose texts are not stored, or are checked elsewhere.
NOT_STORED = {
    *("q", "actor", "target", "code", "credential", "otp", "mfa_code", "login", "key", "Message"),
    *("password", "password1", "password2", "oldpassword", "new_password1", "new_password2"),
    *("allowed_networks", "rate_limit", "id", "text", "credentials", "token", "unsafe_hex", "usable_password"),
}
#: Fields that are compared but not stored, are checked by `AccountAdapter.clean_email` or by `validators`, or aren't
#: used.
OTHERWISE = {
    *("OfferForm.name", "CloseForm.name"),
    *("SignupForm.email", "ResetPasswordForm.email"),
    *(f"{form}.{name}" for form in ("ServiceForm", "EditServiceForm") for name in ("gateways", "reading_methods")),
    *(f"{form}.reading_paths" for form in ("ServiceForm", "EditServiceForm")),
    "SignupForm.username",
    "HostForm.host",  # is shown in a configuration
}


def subclasses(kind: Any) -> Iterator[Any]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


def of_ours(kind: type) -> bool:
    return kind.__module__.split(".")[0] in ("accounts", "apikeys", "atatus_dash")


def test_every_text_field_of_a_form_refuses_keys_or_is_not_stored() -> None:
    list(get_resolver().url_patterns)  # this loads every view and its forms
    forgotten = []
    for form in filter(of_ours, subclasses(forms.BaseForm)):
        checked_by_model = getattr(getattr(form, "_meta", None), "model", None) is not None
        for name, field in getattr(form, "base_fields", {}).items():  # a base class has none
            is_text = isinstance(field, forms.CharField) and not isinstance(field, forms.GenericIPAddressField)
            known = name in NOT_STORED or f"{form.__name__}.{name}" in OTHERWISE or checked_by_model
            if is_text and not known and validators.no_secret not in field.validators:
                forgotten.append(f"{form.__name__}.{name}")
    assert not forgotten, "give them validators.LINE or validators.TEXT"


def test_every_text_field_of_a_serializer_refuses_keys_or_is_not_stored() -> None:
    list(get_resolver().url_patterns)
    forgotten = []
    for serializer in filter(of_ours, subclasses(serializers.Serializer)):
        if serializer.__name__ == "ModelSerializer":  # our base class, without a model
            continue
        for name, field in serializer().fields.items():
            texts = isinstance(field, serializers.CharField) and not field.read_only
            filters = serializer.__name__.endswith("FilterSerializer")
            if texts and not filters and name not in NOT_STORED and validators.no_secret not in field.validators:
                forgotten.append(f"{serializer.__name__}.{name}")
    assert not forgotten, "give them validators.LINE or validators.TEXT"


# Writes without validation -----------------------------------------------------------------------


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_write_of_a_row_stores_no_key(cast: Cast, disguise: str) -> None:
    """Keys are masked in saves without validation, bulk writes, JSON, models of other apps, and SQL."""
    project = factories.make_project(cast.account, name=disguise)
    Project.objects.bulk_create([Project(account=cast.account, name=disguise) for _ in range(2)])
    Project.objects.filter(pk=project.pk).update(name=f"{disguise} again")
    factories.make_deployment(project, revision=disguise, changes=f"a\n{disguise}\nb")
    AuditEvent.objects.create(
        account=cast.account,
        event="account.changed",
        actor_kind="person",
        actor_label=disguise,
        target_kind="account",
        target_id="1",
        target_label=disguise,
        changes={disguise: [disguise, 1]},
    )
    Group.objects.create(name=disguise)
    LogEntry.objects.create(user=cast.owner, object_repr=disguise, action_flag=CHANGE, change_message=disguise)
    UserSession.objects.create(
        user=cast.owner, session_key="x", ip="192.0.2.1", user_agent=disguise, data={"a": [disguise]}
    )
    with connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_account SET name = %s", [disguise])
        cursor.executemany("UPDATE accounts_account SET name = %s WHERE slug = %s", [(disguise, "acme")] * 2)
    assert SEEN not in database()
    event = AuditEvent.objects.get(event="account.changed")
    assert event.changes == {tokens.redact(disguise): [tokens.redact(disguise), 1]}


def test_a_text_without_a_key_is_written_unchanged(cast: Cast, caplog: pytest.LogCaptureFixture) -> None:
    text = "100 % of “atk_” \\u005f %5F — atk_" + "x" * 20
    project = factories.make_project(cast.account, name=text)
    project.refresh_from_db()
    assert project.name == text
    assert "masked" not in caplog.text


def test_a_masked_field_is_logged(cast: Cast, caplog: pytest.LogCaptureFixture) -> None:
    factories.make_project(cast.account, name=CANARY)
    assert "A secret was masked before it was written to the database: INSERT INTO" in caplog.text
    assert SEEN not in caplog.text.lower()


def test_a_session_keeps_no_key(browser: Browser, cast: Cast) -> None:
    session = browser.as_(cast.owner).session
    session["anything"] = {"deep": [f"x{CANARY}"], CANARY: 1}
    session.save()
    assert SEEN not in stored_sessions()
    assert len(browser.session["anything"]) == 2


def test_no_mail_contains_a_key(cast: Cast) -> None:
    cast.account.name = f"Acme {CANARY}"
    from accounts.mail import notify

    notify(["a@example.com"], "account_closed", account=cast.account, until=cast.account.created_at)
    assert SEEN not in outbox()
    assert tokens.mask(CANARY) in delivered()[0].subject


# Every way to send one ---------------------------------------------------------------------------


def database() -> str:
    """All stored values, as text."""
    with connection.cursor() as cursor:
        dump = []
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608  names of tables
            dump.append(repr(cursor.fetchall()))
    return "\n".join(dump).lower() + stored_sessions()


def stored_sessions() -> str:
    return json.dumps([SessionStore().decode(session.session_data) for session in Session.objects.all()]).lower()


def outbox() -> str:
    return "\n".join(repr([m.subject, m.body, m.alternatives, m.to, m.extra_headers]) for m in delivered()).lower()


def cached() -> str:
    inner: Any = cache
    if isinstance(inner._cache, dict):
        return repr(inner._cache).lower()
    client = inner._cache.get_client()
    return repr([(key, client.type(key) == b"string" and client.get(key)) for key in client.scan_iter("*")]).lower()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The server's output."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(RedactingFormatter("%(message)s"))
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)


def routes(resolver: URLResolver, prefix: str = "") -> Iterator[str]:
    for entry in resolver.url_patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from routes(entry, route)
        elif isinstance(entry, URLPattern) and "(?P" not in route and "logout" not in route:
            yield route


def paths(route: str, ids: dict[str, str]) -> list[str]:
    """Two URLs of a route: one of an existing item, and one with a key in place of its id."""
    there = next((id for part, id in ids.items() if part in route), "1")
    route = "/" + re.sub(r"[\^$]|\\Z", "", route.replace("<slug:slug>", "acme"))
    found = dict.fromkeys(re.sub(r"<(id:id|str:token|path:object_id|int:pk)>", id, route) for id in (there, CANARY))
    return [path for path in found if "<" not in path]


def field_names() -> list[str]:
    """The names of all fields of forms and serializers."""
    kinds = [*subclasses(forms.BaseForm), *filter(of_ours, subclasses(serializers.Serializer))]
    names = {name for kind in kinds for name in getattr(kind, "base_fields", getattr(kind, "_declared_fields", {}))}
    return sorted(names - {"id"})


def filled_with_canaries(names: list[str]) -> dict[str, str]:
    values = itertools.cycle(DISGUISES)
    return {name: f"{CANARY}@example.com" if "email" in name or name == "login" else next(values) for name in names}


@pytest.mark.long
@pytest.mark.django_db(transaction=True)  # allauth's mail needs the request at commit
def test_no_page_keeps_a_key_whatever_is_typed_into_it(cast: Cast, settings: Settings, log: io.StringIO) -> None:
    settings.SIGNUP_OPEN = True
    User.objects.filter(pk=cast.owner.pk).update(is_staff=True, is_superuser=True)
    factories.give_second_factor(cast.owner)
    typed = filled_with_canaries([*field_names(), CANARY])
    for age in (3600, 0):  # first those that ask for the password again, and change less
        ids = {
            "projects/": factories.make_project(cast.account).id,
            "api-keys/": factories.make_key(cast.account).api_key.id,
            "services/": factories.make_service(cast.account, f"Reports {age}").id,
        }
        addresses = [
            path for route in routes(get_resolver()) if not route.startswith("v2") for path in paths(route, ids)
        ]
        assert len(addresses) > 100
        browser = Browser(
            headers={"User-Agent": f"{'m' * 150} {CANARY}", "Referer": f"https://testserver/{CANARY}"},
            raise_request_exception=False,
        )
        for path in addresses:
            if age and path.startswith("/admin/"):
                continue  # no second confirmation
            if SESSION_KEY not in browser.session:  # a page may have ended the session
                browser.force_login(cast.owner)
                session = browser.session
                session[SIGNED_IN_AT] = time.time() - age
                session.save()
            browser.cookies["theme"] = CANARY
            browser.post(path, urlencode(typed), content_type="application/x-www-form-urlencoded")
            if not age:
                browser.get(path, {"q": CANARY, "next": f"/{CANARY}", "name": CANARY})
    for kept in (database(), cached(), log.getvalue().lower(), outbox()):
        assert SEEN not in kept


def test_no_request_of_a_program_stores_a_key(cast: Cast, administrator: Program, log: io.StringIO) -> None:
    project = factories.make_project(cast.account)
    api_key = factories.make_key(cast.account).api_key
    headers = {"User-Agent": f"{'m' * 165} {CANARY}", "X-Request-ID": CANARY, "Referer": CANARY, "Cookie": CANARY}
    paths = {
        "account": ["name"],
        "projects": ["name"],
        f"projects/{project.id}": ["name"],
        f"projects/{project.id}/deployments": ["revision", "release_stage", "changes", "user"],
        "api-keys": ["name", "description", "rate_limit", "allowed_networks"],
        f"api-keys/{api_key.id}": ["name", "description"],
        "services": ["name", "reading_methods", "reading_paths", "gateways", "upstream"],
        f"services/{factories.make_service(cast.account).id}": ["name", "reading_paths", "upstream"],
        "invitations": ["email"],
        CANARY: ["name"],
    }
    sound = {"account": {}, "api-keys": {"name": "x", "permission": "read"}, "invitations": {"role": "user"}}
    for (path, names), disguise in itertools.product(paths.items(), DISGUISES):
        for name in [*names, CANARY]:
            value = f"{disguise}@example.com" if name == "email" else disguise
            body = {"name": "x", "revision": "1", **sound.get(path, {}), name: value}
            if "account" in path or "invitations" in path:
                body = {**sound[path], name: value}
            if "deployments" not in path:
                body.pop("revision", None)
            for method in ("post", "patch"):
                administrator.send(method, f"/v2/{path}", body, headers=headers)
            administrator.get(f"/v2/{path}", {"q": disguise, "actor": disguise}, headers=headers)
    administrator.send("post", "/v2/leaked-keys", {"credentials": [CANARY]}, headers=headers)
    counts.flush()
    sources.flush()
    for kept in (database(), cached(), log.getvalue().lower(), outbox()):
        assert SEEN not in kept


def test_a_key_in_a_commit_message_does_not_fail_a_pipeline(cast: Cast, program: Program) -> None:
    project = factories.make_project(cast.account)
    sent = {"revision": "1", "changes": f"Remove {CANARY} from the tests\r\n\r\nIt was revoked."}
    answer = program.send("post", f"/v2/projects/{project.id}/deployments", sent)
    kept = f"Remove {tokens.mask(CANARY)} from the tests\n\nIt was revoked."
    assert (answer.status_code, answer.json()["changes"]) == (201, kept)
    assert Deployment.objects.get().changes == kept


@pytest.mark.parametrize("field", ["revision", "release_stage", "user"])
def test_a_revision_with_a_key_is_refused(cast: Cast, program: Program, field: str) -> None:
    project = factories.make_project(cast.account)
    answer = program.send("post", f"/v2/projects/{project.id}/deployments", {"revision": "1", field: CANARY})
    assert (answer.status_code, list(answer.json()["Errors"])) == (400, [field])


def test_a_sign_in_stores_no_key_from_the_user_agent(
    cast: Cast, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    cache.clear()  # limits of sign-ins
    client = SecureClient(headers={"User-Agent": f"{'m' * 170} {CANARY}"})
    with django_capture_on_commit_callbacks(execute=True):
        client.post(reverse("account_login"), {"login": "owner@example.com", "password": factories.PASSWORD})
    client.get(reverse("accounts:profile"))
    session = UserSession.objects.get()
    assert session.user_agent.endswith(tokens.mask(CANARY))
    assert "Device: Unknown device" in delivered()[0].body
    assert CANARY[4:30] not in database() + outbox()


def test_an_invitation_is_refused_before_its_address_is_put_in_lower_case(
    cast: Cast, browser: Browser, administrator: Program
) -> None:
    email = f"{CANARY}@example.com"
    page = browser.as_(cast.owner).post(reverse("accounts:invite", args=["acme"]), {"email": email, "role": "user"})
    assert "This contains an API key" in page.context["form"].errors["email"][0]
    answer = administrator.send("post", "/v2/invitations", {"email": email.lower(), "role": "user"})
    assert "This contains an API key" in answer.json()["Errors"]["email"][0]
    assert not delivered()


def test_a_service_masks_what_its_caller_did_not_check(cast: Cast) -> None:
    project = services.create_project(actor=system(cast.account.ref), name=f"x{CANARY}")
    project.refresh_from_db()
    assert project.name == f"x{tokens.mask(CANARY)}"


def test_each_app_registers_its_secrets_once() -> None:
    redaction.register(tokens)
    assert redaction._kinds.count(tokens) == 1


# Control characters ------------------------------------------------------------------------------


@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\x1b", "\x85", "\u2028", "\u202e", "\u200b"])
def test_no_name_contains_invisible_characters(
    cast: Cast, browser: Browser, administrator: Program, character: str
) -> None:
    name = f"Acme{character}https://elsewhere.example"
    project, browser = factories.make_project(cast.account), browser.as_(cast.owner)
    api_key, service = factories.make_key(cast.account).api_key, factories.make_service(cast.account)
    member = factories.make_member(cast.account, Role.USER, "m@example.com")
    pages = {
        reverse("accounts:general", args=["acme"]): "name",
        reverse("accounts:new_project", args=["acme"]): "name",
        reverse("accounts:edit_project", args=["acme", project.id]): "name",
        reverse("accounts:new_deployment", args=["acme", project.id]): "revision",
        reverse("accounts:profile"): "name",
        reverse("apikeys:new_key", args=["acme"]): "name",
        reverse("apikeys:edit_key", args=["acme", api_key.id]): "name",
        reverse("apikeys:new_service", args=["acme"]): "name",
        reverse("apikeys:edit_service", args=["acme", service.id]): "name",
    }
    for path, field in pages.items():
        answer = browser.post(path, {"release_stage": "x", "permission": "read", field: name})
        assert (answer.status_code, "This contains a" in answer.context["form"].errors[field][0]) == (422, True), path
    calls = [
        ("patch", "/v2/account", {"name": name}),
        ("post", "/v2/projects", {"name": name}),
        ("put", f"/v2/projects/{project.id}", {"name": name}),
        ("post", "/v2/api-keys", {"name": name, "permission": "read"}),
        ("patch", f"/v2/api-keys/{api_key.id}", {"name": name}),
        *[
            ("post", f"/v2/projects/{project.id}/deployments", {"revision": "1", field: name})
            for field in ("revision", "release_stage", "user")
        ],
    ]
    for method, path, body in calls:
        assert administrator.send(method, path, body).status_code == 400, (method, path)
    services.create_project(actor=system(cast.account.ref), name=name)
    User.objects.filter(pk=member.pk).update(name=name)
    assert (
        Project.objects.latest("created_at").name
        == User.objects.get(pk=member.pk).name
        == ("Acme https://elsewhere.example")
    )


def test_a_name_that_an_older_version_kept_is_one_line_in_mail_and_on_pages(cast: Cast, browser: Browser) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_account SET name = %s", ["Acme\n\nOpen https://elsewhere.example\u202e"])
    cast.account.refresh_from_db()
    factories.make_invitation(cast.account, "late@example.com")
    assert delivered()[0].subject == "You are invited to join Acme  Open https://elsewhere.example".replace("  ", " ")
    assert "Acme  Open https://elsewhere.example  as User" in delivered()[0].body
    assert browser.as_(cast.owner).get(reverse("accounts:general", args=["acme"])).status_code == 200
