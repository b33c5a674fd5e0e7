"""`POST /v2/leaked-keys`: reports of leaked keys, by anybody and by GitHub's secret scanning."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.core.management import call_command
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.models import AuditEvent
from accounts.policy import KeyPermission
from apikeys import tokens
from apikeys.models import APIKey
from apikeys.rates import Rate
from apikeys.services import Issued
from atatus_dash import secret_scanning
from tests import factories
from tests.conftest import Browser, Cast, Program
from tests.mail import delivered

pytestmark = pytest.mark.django_db

PATH = "/v2/leaked-keys"
URL = "https://github.com/octocat/Hello-World/blob/12345600b9cbe38a219f39a9941c9319b600c002/foo/bar.txt"
CURRENT, UNKNOWN = "f9525bf080f75b35", "bcb53661c06b4728"


@pytest.fixture
def issued(cast: Cast) -> Issued:
    return factories.make_key(cast.account, name="Status page", permission=KeyPermission.READ)


def pem(key: Any) -> str:
    return str(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def published(**keys: str) -> str:
    """Public keys as GitHub publishes them."""
    entries = [{"key_identifier": name, "key": key, "is_current": True} for name, key in keys.items()]
    return json.dumps({"public_keys": entries})


class GitHub:
    """Sends signed reports."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.program = Program()

    def signature(self, body: bytes) -> str:
        return b64encode(self.key.sign(body, ec.ECDSA(hashes.SHA256()))).decode()

    def post(self, body: bytes, **changed: Any) -> Any:
        """The response to a body, signed unless `signature` says otherwise. None leaves a header out."""
        sent = {"identifier": CURRENT, "signature": self.signature(body), **changed}
        headers = {f"Github-Public-Key-{name.title()}": value for name, value in sent.items() if value is not None}
        return self.program.post(PATH, body, content_type="application/json", headers=headers)

    def report(self, *found: dict[str, object], **changed: Any) -> Any:
        return self.post(json.dumps(found).encode(), **changed)


@pytest.fixture
def github(settings: Settings) -> GitHub:
    """GitHub, whose public key is set."""
    github = GitHub()
    settings.GITHUB_SECRET_SCANNING_KEYS = secret_scanning.parse_public_keys(published(**{CURRENT: pem(github.key)}))
    return github


def found(secret: str, url: object = URL, source: object = "content") -> dict[str, object]:
    return {"token": secret, "type": "atatus_dash_api_key", "url": url, "source": source}


def reported(issued: Issued) -> AuditEvent:
    return AuditEvent.objects.get(event="api_key.reported", target_id=issued.api_key.id)


def is_revoked(issued: Issued) -> bool:
    return APIKey.objects.get(pk=issued.api_key.pk).revoked_at is not None


# By anybody -------------------------------------------------------------------------------------


def test_anyone_who_has_a_key_can_revoke_it(issued: Issued) -> None:
    known = Program().send("post", PATH, {"credentials": [issued.secret, "nonsense"]})
    unknown = Program().send("post", PATH, {"credentials": [tokens.generate()]})
    assert known.status_code == unknown.status_code == 202
    assert known.content == unknown.content
    assert Program(issued.secret).get("/v2").json() == {"Message": "API key has been revoked!"}
    events = AuditEvent.objects.filter(target_id=issued.api_key.id, actor_label="Leak report").order_by("at")
    assert [event.event for event in events] == ["api_key.reported", "api_key.revoked"]
    assert {event.address for event in events} == {"127.0.0.1"}


@pytest.mark.parametrize(
    "fields", [{"disabled_at": timezone.now()}, {"expires_at": timezone.now() + timedelta(days=1)}]
)
def test_a_leaked_key_in_any_state_is_revoked_once(cast: Cast, fields: dict[str, Any]) -> None:
    issued = factories.make_key(cast.account, **fields)
    for _ in range(2):
        Program().send("post", PATH, {"credentials": [issued.secret, issued.secret]})
    assert AuditEvent.objects.filter(event="api_key.reported").count() == 1
    issued.api_key.refresh_from_db()
    assert issued.api_key.state == "revoked"


