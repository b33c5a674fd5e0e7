"""A cast used everywhere: an Owner, an Admin, a User, and a stranger from another account."""

import os
import re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import hypothesis
import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.cache import cache
from django.db import connection, transaction
from django.http import HttpRequest
from django.template import Engine
from django.template.loader import render_to_string
from django.test import Client, TransactionTestCase, override_settings

from accounts import mail, outbox
from accounts.models import Account, User
from accounts.policy import KeyPermission, Role
from accounts.sessions import SessionStore
from apikeys import exposure, limits, notices, outages
from apikeys.usage import counts, problems, questions, sources

from . import factories, openapi, servers
from .clones import Clone

T = TypeVar("T")

# Hypothesis' examples must not fail because the machine is busy.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before `-m` selects and after pytest-randomly shuffles
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, None, None]:
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if ({"db", "transactional_db"} & fixtures or item.get_closest_marker("django_db")) and not (
            item.get_closest_marker("alike")
        ):
            item.add_marker(pytest.mark.stores)
    yield
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def alike(values: Iterable[T], *, repeat: T) -> list[Any]:
    """The values of a parameter, such as a role or htmx, that changes the number of queries but not their kinds.

    Only the test with the value `repeat`, which sends the most, runs again on PostgreSQL and Redis. Text from a client
    isn't such a parameter: PostgreSQL refuses some that SQLite stores, such as a NUL.
    """
    return [value if value == repeat else pytest.param(value, marks=pytest.mark.alike) for value in values]


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """SQLite in a file, as in installations: in memory, it has neither WAL nor waits for locks."""
    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        database["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")


@pytest.fixture(scope="session", autouse=True)
def _one_database_for_servers(tmp_path_factory: pytest.TempPathFactory) -> None:
    """It takes two seconds to create. Directories of pytest-xdist's processes are within one of their run."""
    directory = tmp_path_factory.getbasetemp()
    servers.shared = directory.parent if "PYTEST_XDIST_WORKER" in os.environ else directory


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """After a test that commits, delete its rows.

    Django flushes the database instead, which takes several times as long. On PostgreSQL, that truncates all tables,
    and so creates the files of each table anew. Then it creates the content types and permissions, which are kept here.
    """
    kept = (ContentType, Permission)
    models = [model for model in apps.get_models(include_auto_created=True) if not issubclass(model, kept)]
    tables = {model._meta.db_table for model in models}

    def delete_rows(test: TransactionTestCase) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            for table in tables:
                cursor.execute(f"DELETE FROM {connection.ops.quote_name(table)}")  # noqa: S608

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TransactionTestCase, "_fixture_teardown", delete_rows)
        yield


@pytest.fixture(autouse=True)
def _no_counts_from_before() -> Iterator[None]:
    limits.limiter.clear()
    cache.clear()  # limits of attempts to sign in
    for service in (outages.DATABASE, outages.REDIS):
        service.reset()
    for counted in (counts, questions, problems, sources, exposure):
        counted.discard()
    yield
    for counted in (counts, questions, problems, sources, exposure):
        counted.discard()


@pytest.fixture(scope="session", autouse=True)
def _quick_settings() -> Iterator[None]:
    """Passwords with a fast hash, and static files from their sources: `serve` collects them in other tests.

    Once for all tests: each change of a setting makes Django forget the values of all others.
    """
    static_files = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    with override_settings(
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        STATIC_ROOT=None,
        STORAGES={**settings.STORAGES, "staticfiles": static_files},
    ):
        yield


@pytest.fixture(scope="session", autouse=True)
def _complete_mail() -> Iterator[None]:
    """A variable that is missing in a mail's template fails, instead of being left out of the text."""

    def render(template: str, context: dict[str, Any]) -> str:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Engine.get_default(), "string_if_invalid", "MISSING %s")
            text = render_to_string(template, context)
        assert "MISSING" not in text
        return text

    with pytest.MonkeyPatch.context() as patched:
        for module in (mail, outbox, notices):
            patched.setattr(module, "render_to_string", render)
        yield


@dataclass
class Cast:
    account: Account
    owner: User
    admin: User
    user: User
    stranger: User
    elsewhere: Account


def new_cast() -> Cast:
    owner = factories.make_user("owner@example.com")
    account = factories.make_account("Acme", owner)
    stranger = factories.make_user("stranger@example.com")
    return Cast(
        account=account,
        owner=owner,
        admin=factories.make_member(account, Role.ADMIN, "admin@example.com"),
        user=factories.make_member(account, Role.USER, "user@example.com"),
        stranger=stranger,
        elsewhere=factories.make_account("Elsewhere", stranger),
    )


CAST = Clone(new_cast)


@pytest.fixture
def cast(db: None) -> Cast:
    return CAST.get()


class SecureClient(Client):
    """Uses HTTPS, except with `plain_http=True`. Reads a file to its end, as a browser does."""

    def generic(  # type: ignore[override]  # the stubs know no further keyword
        self, method: str, path: str, *args: Any, plain_http: bool = False, **kwargs: Any
    ) -> Any:
        response: Any = super().generic(method, path, *args, **{**kwargs, "secure": not plain_http})
        if re.match(r"(?:https://testserver)?/v2(?!/docs)(?:[/?]|$)", path):  # the reference is for people
            openapi.check(response, method, path, *args)
        if response.streaming:
            response.streaming_content = [response.getvalue()]
        return response


class Browser(SecureClient):
    """A person's browser; `as_(person)` signs in."""

    def as_(self, person: User) -> "Browser":
        if self.cookies:  # also ends the session before
            self.force_login(person)
            return self
        # As a sign-in does. `force_login` writes a session first, only to replace it.
        request = HttpRequest()
        request.session = SessionStore()
        login(request, person)
        request.session.save()
        self.cookies[settings.SESSION_COOKIE_NAME] = str(request.session.session_key)
        return self


@pytest.fixture
def browser() -> Browser:
    return Browser()


class Program(SecureClient):
    """A program that sends its key in a header and speaks JSON."""

    def __init__(self, key: str | None = None, **defaults: Any) -> None:
        super().__init__(**defaults)
        if key:
            self.defaults["HTTP_X_API_KEY"] = key

    def send(self, method: str, path: str, data: Any = None, **extra: Any) -> Any:
        body = {} if data is None else {"data": data, "content_type": "application/json"}
        return getattr(self, method.lower())(path, **body, **extra)


KEY = Clone(lambda cast: factories.make_key(cast.account, permission=KeyPermission.READ_WRITE))
ADMINISTRATOR_KEY = Clone(lambda cast: factories.make_key(cast.account, name="Root", administrator=True))
OPERATOR = Clone(factories.make_operator)


@pytest.fixture
def program(cast: Cast) -> Program:
    """A Read & Write key of the account."""
    return Program(KEY.get(cast).secret)


@pytest.fixture
def administrator(cast: Cast) -> Program:
    """A Read & Write key with administrator access."""
    return Program(ADMINISTRATOR_KEY.get(cast).secret)


@pytest.fixture
def operator(db: None) -> User:
    return OPERATOR.get()


@pytest.fixture
def desk(browser: Browser, operator: User) -> Browser:
    """The operator's browser."""
    return browser.as_(operator)
