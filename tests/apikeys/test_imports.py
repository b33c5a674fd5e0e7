import hashlib
import io
from pathlib import Path
from unittest import mock
from unittest.mock import DEFAULT

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils.datastructures import MultiValueDict
from pytest_django import DjangoAssertNumQueries

from accounts import policy
from accounts.errors import Invalid, NotPermitted
from accounts.models import Account, AuditEvent, OutgoingMail
from accounts.policy import GRANTS, Actor, ActorKind, Role
from accounts.services import change_account
from apikeys import imports, notices, services, tokens
from apikeys.forms import ImportForm
from apikeys.models import APIKey
from apikeys.services.imports import _Known, _known_keys
from tests import factories
from tests.conftest import Cast, Program

SECRET = "sk_live_0123456789abcdef"
DIGEST = hashlib.sha256(SECRET.encode()).hexdigest()


def csv_of(*lines: str, header: str = "name,permission,digest,mask,expiry") -> str:
    return "\n".join([header, *lines])


def test_an_imported_key_works_with_the_api_although_its_format_differs(cast: Cast) -> None:
    rows = imports.read(csv_of(f"Legacy,read_write,{DIGEST},sk_live_…cdef,"))
    services.import_api_keys(actor=policy.system(cast.account.ref), rows=rows)
    assert Program(SECRET).get("/v2").json()["api_key"]["name"] == "Legacy"
    assert Program().get("/v2", {"api_key": SECRET}).status_code == 200
    assert Program(SECRET + "x").get("/v2").json() == {"Message": "API key is invalid!"}


def test_only_those_who_may_create_keys_import_them(cast: Cast) -> None:
    user = Actor(ActorKind.PERSON, "1", "user@example.com", cast.account.ref, GRANTS[Role.USER], Role.USER)
    with pytest.raises(NotPermitted):
        services.import_api_keys(actor=user, rows=imports.read(csv_of(f"a,read,{DIGEST},,")))


def test_mask_and_expiry_may_be_missing() -> None:
    key = imports.read(csv_of(f"a,read,{DIGEST.upper()}", header="Name, Permission, Digest"))[0]
    assert (key.digest, key.mask, key.expires_at) == (DIGEST, f"sha256:{DIGEST[:8]}…", None)


HEADER = "name,permission,digest,access"


@pytest.mark.parametrize(
    ("column", "access"),
    [
        ("", None),
        ("none", "[]"),
        ("api", '[{"service":"api"}]'),
        ('"api; svc_1:/a,/b/*"', '[{"service":"api"},{"service":"svc_1","paths":["/a","/b/*"]}]'),
    ],
)
def test_an_imported_key_has_the_access_of_its_line(cast: Cast, column: str, access: str | None) -> None:
    service = factories.make_service(cast.account)
    text = csv_of(f"a,read,{DIGEST},{column.replace('svc_1', service.id)}", header=HEADER)
    services.import_api_keys(actor=policy.system(cast.account.ref), rows=imports.read(text))
    assert APIKey.objects.get().access == (access and access.replace("svc_1", service.id))


def test_keys_that_list_unknown_services_are_not_imported(cast: Cast) -> None:
    other = factories.make_service(cast.elsewhere)
    rows = imports.read(csv_of(f"a,read,{DIGEST},{other.id}", f"b,read,{'a' * 64},api;svc_1", header=HEADER))
    with pytest.raises(Invalid) as caught:
        services.import_api_keys(actor=policy.system(cast.account.ref), rows=rows)
    assert caught.value.errors == {
        "line 2": [f"Unknown service: {other.id}."],
        "line 3": ["Unknown service: svc_1."],
    }
    assert not APIKey.objects.exists()


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        ("everything", "not a service"),
        ("api;", "not a service"),
        ("svc_1:/KEY", "contains an API key"),
    ],
)
def test_an_invalid_access_is_reported_by_its_line(column: str, problem: str) -> None:
    with pytest.raises(Invalid) as caught:
        imports.read(csv_of(f"a,read,{DIGEST},{column.replace('KEY', tokens.generate())}", header=HEADER))
    assert caught.value.errors is not None
    [sentence] = caught.value.errors["line 2"]
    assert sentence.startswith("Access: ")
    assert problem in sentence


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (f",read,{DIGEST},,", "name"),
        (f"{'x' * 101},read,{DIGEST},,", "name"),
        (f"a,admin,{DIGEST},,", "permission"),
        ("a,read,abc,,", "digest"),
        (f"a,read,{SECRET},,", "digest"),
        (f"a,read,{DIGEST},{SECRET},", "mask"),
        (f"a,read,{DIGEST},,soon", "expiry"),
        (f"a,read,{DIGEST},,2020-01-01", "time in the future"),
        (f"a,read,{DIGEST},,9999-12-31T23:59:59-14:00", "expiry"),
    ],
)
def test_an_invalid_line_is_reported_with_its_problem(line: str, problem: str) -> None:
    with pytest.raises(Invalid) as refused:
        imports.read(csv_of(line))
    assert refused.value.errors is not None
    assert problem in " ".join(refused.value.errors["line 2"]).lower()


