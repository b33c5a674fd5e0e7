"""What `/v2/openapi.json` can't describe, but requests depend on: the time, other items, and earlier requests."""

import os
import re
from datetime import UTC, datetime
from itertools import count
from typing import Any

import schemathesis

#: The key that schemathesis sends.
OWN_KEY_ID = os.environ["FUZZ_KEY_ID"]
_OTHER_KEY_ID = "key_0000000000000000"

#: Messages of a 400 that a valid request may get, because it depends on other items.
BY_STATE = [
    r"This key was already rotated",
    r"is already (invited|a member)",
    r"Unknown service: ",
    r"Keys of this account expire on",
    r"This is not a cursor",
    r"” is ambig",  # a letter that becomes another one when it is normalized; long messages are truncated
    r"List \w+ once, with all of its paths",
    r"Another project of this account has this id",
    r"This contains an API key",
    r"An account has one Owner",
    r"If-Match is malformed",  # the pattern forbids it, but schemathesis sends 0 beside an empty If-None-Match
    r"Send this as JSON, such as null or \[\]|NaN is not valid JSON",  # it ignores `contentMediaType` in a form
    # The server removes the spaces around a text. No pattern describes them alike in all languages.
    r"This field may not be blank",
    r"Null characters are not allowed",
    r"These fields are invalid: Errors\.",  # schemathesis adds this field to a form, from an earlier response
]

#: Fields that are true or false.
BOOLEANS = {
    *("administrator", "disabled", "accepts_query", "accepts_body", "revoke_exposed_keys"),
    *("preflight", "query_keys", "dry_run"),
}

_number = count()


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    _spare_own_key(case)
    if _is_positive(case, "header") and "Idempotency-Key" in (case.headers or {}):
        # An Idempotency-Key that was sent before with another request is a 422.
        case.headers["Idempotency-Key"] = f"{case.headers['Idempotency-Key'].strip(chr(34))[:200]}-{next(_number)}"
    if _is_positive(case, "body") and isinstance(case.body, dict) and isinstance(case.body.get("expires_at"), str):
        case.body["expires_at"] = _in_future(case.body["expires_at"])


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Whether a failure counts."""
    sentence = response.text
    if type(failure).__name__ == "RejectedPositiveData":
        if case.media_type == "multipart/form-data" and _is_long(case.body):
            return False
        return not any(re.search(pattern, sentence) for pattern in BY_STATE)
    if type(failure).__name__ == "AcceptedNegativeData":
        # DRF reads 0, 1 and words such as "yes" as booleans.
        is_boolean = re.search(r"- (\w+): Incorrect type", failure.message)
        if is_boolean and is_boolean[1] in BOOLEANS:
            return False
        return not (_is_only_text(case, failure.message) or _is_trimmed(case.body))
    return True


def _is_long(value: Any) -> bool:
    """Whether the body has a list with more items than a multipart body may have parts (`form_limits`)."""
    return isinstance(value, dict) and any(isinstance(each, list) and len(each) > 190 for each in value.values())


def _is_only_text(case: Any, message: str) -> bool:
    """Whether a form is wrong only by a type, so that the sent form is valid.

    All fields of a form are texts, and a form is always an object. For a list, one text means the same as a list with
    that text, and empty texts are left out.
    """
    if case.media_type in (None, "application/json"):
        return False
    if not isinstance(case.body, dict) or re.search("Incorrect type|violates `type`", message):
        return True
    missing = re.search(r"Missing required property: (\w+)", message)
    return bool(missing and missing[1] in case.body) or ("minLength" in message and "/items" in message)


def _is_trimmed(value: Any) -> bool:
    """Whether a text is too long only because of the spaces around it, which the server removes."""
    if isinstance(value, dict | list):
        return any(map(_is_trimmed, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str) and value != value.strip()


def _is_positive(case: Any, location: str) -> bool:
    components = case.meta.components if case.meta else {}
    return all(component.mode.is_positive for where, component in components.items() if where.value == location)


def _spare_own_key(case: Any) -> None:
    """Don't change, rotate or revoke the key that schemathesis sends, because all later requests would get 401."""
    if case.method != "GET" and (case.path_parameters or {}).get("key_id") == OWN_KEY_ID:
        case.path_parameters["key_id"] = _OTHER_KEY_ID
    if isinstance(case.body, dict) and isinstance(ids := case.body.get("ids"), list):
        case.body["ids"] = [_OTHER_KEY_ID if id == OWN_KEY_ID else id for id in ids]


def _in_future(text: str) -> str:
    """The time, moved to a year in which a key may expire. Other texts are returned unchanged."""
    try:
        year = datetime.fromisoformat(text).year
    except ValueError:
        return text
    soon = datetime.now(UTC).year + 1
    return text if soon <= year < soon + 90 else f"{soon + 8 - soon % 4}{text[4:]}"  # a leap year, for 29 February
