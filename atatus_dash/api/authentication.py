"""Authenticates a request: finds the key in header, query string or body, and looks it up.

More than one key is refused, in different places or in the same one (RFC 6750 §2). The body is searched for a key only
if header and query have none. Anybody can send such a request, so a body over 16 KiB then counts against a limit of its
address before it is parsed.
"""

from django.conf import settings
from django.http import QueryDict
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.request import Request

from accounts import bodies
from accounts.context import RequestContext
from accounts.policy import Actor
from accounts.turns import TURN, Turn
from apikeys import actors, gate, limits, networks, tokens
from apikeys.credentials import FIELD, Credential, in_headers, in_query_string, stripped, with_commas
from apikeys.gate import Place, Refused
from apikeys.limits import require_within_limit

from .errors import AmbiguousKey
from .permissions import NeedsPermission

AMBIGUOUS = "Send the API key once, and in one place only."
READ_AS_FORM = "The body was read as a form, because its Content-Type is application/x-www-form-urlencoded."
AS_JSON = "Send it with Content-Type: application/json."


class APIKeyAuthentication(BaseAuthentication):
    """Sets `request.user` to an `Actor` and `request.auth` to a `Credential`.

    Raises `Refused` if the key is missing, invalid or inactive, or may not be sent in this place or from this address.
    Raises `AmbiguousKey` (400) if there is more than one. `HasKeyPermission` checks the rest of the verdict.
    """

    def authenticate(self, request: Request) -> tuple[Actor, Credential]:
        credential = _kept(request) or self._check(request)
        return actors.actor_of(credential.key, context=RequestContext.of(request._request)), credential

    def _check(self, request: Request) -> Credential:
        view = request.parser_context["view"]
        assert isinstance(view, NeedsPermission)
        secret, place, hint = find_key(request)
        question = view.question(request._request, place)
        key = gate.identify(secret)
        verdict = gate.decide(key, question, limits.limiter)
        if not verdict.accepts_key:
            raise Refused(verdict, errors={FIELD: [hint]} if hint else None)
        assert key is not None
        assert place is not None
        return Credential(key, place, verdict)


def _kept(request: Request) -> Credential | None:
    """The credential of a postponed request (`accounts.turns`). It was checked and counted on the first run."""
    turn: Turn | None = request._request.META.get(TURN)
    kept: Credential | None = None if turn is None else turn.kept
    return kept


def find_key(request: Request) -> tuple[str, Place | None, str]:
    """The key as it was sent, and its place. If there is no key, also a hint for the client. Raises `AmbiguousKey`."""
    meta = request._request.META
    if with_commas(meta):
        raise AmbiguousKey(
            f"{AMBIGUOUS} A key with a comma in it can't be told from a header sent twice: "
            "send it in the query string or in the body."
        )
    found = in_headers(meta)
    place = Place.HEADER
    if in_query := in_query_string(meta):
        found, place = [*found, *in_query], Place.QUERY
    unread = ""
    if not found:
        (found, unread), place = _in_body(request), Place.BODY
    if len(found) > 1:
        raise AmbiguousKey(AMBIGUOUS)
    if not found:
        return "", None, unread and f"{unread} {AS_JSON}"
    return found[0], place, ""


def _in_body(request: Request) -> tuple[list[str], str]:
    """The keys in the body's field, and the reason if the body was not read as JSON.

    Raises DRF's `ParseError` for a malformed body, and `TooManyRequests` for too many large ones from one address.
    """
    meta = request._request.META
    bodies.require_whole(meta)
    if bodies.SMALL < bodies.length(meta) <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        require_within_limit("bodies:" + networks.source(meta["REMOTE_ADDR"]), settings.FAILED_AUTH_LIMIT)
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
    """Whether a form is really JSON, as `curl -d` sends it by default: the name of its first field begins with `{`."""
    return next(iter(fields), "").lstrip("\ufeff \t\r\n").startswith("{")