def test_a_byte_order_mark_is_not_part_of_the_first_column() -> None:
    assert len(imports.read("\ufeff" + csv_of(f"a,read,{DIGEST},,"))) == 1


def test_an_import_has_a_maximum_number_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "MAXIMUM_ROWS", 1)
    with pytest.raises(Invalid, match="at most 1 keys"):
        imports.read(csv_of(f"a,read,{DIGEST},,", f"b,read,{'0' * 64},,"))


def test_a_file_has_a_maximum_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImportForm, "MAXIMUM_BYTES", 10)
    form = ImportForm({}, MultiValueDict({"file": [SimpleUploadedFile("keys.csv", b"x" * 11)]}))
    assert "The file is larger than 1.9 MB" in form.errors["file"][0]


def test_all_line_endings_are_accepted() -> None:
    text = csv_of(f"a,read,{DIGEST},,", f"b,read,{'0' * 64},,")
    assert [len(imports.read(text.replace("\n", end))) for end in ("\n", "\r\n", "\r")] == [2, 2, 2]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name,permission",
        "name,permission,digest",
        "name,permission,digest,secret\na,read,x,y",
    ],
)
def test_a_file_without_the_columns_or_without_keys_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        imports.read(text)


@pytest.mark.parametrize("name", ["a\0b", "a" * 200_000])
def test_a_file_that_is_not_csv_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="not"):
        imports.read(csv_of(f"{name},read,{DIGEST},,"))


def test_invalid_lines_count_towards_the_maximum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "MAXIMUM_ROWS", 2)
    with pytest.raises(Invalid, match="at most 2 keys"):
        imports.read(csv_of("x", "x", "x"))


def test_an_expiry_is_stored_in_utc() -> None:
    key = imports.read(csv_of(f"a,read,{DIGEST},,2090-01-01T00:00:00+23:59:59"))[0]
    assert str(key.expires_at) == "2089-12-31 00:00:01+00:00"


def test_a_digest_that_is_twice_in_the_file_or_exists_already_imports_nothing(cast: Cast) -> None:
    with pytest.raises(Invalid):
        imports.read(csv_of(f"a,read,{DIGEST},,", f"b,read,{DIGEST},,"))
    rows = imports.read(csv_of(f"a,read,{DIGEST},,"))
    services.import_api_keys(actor=policy.system(cast.account.ref), rows=rows)
    other = imports.read(csv_of(f"b,read,{'0' * 64},,", f"a,read,{DIGEST},,"))
    with pytest.raises(Invalid) as refused:
        services.import_api_keys(actor=policy.system(cast.elsewhere.ref), rows=other)
    assert list(refused.value.errors or {}) == ["line 3"]
    assert APIKey.objects.count() == 1


def owner_of(account: Account) -> Actor:
    membership = account.memberships.get(role=Role.OWNER.value)
    return Actor(
        ActorKind.PERSON, str(membership.user_id), "o@example.com", account.ref, GRANTS[Role.OWNER], Role.OWNER
    )


def test_a_digest_reveals_nothing_about_other_accounts(cast: Cast, caplog: pytest.LogCaptureFixture) -> None:
    rows = imports.read(csv_of(f"a,read,{DIGEST},,"))
    services.import_api_keys(actor=owner_of(cast.account), rows=rows)
    elsewhere = services.import_api_keys(actor=owner_of(cast.elsewhere), rows=rows)[0]
    assert (elsewhere.account, elsewhere.name, elsewhere.mask) == (cast.elsewhere, "a", f"sha256:{DIGEST[:8]}…")
    assert f"The imported key {elsewhere.pk} will not work" in caplog.text
    with pytest.raises(Invalid) as again:
        services.import_api_keys(actor=owner_of(cast.elsewhere), rows=rows)
    assert again.value.errors == {"line 2": ["This account already has this key."]}


def test_owner_and_admins_get_mail_about_imported_keys_as_about_created_ones(cast: Cast) -> None:
    rows = imports.read(csv_of(f"a,read,{DIGEST},,", f"b,read,{'0' * 64},,"))
    services.import_api_keys(actor=owner_of(cast.account), rows=rows)
    notices.mail_pending()
    mails = OutgoingMail.objects.filter(subject__endswith="2 API keys were created")
    assert mails.count() == 2


