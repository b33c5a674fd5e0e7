"""Revoking and importing several API keys with one request."""

import hashlib
import json
import logging
import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import AuditEvent
from accounts.policy import KeyPermission
from apikeys import tokens
from apikeys.models import APIKey, IdempotencyKey, Notice
from atatus_dash.api.resources.api_keys_bulk import ImportResultsSerializer, RevokeResultsSerializer
from tests import factories
from tests.conftest import Cast, Program

pytestmark = pytest.mark.django_db

REVOKE, IMPORT = "/v2/api-keys/revoke", "/v2/api-keys/import"
SECRET = "sk_live_0123456789abcdef"


def digest(text: str = SECRET) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def legacy(**fields: Any) -> dict[str, Any]:
    return {"name": "Legacy", "permission": "read", "digest": digest(), **fields}


def results(response: Any) -> list[dict[str, Any]]:
    """The results. They must have the fields and values that the view's serializer declares."""
    assert response.status_code == 200, response.content
    content = response.json()
    for serializer in (RevokeResultsSerializer(data=content), ImportResultsSerializer(data=content)):
        if serializer.is_valid():
            assert content == json.loads(json.dumps(serializer.validated_data))
            found: list[dict[str, Any]] = content["results"]
            return found
    raise AssertionError(content)


def statuses(response: Any) -> list[str]:
    return [result["status"] for result in results(response)]


# Revoking ---------------------------------------------------------------------------------------


def test_keys_are_revoked_and_each_has_a_result_in_the_order_sent(cast: Cast, administrator: Program) -> None:
    now = timezone.now()
    good = factories.make_key(cast.account)
    disabled = factories.make_key(cast.account, disabled_at=now)
    expired = factories.make_key(cast.account, expires_at=now - timedelta(days=1))
    revoked = factories.make_key(cast.account, revoked_at=now - timedelta(days=1))
    ids = [issued.api_key.id for issued in (revoked, good, disabled, expired)]
    response = administrator.send("post", REVOKE, {"ids": [*ids, "key_0000000000000000"]})
    assert results(response) == [
        {"id": ids[0], "status": "already_revoked"},
        *({"id": id, "status": "revoked"} for id in ids[1:]),
        {"id": "key_0000000000000000", "status": "not_found", "Message": "The item could not be found."},
    ]
    assert Program(good.secret).get("/v2").json() == {"Message": "API key has been revoked!"}
    assert set(AuditEvent.objects.filter(event="api_key.revoked").values_list("target_id", flat=True)) == set(ids[1:])
    assert {event.actor_label for event in AuditEvent.objects.filter(event="api_key.revoked")} == {"Root"}


def test_revoking_again_changes_nothing(cast: Cast, administrator: Program) -> None:
    body = {"ids": [factories.make_key(cast.account).api_key.id]}
    assert statuses(administrator.send("post", REVOKE, body)) == ["revoked"]
    first = APIKey.objects.get(pk=body["ids"][0]).revoked_at
    assert statuses(administrator.send("post", REVOKE, body)) == ["already_revoked"]
    assert APIKey.objects.get(pk=body["ids"][0]).revoked_at == first
    assert AuditEvent.objects.filter(event="api_key.revoked").count() == 1


def test_an_id_that_is_sent_twice_has_two_results_and_one_event(cast: Cast, administrator: Program) -> None:
    id = factories.make_key(cast.account).api_key.id
    assert statuses(administrator.send("post", REVOKE, {"ids": [id, id]})) == ["revoked", "already_revoked"]
    assert AuditEvent.objects.filter(event="api_key.revoked").count() == 1


def test_another_accounts_key_is_not_found_and_stays(cast: Cast, administrator: Program) -> None:
    other = factories.make_key(cast.elsewhere)
    assert statuses(administrator.send("post", REVOKE, {"ids": [other.api_key.id]})) == ["not_found"]
    assert Program(other.secret).get("/v2").status_code == 200


def test_a_key_may_revoke_itself_among_others(cast: Cast) -> None:
    own = factories.make_key(cast.account, administrator=True)
    other = factories.make_key(cast.account)
    program = Program(own.secret)
    response = program.send("post", REVOKE, {"ids": [own.api_key.id, other.api_key.id]})
    assert statuses(response) == ["revoked", "revoked"]
    assert program.get("/v2").status_code == 401


def test_keys_are_revoked_by_a_form_too(cast: Cast) -> None:
    own = factories.make_key(cast.account, administrator=True)
    ids = [factories.make_key(cast.account).api_key.id for _ in range(2)]
    assert statuses(Program().post(REVOKE, {"api_key": own.secret, "ids": ids})) == ["revoked", "revoked"]


