"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): reads it, and repeats the first answer.

`apikeys.idempotency` makes sure that the request has one effect. Only answers are stored: an error has no effect, so a
retry runs again.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.errors import Invalid
from apikeys.credentials import FIELD
from apikeys.idempotency import Answer, Attempt, only_one, store, stored

from .renderers import JSONRenderer

#: The header's name in `META`.
HEADER = "HTTP_IDEMPOTENCY_KEY"
#: The header that marks a repeated answer, as in Stripe's API. The draft has none.
REPLAYED = "Idempotent-Replayed"

#: A string of RFC 9651 §3.3.3, with its content. It may contain spaces, but an `Idempotency-Key` may not.
_QUOTED = re.compile(r'"((?:[!#-\[\]-~]|\\["\\])*)"')
_VALUE = re.compile("[!-~]{1,255}")


def attempt(request: Request, api_key_id: str, fields: Any) -> Attempt:
    """The request with its `Idempotency-Key`. `fields` are those of its body. Raises `Invalid`."""
    if isinstance(fields, Mapping):
        fields = {name: value for name, value in fields.items() if name != FIELD}
    return Attempt.of(api_key_id, _value(request.META[HEADER]), _fingerprint(request, fields))


def once(attempt: Attempt, method: Callable[[], Response], secret_fields: Sequence[str]) -> HttpResponse:
    """Call the method, unless an earlier attempt was answered: then return that answer, with its secret fields null."""
    if answer := stored(attempt):
        return _repeated(answer)
    with only_one(attempt):
        if answer := stored(attempt):  # meanwhile
            return _repeated(answer)
        response = method()
        body = JSONRenderer().render(_without(secret_fields, response.data)).decode()
        store(attempt, Answer(response.status_code, body, response.headers.get("Location", "")))
    return response


def _value(sent: str) -> str:
    """The value of the header. The draft requires quotes, but most clients send none."""
    text = sent.strip()
    if text.startswith('"'):
        quoted = _QUOTED.fullmatch(text)
        text = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else ""
    if not _VALUE.fullmatch(text):
        sentence = "Send 1 to 255 visible ASCII characters, such as a UUID, in double quotes or without."
        raise Invalid("The Idempotency-Key is invalid.", errors={"Idempotency-Key": [sentence]})
    return text


def _fingerprint(request: Request, fields: Any) -> str:
    text = json.dumps([request.method, request.path.rstrip("/"), fields], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _without(secret_fields: Sequence[str], data: Any) -> Any:
    """The data with null in these fields, at any depth."""
    if isinstance(data, Mapping):
        return {name: None if name in secret_fields else _without(secret_fields, value) for name, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_without(secret_fields, value) for value in data]
    return data


def _repeated(answer: Answer) -> HttpResponse:
    headers = {REPLAYED: "true", **({"Location": answer.location} if answer.location else {})}
    return HttpResponse(answer.body, status=answer.status, content_type=JSONRenderer.media_type, headers=headers)
