"""What `/v2/openapi.json` can't describe, but requests depend on: the time, other items, and earlier requests."""

import os
import re
from datetime import UTC, datetime
from itertools import count
from typing import Any

import schemathesis

#: The key that schemathesis sends.
OWN_KEY_ID = os.environ["FUZZ_KEY_ID"]
#: The key that is changed. It is never revoked, so that every valid change of it is accepted.
CHANGED_KEY_ID = os.environ["FUZZ_CHANGED_KEY_ID"]
_UNKNOWN_KEY_ID = "key_0000000000000000"

#: Messages of a 400 that a valid request may get, because it depends on other items.
BY_STATE = [
    r"This key was already rotated",
    r"is already (invited|a member)",
    r"Unknown service: ",
    r"Keys of this account expire on",
    r"List \w+ once, with all of its paths",
    r"Another project of this account has this id",
    r"This contains an API key",
    r"An account has one Owner",
    # schemathesis sends an object of a list as the names of its fields in an urlencoded form. It means JSON (OpenAPI).
    r"Send this as JSON, such as null or \[\]",
]

_number = count()


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    _spare_keys(case)
    if _is_positive(case, "header") and "Idempotency-Key" in (case.headers or {}):
        # An Idempotency-Key that was sent before with another request is a 422.
        case.headers["Idempotency-Key"] = f"{case.headers['Idempotency-Key'].strip(chr(34))[:200]}-{next(_number)}"
    if _is_positive(case, "body") and isinstance(case.body, dict) and isinstance(case.body.get("expires_at"), str):
        case.body["expires_at"] = _in_future(case.body["expires_at"])


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Whether a failure counts."""
    if type(failure).__name__ == "RejectedPositiveData":
        return not any(re.search(pattern, response.text) for pattern in BY_STATE)
    return True


def _is_positive(case: Any, location: str) -> bool:
    components = case.meta.components if case.meta else {}
    return all(component.mode.is_positive for where, component in components.items() if where.value == location)


def _spare_keys(case: Any) -> None:
    """Don't change, rotate or revoke the key that schemathesis sends, because all later requests would get 401."""
    kept = (OWN_KEY_ID, CHANGED_KEY_ID)
    if case.method == "PATCH" and "key_id" in (case.path_parameters or {}) and _is_positive(case, "path"):
        case.path_parameters["key_id"] = CHANGED_KEY_ID
    elif case.method != "GET" and (case.path_parameters or {}).get("key_id") in kept:
        case.path_parameters["key_id"] = _UNKNOWN_KEY_ID
    if isinstance(case.body, dict) and isinstance(ids := case.body.get("ids"), list):
        case.body["ids"] = [_UNKNOWN_KEY_ID if id in kept else id for id in ids]


def _in_future(text: str) -> str:
    """The time, moved to a year in which a key may expire. Other texts are returned unchanged."""
    try:
        year = datetime.fromisoformat(text).year
    except ValueError:
        return text
    soon = datetime.now(UTC).year + 1
    return text if soon <= year < soon + 90 else f"{soon + 8 - soon % 4}{text[4:]}"  # a leap year, for 29 February