def test_a_key_stays_with_the_account_that_had_it_first(cast: Cast) -> None:
    rows = imports.read(csv_of(f"a,read,{DIGEST},,"))
    services.import_api_keys(actor=owner_of(cast.account), rows=rows)
    second = services.import_api_keys(actor=owner_of(cast.elsewhere), rows=rows)[0]
    assert Program(SECRET).get("/v2").json()["account"]["slug"] == "acme"
    services.revoke_api_key(actor=owner_of(cast.elsewhere), api_key=second)
    assert Program(SECRET).get("/v2").status_code == 200
    for account in (cast.account, cast.elsewhere):  # the text that was hashed is not a key
        for text in (f"\0{account.pk}\0{DIGEST}", f"{account.pk}{DIGEST}", second.digest):
            assert Program().get("/v2", {"api_key": text}).status_code == 401


def test_a_file_that_is_sent_twice_at_once_is_imported_once(cast: Cast) -> None:
    actor, rows = policy.system(cast.account.ref), imports.read(csv_of(f"b,read,{'0' * 64},,", f"a,read,{DIGEST},,"))
    services.import_api_keys(actor=actor, rows=rows[1:])
    with (
        mock.patch("apikeys.services.imports._known_keys", return_value=_Known((), {})),
        pytest.raises(Invalid, match="same time"),
    ):
        services.import_api_keys(actor=actor, rows=rows)
    assert APIKey.objects.count() == 1


def test_what_another_account_imports_at_the_same_moment_is_not_revealed(cast: Cast) -> None:
    rows = imports.read(csv_of(f"b,read,{'f' * 64},,", f"a,read,{DIGEST},,"))
    services.import_api_keys(actor=owner_of(cast.account), rows=rows[1:])
    before_that = _Known((), {})
    with mock.patch("apikeys.services.imports._known_keys", side_effect=[before_that, DEFAULT], wraps=_known_keys):
        imported = services.import_api_keys(actor=owner_of(cast.elsewhere), rows=rows)
    assert [api_key.name for api_key in imported] == ["b", "a"]
    assert imported[1].digest != DIGEST
    assert Program(SECRET).get("/v2").json()["account"]["slug"] == "acme"


def test_two_imports_of_the_same_keys_insert_them_in_the_same_order(cast: Cast) -> None:
    rows = imports.read(csv_of(*(f"{end},read,{end * 64},," for end in "bca")))
    with mock.patch.object(APIKey.objects, "bulk_create", side_effect=APIKey.objects.bulk_create) as insert:
        services.import_api_keys(actor=owner_of(cast.account), rows=rows)
    assert [api_key.name for api_key in insert.call_args.args[0]] == ["a", "b", "c"]


def test_many_keys_are_imported_with_few_statements(
    cast: Cast, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    lines = [f"key {number},read,{hashlib.sha256(bytes([number])).hexdigest()},," for number in range(100)]
    rows = imports.read(csv_of(*lines))

    # Which digests are known, the account's maximum lifetime, the keys and their events in a batch or two, savepoints.
    with django_assert_max_num_queries(15):
        services.import_api_keys(actor=policy.system(cast.account.ref), rows=rows)
    event = AuditEvent.objects.filter(event="api_key.imported").latest("at")
    assert (event.target_label, event.changes) == ("key 99", {"permission": [None, "read"]})


def test_the_accounts_key_lifetime_applies_to_imported_keys_too_and_the_line_is_reported(cast: Cast) -> None:
    actor = policy.system(cast.account.ref)
    change_account(actor=actor, max_key_lifetime_days=30)
    with pytest.raises(Invalid) as refused:
        services.import_api_keys(actor=actor, rows=imports.read(csv_of("", f"a,read,{DIGEST},,")))
    assert list(refused.value.errors or {}) == ["line 3"]


def test_the_command_imports_a_file(cast: Cast, tmp_path: Path) -> None:
    file, out = tmp_path / "keys.csv", io.StringIO()
    file.write_text(csv_of(f"a,read,{DIGEST},,"))
    call_command("import_api_keys", str(file), "--account", "acme", stdout=out)
    assert out.getvalue() == "1 API key imported\n"
    with pytest.raises(CommandError, match="line 2: This account already has this key"):
        call_command("import_api_keys", str(file), "--account", "acme")
    with pytest.raises(CommandError, match="Unknown account “nowhere”"):
        call_command("import_api_keys", str(file), "--account", "nowhere")
    with pytest.raises(CommandError, match="Can't read the file"):
        call_command("import_api_keys", str(tmp_path / "none.csv"), "--account", "acme")