@pytest.mark.parametrize("ids", [[], None, "key_1", [None], [{"id": "key_1"}], ["x" * 1001], ["key"] * 1001])
def test_a_list_of_ids_that_cannot_be_read_revokes_nothing(cast: Cast, administrator: Program, ids: Any) -> None:
    key = factories.make_key(cast.account).api_key.id
    sent = [key, *ids] if isinstance(ids, list) and ids else ids
    response = administrator.send("post", REVOKE, {"ids": sent})
    assert (response.status_code, list(response.json()["Errors"])) == (400, ["ids"])
    assert APIKey.objects.get(pk=key).revoked_at is None


@pytest.mark.parametrize("id", ["", " ", "k\x00", "\u202e", "key_" + "0" * 996])
def test_a_text_that_is_no_id_is_not_found_and_hides_no_other(cast: Cast, administrator: Program, id: str) -> None:
    key = factories.make_key(cast.account).api_key.id
    assert statuses(administrator.send("post", REVOKE, {"ids": [id, key]})) == ["not_found", "revoked"]


@pytest.mark.parametrize("secret", [tokens.generate(), SECRET, "x" * 512], ids=["ours", "imported", "long"])
def test_the_text_of_a_key_instead_of_its_id_is_neither_repeated_nor_stored(
    cast: Cast, administrator: Program, caplog: pytest.LogCaptureFixture, secret: str
) -> None:
    id = factories.make_key(cast.account).api_key.id
    response = administrator.send("post", REVOKE, {"ids": [secret, id]}, headers={"Idempotency-Key": "once"})
    assert results(response) == [
        {"id": None, "status": "not_found", "Message": "The item could not be found."},
        {"id": id, "status": "revoked"},
    ]
    assert secret not in json.dumps([str(row) for row in IdempotencyKey.objects.values()]) + caplog.text
    assert IdempotencyKey.objects.count() == 1


def test_many_keys_are_revoked_with_few_statements(cast: Cast, administrator: Program) -> None:
    def statements(number: int) -> int:
        ids = [factories.make_key(cast.account).api_key.id for _ in range(number)]
        with CaptureQueriesContext(connection) as queries:
            assert statuses(administrator.send("post", REVOKE, {"ids": ids})) == ["revoked"] * number
        return len(queries)

    # The key, the keys by their ids, savepoint, all of them locked, the acting key locked and read again, the account,
    # the update, the events.
    assert statements(2) == statements(30) <= 12


# Importing --------------------------------------------------------------------------------------


def test_keys_are_imported_and_each_has_a_result_in_the_order_sent(cast: Cast, administrator: Program) -> None:
    service = factories.make_service(cast.account)
    sent = [
        legacy(
            permission="read_write",
            mask="sk_live_…cdef",
            expires_at="2090-01-01T00:00:00Z",
            access=[{"service": "api"}, {"service": service.id, "paths": ["/reports/*"]}],
        ),
        legacy(digest="nonsense"),
        legacy(name="Second", digest=digest("another key of theirs").upper()),
    ]
    first, refused, second = results(administrator.send("post", IMPORT, {"api_keys": sent}))
    assert (first["status"], second["status"]) == ("imported", "imported")
    assert refused == {
        "id": None,
        "status": "refused",
        "Message": "These fields are invalid: digest.",
        "Errors": {"digest": ["Send the SHA-256 digest of the key, 64 hexadecimal digits."]},
    }
    assert Program(SECRET).get("/v2").json()["api_key"]["id"] == first["id"]
    assert Program("another key of theirs".replace(" ", "-")).get("/v2").status_code == 401
    shown = administrator.get(f"/v2/api-keys/{first['id']}").json()
    assert (shown["mask"], shown["expires_at"], shown["created_by"]) == (
        "sk_live_…cdef",
        "2090-01-01T00:00:00Z",
        "Root",
    )
    assert shown["access"] == sent[0]["access"]
    assert APIKey.objects.get(pk=second["id"]).mask == f"sha256:{digest('another key of theirs')[:8]}…"
    events = AuditEvent.objects.filter(event="api_key.imported")
    assert {event.target_id for event in events} == {first["id"], second["id"]}
    mailed = Notice.objects.filter(kind=Notice.Kind.CREATED).values_list("api_key_id", flat=True)
    assert {first["id"], second["id"]} <= set(mailed)


def test_importing_again_changes_nothing_and_names_the_same_keys(administrator: Program) -> None:
    body = {"api_keys": [legacy(), legacy(digest=digest("second-key-of-theirs"))]}
    first = results(administrator.send("post", IMPORT, body))
    again = results(administrator.send("post", IMPORT, body))
    assert [result["id"] for result in again] == [result["id"] for result in first]
    assert [result["status"] for result in again] == ["already_imported"] * 2
    assert AuditEvent.objects.filter(event="api_key.imported").count() == 2


