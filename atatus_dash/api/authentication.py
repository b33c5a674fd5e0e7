"""Who sends this request: finds the key in header, query string or body, and looks it up.

A key in two places, or twice in one, is refused (RFC 6750 §2). The body is read for a key only when
neither header nor query has one; a body of more than a few kilobytes then counts against its address, before it
is parsed, because anybody may send it.
"""

from django.conf import settings
from django.http import QueryDict
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.request import Request

from accounts import bodies
from accounts.context import RequestContext
from accounts.errors import Invalid, KeyMissing, NotAuthenticated, NotPermitted
from accounts.policy import Actor
from apikeys import actors, lookup, networks, tokens
from apikeys.credentials import FIELD, Credential, Place, in_headers, in_query_string, stripped, undivided
from apikeys.limits import require_not_too_often
from apikeys.lookup import KeyRecord

AMBIGUOUS = "Send the API key once, and in one place only."
READ_AS_FORM = "The body was read as a form, because its Content-Type is application/x-www-form-urlencoded."
AS_JSON = "Send it with Content-Type: application/json."


class APIKeyAuthentication(BaseAuthentication):
    """Sets `request.user` to an `Actor` and `request.auth` to a `Credential`.

    Raises `NotAuthenticated` (401), `TooManyRequests` (429) after too many failures from one address,
    `NotPermitted` (403) for a key of a closed or suspended account, in a place that was switched off or from a
    network it may not be used from, and `Invalid` (400) for a key in more than one place.
    """

    def authenticate(self, request: Request) -> tuple[Actor, Credential]:
        secret, place = find_key(request)
        address = request.META["REMOTE_ADDR"]
        key = _open(secret, address)
        actors.require_account_in_use(key)
        _require_place(key, place)
        actors.require_network(key, address)
        return actors.actor_of(key, context=RequestContext.of(request._request)), Credential(key, place)


def find_key(request: Request) -> tuple[str, Place]:
    """The key as it was sent, and where. Raises `KeyMissing` without one, `Invalid` for several."""
    meta = request._request.META
    if undivided(meta):
        raise Invalid(
            f"{AMBIGUOUS} A key with a comma in it can't be told from a header sent twice: "
            "send it in the query string or in the body."
        )
    found = in_headers(meta)
    place: Place = "header"
    if in_query := in_query_string(meta):
        found, place = [*found, *in_query], "query"
    unread = ""
    if not found:
        (found, unread), place = _in_body(request), "body"
    if len(found) > 1:
        raise Invalid(AMBIGUOUS)
    if not found:
        raise KeyMissing("API key is required!", errors={FIELD: [f"{unread} {AS_JSON}"]} if unread else None)
    return found[0], place


def _in_body(request: Request) -> tuple[list[str], str]:
    """Keys in the body's field, and why it was not read as JSON, if so. A malformed one is the client's error.

    Raises `TooManyRequests` for too many large ones from one address.
    """
    meta = request._request.META
    bodies.require_whole(meta)
    if bodies.SMALL < bodies.length(meta) <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        require_not_too_often("bodies:" + networks.origin(meta["REMOTE_ADDR"]), settings.FAILED_AUTH_LIMIT)
    try:
        fields = request.data
    except UnsupportedMediaType:
        kind = tokens.redact(request.content_type.partition(";")[0].strip())[:100]
        reason = f"its Content-Type is {kind}" if kind else "it has no Content-Type"
        return [], f"The body was not read, because {reason}." if bodies.length(meta) else ""
    if isinstance(fields, QueryDict):
        return stripped(fields.getlist(FIELD)), READ_AS_FORM if _is_json_read_as_form(fields) else ""
    if isinstance(fields, dict) and fields.get(FIELD):
        return stripped([str(fields[FIELD])]), ""
    return [], ""


def _is_json_read_as_form(fields: QueryDict) -> bool:
    """Whether a form is JSON in truth, as curl's `-d` sends it by default: its first field's name begins an object."""
    return next(iter(fields), "").lstrip("\ufeff \t\r\n").startswith("{")


def _open(secret: str, address: str) -> KeyRecord:
    """The key of that secret. Raises `NotAuthenticated` if it opens nothing, and counts that against the address."""
    key = lookup.by_digest(tokens.digest(secret)) if tokens.may_be_a_key(secret) else None
    problem = actors.problem_of(key)
    if key is not None and problem is None:
        return key
    require_not_too_often("failed:" + networks.origin(address), settings.FAILED_AUTH_LIMIT)
    raise NotAuthenticated(str(problem))


def _require_place(key: KeyRecord, place: Place) -> None:
    """Refuse a key in a place that its account or its own settings switched off (OWASP ASVS 5.0, 14.2.1)."""
    if place == "query" and not (key.accepts_query and key.account_accepts_query):
        raise NotPermitted("This API key may not be sent in the query string.")
    if place == "body" and not (key.accepts_body and key.account_accepts_body):
        raise NotPermitted("This API key may not be sent in the body.")