@pytest.mark.parametrize("credentials", [None, [], "atk_x", ["x"] * 1001, [5, {}], [["x"]]])
def test_a_report_has_one_to_a_thousand_credentials(db: None, credentials: object) -> None:
    response = Program().send("post", PATH, {"credentials": credentials})
    assert (response.status_code, list(response.json()["Errors"])) == (400, ["credentials"])


def test_reports_are_limited_by_address(db: None, settings: Settings) -> None:
    settings.FAILED_AUTH_LIMIT = Rate(2, 60)
    answers = [Program().send("post", PATH, {"credentials": ["x"]}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert int(answers[-1]["Retry-After"]) >= 1


# By GitHub --------------------------------------------------------------------------------------


def test_a_signed_report_revokes_the_key_and_records_where_it_was_found(github: GitHub, issued: Issued) -> None:
    response = github.report(found(issued.secret), found(tokens.generate()))
    assert response.status_code == 202
    assert Program(issued.secret).get("/v2").json() == {"Message": "API key has been revoked!"}
    event = reported(issued)
    assert (event.actor_kind, event.actor_label) == ("system", "GitHub secret scanning")
    assert event.changes == {"found_in": [None, [URL]], "source": [None, ["content"]]}
    assert AuditEvent.objects.get(event="api_key.revoked").actor_label == "GitHub secret scanning"


def test_the_answer_is_the_same_whether_keys_exist(github: GitHub, issued: Issued) -> None:
    known, unknown = github.report(found(issued.secret)), github.report(found(tokens.generate()))
    again = github.report(found(issued.secret))
    anybody = Program().send("post", PATH, {"credentials": [issued.secret]})
    answers = [known, unknown, again, anybody]
    assert {(answer.status_code, answer.content) for answer in answers} == {(202, known.content)}


def test_github_published_example_verifies(settings: Settings, db: None) -> None:
    """The request and the key from GitHub's documentation of the partner program."""
    identifier = "f9525bf080f75b3506ca1ead061add62b8633a346606dc5fe544e29231c6ee0d"
    key = (
        "-----BEGIN PUBLIC KEY-----\n"
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEsz9ugWDj5jK5ELBK42ynytbo38gP\n"
        "HzZFI03Exwz8Lh/tCfL3YxwMdLjB+bMznsanlhK0RwcGP3IDb34kQDIo3Q==\n"
        "-----END PUBLIC KEY-----\n"
    )
    signature = "MEUCIFLZzeK++IhS+y276SRk2Pe5LfDrfvTXu6iwKKcFGCrvAiEAhHN2kDOhy2I6eGkOFmxNkOJ+L2y8oQ9A2T9GGJo6WJY="
    body = b'[{"token":"some_token","type":"some_type","url":"some_url","source":"some_source"}]'
    settings.GITHUB_SECRET_SCANNING_KEYS = secret_scanning.parse_public_keys(published(**{identifier: key}))
    assert GitHub().post(body, identifier=identifier, signature=signature).status_code == 202
    assert GitHub().post(body + b" ", identifier=identifier, signature=signature).status_code == 401


def test_the_bytes_are_verified_as_they_were_sent(github: GitHub, issued: Issued) -> None:
    body = b'\n[ {"source" :"commit",  "token":"%s", "url":"\\u0068ttps://github.com/a", "new": {}} ]\n'
    assert github.post(body % issued.secret.encode()).status_code == 202
    assert reported(issued).changes == {"found_in": [None, ["https://github.com/a"]], "source": [None, ["commit"]]}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"identifier": None, "signature": None}, 'A list needs the signature of GitHub. Without one, send {"cred'),
        ({"identifier": None}, "The public key of the signature is unknown."),
        ({"identifier": UNKNOWN}, "The public key of the signature is unknown."),
        ({"signature": None}, "The signature is invalid."),
        ({"signature": ""}, "The signature is invalid."),
        ({"signature": "é"}, "The signature is invalid."),
        ({"signature": "nonsense"}, "The signature is invalid."),
        ({"signature": "bm9uc2Vuc2U="}, "The signature is invalid."),
        ({"signature": "MAYCAQACAQA="}, "The signature is invalid."),  # r = s = 0 (CVE-2022-21449)
    ],
)
def test_a_list_without_a_valid_signature_is_a_401_and_revokes_nothing(
    github: GitHub, issued: Issued, changed: dict[str, str | None], message: str
) -> None:
    response = github.report(found(issued.secret), **changed)
    assert response.status_code == 401
    assert response.json()["Message"].startswith(message)
    assert response["WWW-Authenticate"] == 'Bearer realm="atatus"'
    assert not is_revoked(issued)