def test_a_digest_that_is_sent_twice_is_imported_once(administrator: Program) -> None:
    first, second = results(administrator.send("post", IMPORT, {"api_keys": [legacy(), legacy(name="Again")]}))
    assert (first["status"], second["status"]) == ("imported", "already_imported")
    assert first["id"] == second["id"]


def test_an_invalid_key_does_not_hide_a_valid_one_with_the_same_digest(administrator: Program) -> None:
    sent = [legacy(access=[{"service": "svc_0000000000000000"}]), legacy()]
    assert statuses(administrator.send("post", IMPORT, {"api_keys": sent})) == ["refused", "imported"]


def test_whether_another_account_has_a_digest_is_not_revealed(
    cast: Cast, administrator: Program, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = Program(factories.make_key(cast.elsewhere, administrator=True).secret)
    (theirs,) = results(administrator.send("post", IMPORT, {"api_keys": [legacy()]}))
    with caplog.at_level(logging.WARNING):
        (ours,) = results(stranger.send("post", IMPORT, {"api_keys": [legacy()]}))
    assert ours == {"id": ours["id"], "status": "imported"}
    assert ours["id"] != theirs["id"]
    assert f"The imported key {ours['id']} will not work" in caplog.text
    (again,) = results(stranger.send("post", IMPORT, {"api_keys": [legacy()]}))
    assert again == {"id": ours["id"], "status": "already_imported"}
    assert Program(SECRET).get("/v2").json()["account"]["slug"] == "acme"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "line\nbreak"}, "name"),
        ({"name": SECRET}, "name"),
        ({"mask": "x" * 21}, "mask"),
        ({"mask": None}, "mask"),
        ({"permission": "admin"}, "permission"),
        ({"digest": "0" * 63}, "digest"),
        ({"digest": None}, "digest"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"access": [{"service": "svc_0000000000000000"}]}, "access"),
        ({"access": "everything"}, "access"),
        ({"key": SECRET}, "key"),
        ({"administrator": True}, "administrator"),
    ],
)
def test_an_invalid_key_is_refused_by_field_and_nothing_of_it_is_repeated(
    administrator: Program, fields: dict[str, Any], named: str
) -> None:
    response = administrator.send("post", IMPORT, {"api_keys": [legacy(**fields)]})
    (refused,) = results(response)
    assert (refused["id"], refused["status"], list(refused["Errors"])) == (None, "refused", [named])
    assert SECRET not in response.content.decode()
    assert digest() not in response.content.decode()
    assert APIKey.objects.count() == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"name": SECRET},
        {"mask": SECRET},
        {"permission": SECRET},
        {"digest": SECRET},
        {"expires_at": SECRET},
        {"access": SECRET},
        {"access": [SECRET]},
        {"access": [{"service": SECRET}]},
        {"access": [{"service": "api", "paths": [SECRET]}]},
        {"access": [{"service": "api", SECRET: 1}]},
        {"key": SECRET},
    ],
)
@pytest.mark.parametrize("secret", [SECRET, SECRET * 20])
def test_a_key_of_another_system_in_any_field_is_not_repeated_or_stored(
    administrator: Program, fields: dict[str, Any], secret: str
) -> None:
    fields = json.loads(json.dumps(fields).replace(SECRET, secret))
    sent = legacy(**{"digest": digest(secret), **fields})
    response = administrator.send("post", IMPORT, {"api_keys": [sent]}, headers={"Idempotency-Key": "once"})
    assert statuses(response) == ["refused"]
    stored = json.dumps([str(row) for model in (APIKey, AuditEvent, IdempotencyKey) for row in model.objects.values()])
    assert SECRET not in response.content.decode() + stored


def test_an_unknown_field_with_a_long_name_is_named(administrator: Program) -> None:
    (refused,) = results(administrator.send("post", IMPORT, {"api_keys": [legacy(allowed_networks=[])]}))
    assert list(refused["Errors"]) == ["allowed_networks"]


@pytest.mark.parametrize("field", ["name", "mask", "digest", "permission", "expires_at", "access", "key"])
def test_one_of_our_own_keys_in_any_field_is_not_repeated_logged_or_stored(
    administrator: Program, caplog: pytest.LogCaptureFixture, field: str
) -> None:
    secret = tokens.generate()
    response = administrator.send("post", IMPORT, {"api_keys": [legacy(**{field: secret})]})
    assert statuses(response) == ["refused"]
    stored = json.dumps([str(row) for model in (APIKey, AuditEvent) for row in model.objects.values()])
    assert secret not in response.content.decode() + caplog.text + stored


