"""The page that imports keys of another system."""

import hashlib
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from apikeys.models import APIKey
from tests.conftest import Browser, Cast, Program

from .pages import page, read, words

SECRET = "legacy-key-0123456789abcdef"
LINES = f"name,permission,digest,mask,expiry\nNightly,read,{hashlib.sha256(SECRET.encode()).hexdigest()},old_…cdef,\n"


@pytest.mark.parametrize("sent", [{"text": LINES}, {"file": SimpleUploadedFile("keys.csv", LINES.encode())}])
def test_an_imported_key_works_with_the_api(sent: dict[str, Any], cast: Cast, owner: Browser) -> None:
    if "file" in sent:
        sent["file"].seek(0)
    response = owner.post(page(cast, "import_keys"), sent, follow=True)

    assert "1 API key imported" in words(response.content.decode())
    assert Program(SECRET).get("/v2").json()["api_key"]["name"] == "Nightly"


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ({}, "Choose a file or paste its lines, not both."),
        ({"text": LINES, "file": LINES.encode()}, "Choose a file or paste its lines, not both."),
        ({"text": "a,b\n1,2\n"}, "The first line must name the columns"),
        ({"text": LINES + "Other,admin,xyz,,\n"}, "Line 3: Permission must be one of read, write, read_write."),
        ({"file": b"\xff\xfe"}, "The file is not UTF-8 text."),
        ({"file": b""}, "The submitted file is empty."),
    ],
)
def test_an_invalid_file_is_reported_by_line(sent: dict[str, Any], sentence: str, cast: Cast, owner: Browser) -> None:
    if "file" in sent:
        sent = {**sent, "file": SimpleUploadedFile("keys.csv", sent["file"])}
    response = owner.post(page(cast, "import_keys"), sent)

    assert response.status_code == 422
    assert sentence in words(response.content.decode())
    assert not APIKey.objects.exists()


def test_an_empty_file_gets_one_error(cast: Cast, owner: Browser) -> None:
    response = owner.post(page(cast, "import_keys"), {"file": SimpleUploadedFile("keys.csv", b"")})
    assert response.context["form"].errors == {"file": ["The submitted file is empty."]}


def test_a_digest_that_exists_already_is_reported_by_line(cast: Cast, owner: Browser) -> None:
    owner.post(page(cast, "import_keys"), {"text": LINES})
    response = owner.post(page(cast, "import_keys"), {"text": LINES})

    assert response.status_code == 422
    assert "Line 2: This account already has this key." in words(response.content.decode())


def test_the_number_of_reported_lines_is_limited(cast: Cast, owner: Browser) -> None:
    text = words(owner.post(page(cast, "import_keys"), {"text": LINES + "x,y,z,,\n" * 100}).content.decode())

    assert text.count("Digest must be a SHA-256") == 20
    assert "And 80 more lines." in text


def test_the_answer_is_the_same_whether_or_not_another_account_has_the_key(cast: Cast, owner: Browser) -> None:
    there = owner.post(page(cast, "import_keys"), {"text": LINES}, follow=True)
    strangers = Browser().as_(cast.stranger)
    address = reverse("apikeys:import_keys", args=[cast.elsewhere.slug])
    answer = strangers.post(address, {"text": LINES}, follow=True)

    assert [one.redirect_chain[0][1] for one in (there, answer)] == [302, 302]
    done = "1 API key imported. Send GET /v2 with each key to see which account it belongs to."
    for one in (there, answer):
        text = words(one.content.decode())
        assert done in text
        assert "Nightly" in text
        assert "Never used" in text
    assert Program(SECRET).get("/v2").json()["account"]["slug"] == "acme"


def test_admins_can_open_the_import_page_and_users_can_not(cast: Cast, owner: Browser) -> None:
    admin, user = Browser().as_(cast.admin), Browser().as_(cast.user)

    for browser in (owner, admin):
        assert "Import them" in read(browser, page(cast, "keys"))
        assert browser.get(page(cast, "import_keys")).status_code == 200
    assert "This item is for administrators only." in read(user, page(cast, "import_keys"))


def test_the_page_says_where_a_key_with_a_comma_works(cast: Cast, owner: Browser) -> None:
    content = words(owner.get(page(cast, "import_keys")).content.decode())
    assert "A key with a comma works only in the query string and the body" in content