def test_the_log_names_the_setting_if_github_signs_with_a_new_key(
    github: GitHub, caplog: pytest.LogCaptureFixture
) -> None:
    github.report(found("x"), signature="nonsense")
    assert "GITHUB_SECRET_SCANNING_KEYS" not in caplog.text
    github.report(found("x"), identifier=UNKNOWN)
    assert "GITHUB_SECRET_SCANNING_KEYS" in caplog.text


def other_hash(github: GitHub, body: bytes) -> bytes:
    return github.key.sign(body, ec.ECDSA(hashes.SHA512()))


def other_key(github: GitHub, body: bytes) -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).sign(body, ec.ECDSA(hashes.SHA256()))


def other_curve(github: GitHub, body: bytes) -> bytes:
    return ec.generate_private_key(ec.SECP384R1()).sign(body, ec.ECDSA(hashes.SHA256()))


def trailing_bytes(github: GitHub, body: bytes) -> bytes:
    return b64decode(github.signature(body)) + b"\0"


def of_another_body(github: GitHub, body: bytes) -> bytes:
    return b64decode(github.signature(body + b"\n"))


@pytest.mark.parametrize("sign", [other_hash, other_key, other_curve, trailing_bytes, of_another_body])
def test_another_signature_is_a_401(github: GitHub, issued: Issued, sign: Callable[[GitHub, bytes], bytes]) -> None:
    body = json.dumps([found(issued.secret)]).encode()
    assert github.post(body, signature=b64encode(sign(github, body)).decode()).status_code == 401
    assert not is_revoked(issued)


def test_a_wrong_signature_is_refused_for_every_body_before_it_is_parsed(github: GitHub, issued: Issued) -> None:
    body = json.dumps({"credentials": [issued.secret]}).encode()
    assert github.post(body, signature="nonsense").status_code == 401
    assert github.post(b"{", signature="nonsense").status_code == 401
    headers = {"Github-Public-Key-Identifier": CURRENT, "Github-Public-Key-Signature": "nonsense"}
    assert Program().post(PATH, {"credentials": issued.secret}, headers=headers).status_code == 401
    assert not is_revoked(issued)
    assert github.post(body).status_code == 202
    assert is_revoked(issued)


def test_a_refused_signature_is_a_problem_of_rfc_9457_for_who_asks(github: GitHub) -> None:
    github.program.defaults["HTTP_ACCEPT"] = "application/problem+json"
    response = github.report(found("x"), signature="nonsense")
    assert (response.status_code, response["Content-Type"]) == (401, "application/problem+json")
    assert response.json()["detail"] == "The signature is invalid."


def test_anybody_may_still_report_keys_without_a_signature(github: GitHub, issued: Issued) -> None:
    assert Program().post(PATH, {"credentials": issued.secret}).status_code == 202
    assert is_revoked(issued)
    assert reported(issued).changes == {}


def test_without_public_keys_the_keys_of_a_list_are_revoked_and_its_urls_dropped(issued: Issued) -> None:
    response = GitHub().report(found(issued.secret), signature="nonsense")
    assert response.status_code == 202
    assert is_revoked(issued)
    event = reported(issued)
    assert (event.actor_label, event.changes) == ("Leak report", {})
    call_command("send_notices", verbosity=0)
    assert not [message for message in delivered() if "github.com" in message.message().as_string()]