def test_keys_are_imported_by_a_form_too(cast: Cast) -> None:
    own = factories.make_key(cast.account, administrator=True)
    program, items = Program(own.secret), [legacy(), {}]
    assert statuses(program.post(IMPORT, {"api_keys": json.dumps(items)})) == ["imported", "refused"]
    each = [*(json.dumps(item) for item in items), "no JSON"]
    assert statuses(program.post(IMPORT, {"api_keys": each})) == ["already_imported", "refused", "refused"]
    assert statuses(program.post(IMPORT, {"api_keys": each[0]})) == ["already_imported"]


@pytest.mark.parametrize("item", [None, "text", 5, [], [legacy()]])
def test_an_item_that_is_no_object_is_refused_for_itself(administrator: Program, item: Any) -> None:
    assert statuses(administrator.send("post", IMPORT, {"api_keys": [item, legacy()]})) == ["refused", "imported"]


@pytest.mark.parametrize("api_keys", [[], None, {}, "x", [None] * 1001])
def test_a_list_that_cannot_be_read_imports_nothing(administrator: Program, api_keys: Any) -> None:
    response = administrator.send("post", IMPORT, {"api_keys": api_keys})
    assert (response.status_code, list(response.json()["Errors"])) == (400, ["api_keys"])


@pytest.mark.parametrize(
    ("own", "fields"),
    [
        ({"permission": KeyPermission.WRITE}, {"permission": "read"}),
        ({"expires_at": timezone.now() + timedelta(days=1)}, {}),
        ({"allowed_networks": ["127.0.0.0/8"]}, {}),
        ({"rate_limit": "5/minute"}, {}),
        ({"access": '[{"service":"api"}]'}, {}),
    ],
)
def test_a_key_imports_nothing_more_powerful_than_itself(
    cast: Cast, own: dict[str, Any], fields: dict[str, Any]
) -> None:
    program = Program(factories.make_key(cast.account, administrator=True, **own).secret)
    (refused,) = results(program.send("post", IMPORT, {"api_keys": [legacy(**fields)]}))
    assert (refused["id"], refused["status"]) == (None, "refused")
    assert refused["Message"].startswith("A key can't create a key ")
    assert APIKey.objects.count() == 1


def test_a_key_imports_what_is_within_its_own_power(cast: Cast) -> None:
    own = factories.make_key(
        cast.account,
        administrator=True,
        permission=KeyPermission.WRITE,
        access='[{"service":"api"}]',
        expires_at=timezone.now() + timedelta(days=9),
    )
    within = legacy(
        permission="write",
        access=[{"service": "api"}],
        expires_at=(timezone.now() + timedelta(days=1)).isoformat(),
    )
    assert statuses(Program(own.secret).send("post", IMPORT, {"api_keys": [within]})) == ["imported"]


def test_the_accounts_key_lifetime_applies(cast: Cast, administrator: Program) -> None:
    administrator.send("patch", "/v2/account", {"max_key_lifetime_days": 30})
    (refused,) = results(administrator.send("post", IMPORT, {"api_keys": [legacy()]}))
    assert list(refused["Errors"]) == ["expires_at"]


def test_many_keys_are_imported_with_few_statements(cast: Cast, administrator: Program) -> None:
    def statements(number: int, prefix: str) -> int:
        sent = [legacy(digest=digest(f"{prefix}{place}")) for place in range(number)]
        with CaptureQueriesContext(connection) as queries:
            assert statuses(administrator.send("post", IMPORT, {"api_keys": sent})) == ["imported"] * number
        return len(queries)

    # The key, savepoints, the acting key locked and read again, the account, known digests and known substitutes for
    # them, the account's maximum lifetime, the acting key's power, the keys, their events.
    assert statements(2, "few") == statements(30, "many") <= 16


def test_an_import_reads_no_keys_but_those_with_its_digests(cast: Cast, administrator: Program) -> None:
    with CaptureQueriesContext(connection) as queries:
        administrator.send("post", IMPORT, {"api_keys": [legacy()]})
    reading = [
        row["sql"] for row in queries if row["sql"].startswith("SELECT") and 'FROM "apikeys_apikey"' in row["sql"]
    ]
    assert len(reading) >= 4
    assert all(re.search(r'WHERE .*"(id|digest)" (=|IN)', sql) for sql in reading), reading


def test_revoke_and_import_are_paths_and_no_ids(administrator: Program) -> None:
    assert administrator.get(REVOKE).status_code == administrator.get(IMPORT).status_code == 405
    assert administrator.delete(REVOKE).status_code == 405