def test_a_replayed_report_changes_nothing(
    github: GitHub, issued: Issued, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    body = json.dumps([found(issued.secret)]).encode()
    signature = github.signature(body)
    assert github.post(body, signature=signature).status_code == 202
    for _ in range(2):
        with django_assert_num_queries(1):  # the keys with this digest that are not revoked
            assert github.post(body, signature=signature).status_code == 202
    assert AuditEvent.objects.filter(event="api_key.reported").count() == 1


def test_signed_reports_have_no_limit_and_wrong_signatures_have_that_of_reports(
    github: GitHub, settings: Settings
) -> None:
    settings.FAILED_AUTH_LIMIT = Rate(2, 60)
    assert [github.report(found("x")).status_code for _ in range(4)] == [202] * 4
    assert [github.report(found("x"), signature="x").status_code for _ in range(3)] == [401, 401, 429]
    assert Program().send("post", PATH, {"credentials": ["x"]}).status_code == 429
    assert github.report(found("x")).status_code == 202


def test_a_thousand_found_keys_are_one_query(
    github: GitHub, issued: Issued, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    others = [found(tokens.generate(), f"{URL}#{number}") for number in range(999)]
    with django_assert_num_queries(1):  # the keys with these digests
        assert github.report(*others).status_code == 202
    assert github.report(*others, found(issued.secret)).status_code == 202
    assert is_revoked(issued)


@pytest.mark.parametrize(
    ("items", "fields"),
    [
        ([], ["non_field_errors"]),
        ([found("x")] * 1001, ["non_field_errors"]),
        ([found("x"), {"url": URL}, 5, {"token": ["x"]}, found("")], ["1", "2", "3", "4"]),
        ([{"token": 5.5e300}, found("x" * 1001)], ["1"]),
        (["atk_x"] * 1000, [str(number) for number in range(20)]),
    ],
)
def test_an_invalid_item_is_named_by_its_number(github: GitHub, items: list[Any], fields: list[str]) -> None:
    response = github.report(*items)
    assert (response.status_code, list(response.json()["Errors"])) == (400, fields)
    assert len(response.content) < 5000


@pytest.mark.parametrize("body", [b"[", b"[" * 100_000, b'[{"token": "a", "token": "b"}]', b"\xff"])
def test_a_signed_body_is_parsed_like_any_other(github: GitHub, body: bytes) -> None:
    assert github.post(body).status_code == 400


@pytest.mark.parametrize("body", [b'"atk_x"', b"5", b"null"])
def test_a_body_that_is_neither_list_nor_object_is_refused_as_before(github: GitHub, body: bytes) -> None:
    for response in (github.post(body), Program().post(PATH, body, content_type="application/json")):
        assert (response.status_code, list(response.json()["Errors"])) == (400, ["non_field_errors"])


def test_a_signed_body_of_more_than_a_mebibyte_is_a_413(github: GitHub) -> None:
    assert github.post(b"[" + b" " * 1024 * 1024 + b"]").status_code == 413


# Where it was found -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        *("", None, 5, [URL], {"a": URL}, "some_url", "javascript:alert(1)", "ftp://example.com/a", "//example.com/a"),
        *("https://", "https:///a", "https://[::1/a", "http://[not an address]/", "https://github.com@evil.example/"),
        *("https://a:b@evil.example/", "https://a" * 300, "https://github.com/" + "ä" * 400, "\nhttps:github.com"),
        f"{URL}\ud800",
    ],
)
def test_a_url_that_is_none_is_dropped_and_the_key_revoked(github: GitHub, issued: Issued, url: object) -> None:
    assert github.report(found(issued.secret, url)).status_code == 202
    assert is_revoked(issued)
    assert reported(issued).changes == {"source": [None, ["content"]]}


@pytest.mark.parametrize(
    ("added", "shown"),
    [
        ("\nSubject: x", "%0ASubject:%20x"),
        (" and more", "%20and%20more"),
        ("<b>", "%3Cb%3E"),
        ('"', "%22"),
        ("\\", "%5C"),
        ("\x00", "%00"),
        ("\u202egnp.exe\n", "%E2%80%AEgnp.exe"),
        ("%0a?a=[1]#b", "%0a?a=[1]#b"),
    ],
)
def test_a_url_is_percent_encoded(github: GitHub, issued: Issued, added: str, shown: str) -> None:
    github.report(found(issued.secret, URL + added))
    assert reported(issued).changes["found_in"] == [None, [URL + shown]]


@pytest.mark.parametrize("source", ["", None, 5, ["commit"], "Pull Request", "x" * 51, "<b>", "commit\n"])
def test_a_source_that_is_no_name_is_dropped(github: GitHub, issued: Issued, source: object) -> None:
    assert github.report(found(issued.secret, source=source)).status_code == 202
    assert reported(issued).changes == {"found_in": [None, [URL]]}


def test_a_url_is_kept_in_ascii_and_the_keys_in_it_are_masked(
    github: GitHub, issued: Issued, caplog: pytest.LogCaptureFixture
) -> None:
    github.report(found(issued.secret, f"https://github.com/Ä/\u202e?q={issued.secret}#L5"))
    [url] = reported(issued).changes["found_in"][1]
    assert url == f"https://github.com/%C3%84/%E2%80%AE?q={issued.api_key.mask}#L5"
    assert issued.secret not in caplog.text
    assert "masked" not in caplog.text  # before the last layer, which would log a warning


def test_ten_places_of_a_key_are_recorded(github: GitHub, issued: Issued) -> None:
    places = [found(issued.secret, f"{URL}#L{number}", "commit") for number in (1, 1, *range(2, 15))]
    github.report(*places)
    assert reported(issued).changes == {
        "found_in": [None, [f"{URL}#L{number}" for number in range(1, 11)]],
        "source": [None, ["commit"]],
    }


def test_the_log_and_the_keys_page_show_where_it_was_found_as_text(
    github: GitHub, issued: Issued, cast: Cast, browser: Browser
) -> None:
    github.report(found(issued.secret, f"{URL}?a=1&b='2'", "pull_request_comment"))
    html = browser.as_(cast.owner).get("/accounts/acme/settings/audit-log/").content.decode()
    assert f"Found in:</span> {URL}?a=1&amp;b=&#x27;2&#x27;" in html
    assert "pull_request_comment" in html
    assert f'href="{URL}' not in html


def test_the_mail_says_where_it_was_found_and_has_no_link_there(
    github: GitHub, issued: Issued, cast: Cast, settings: Settings
) -> None:
    settings.PUBLIC_URL = "https://keys.example.com"
    github.report(found(issued.secret, f"{URL}?a&b"))
    call_command("send_notices", verbosity=0)
    message = next(message for message in delivered() if "leaked" in message.subject)
    assert f"\nFound in: {URL}?a&b\n" in message.body
    html = message.alternatives[0][0]
    assert f"Found in: {URL}?a&amp;b" in html
    assert html.count("<a ") == 1  # the key's page
    assert issued.secret not in message.message().as_string()


def test_a_mail_about_several_reported_keys_says_where_each_was_found(github: GitHub, cast: Cast) -> None:
    keys = [factories.make_key(cast.account, name=f"Key {number}") for number in range(3)]
    github.report(
        *[found(key.secret, f"{URL}#L{number}") for number, key in enumerate(keys[:2])], found(keys[2].secret, "")
    )
    call_command("send_notices", verbosity=0)
    message = next(message for message in delivered() if "leaked" in message.subject)
    assert message.subject == "Acme: 3 API keys were reported as leaked"
    for number, key in enumerate(keys[:2]):
        assert f"Key {number} ({key.api_key.mask})\nFound in: {URL}#L{number}\n" in message.body
    assert message.body.count("Found in") == 2


# The setting ------------------------------------------------------------------------------------


def test_several_public_keys_are_accepted_current_or_not(settings: Settings, db: None) -> None:
    old, new = GitHub(), GitHub()
    text = published(old=pem(old.key), new=pem(new.key)).replace("true", "false", 1)
    settings.GITHUB_SECRET_SCANNING_KEYS = secret_scanning.parse_public_keys(text)
    assert old.report(found("x"), identifier="old").status_code == 202
    assert new.report(found("x"), identifier="new").status_code == 202
    assert new.report(found("x"), identifier="old").status_code == 401


def rsa() -> str:
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

    return pem(generate_private_key(65537, 2048))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "5",
        "{}",
        '{"public_keys": []}',
        '{"public_keys": 5}',
        '{"public_keys": [5]}',
        '{"public_keys": [{"key_identifier": "a"}]}',
        '{"public_keys": [{"key_identifier": "a", "key": null}]}',
        published(a="nonsense"),
        published(a="-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"),
        # Every process creates its own keys, but has to give the tests the same names.
        pytest.param(published(a=pem(ec.generate_private_key(ec.SECP384R1()))), id="another curve"),
        pytest.param(published(a=rsa()), id="RSA"),
        pytest.param('{"public_keys": [%s, %s]}' % ((published(a=pem(GitHub().key))[17:-2],) * 2), id="the same twice"),
    ],
)
def test_public_keys_in_another_form_are_refused(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        secret_scanning.parse_public_keys(text)
