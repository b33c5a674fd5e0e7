"""The problem types of RFC 9457, one for each kind of error. Pure.

`errors` gives each refusal exactly one of them. The page of errors in the API reference describes them all, and a
type's URI leads to its description there.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

#: The page that describes the types. A type's URI is this page with an anchor. It stays the same while the page is
#: switched off.
PAGE = "/v2/docs/errors"


class ProblemType(NamedTuple):
    """One type. Programs compare its `name`, which never changes."""

    name: str
    #: The first is the usual one.
    statuses: Sequence[int]
    title: str
    meaning: str
    #: What the caller can do about it.
    remedy: str
    #: Members of such a response that RFC 9457 doesn't define.
    members: Mapping[str, object] = MappingProxyType({})
    #: Whether only operations that need a key can fail with it, or only operations that need none. None: all can.
    needs_key: bool | None = None
    is_of_changes: bool = False

    @property
    def status(self) -> int:
        return self.statuses[0]


INVALID_REQUEST = ProblemType(
    "invalid-request",
    (400,),
    "The request is malformed",
    "The body can't be parsed, has too many values or ended too early, or the request names a host that isn't served "
    "here.",
    "Read `detail`, correct the request and send it again. The same request fails every time.",
)
INVALID_FIELDS = ProblemType(
    "invalid-fields",
    (400,),
    "Fields are invalid",
    "Fields of the body or parameters of the query string are missing, unknown or have an invalid value. "
    "`errors` names each, with what is wrong.",
    "Correct the fields in `errors`. Nothing was changed.",
)
AMBIGUOUS_KEY = ProblemType(
    "ambiguous-key",
    (400, 403),
    "More than one API key was sent",
    "The request has a key in two places, or twice in one place. An authorization request of a gateway gets 403.",
    "Send the key once, preferably in the header X-API-KEY.",
    needs_key=True,
)
INVALID_STATE = ProblemType(
    "invalid-state",
    (400,),
    "The item's state doesn't allow this",
    "The item is in a state in which this change is not possible. For example, a revoked key can't be rotated.",
    "Get the item to see its state. Replace a revoked or expired key with a new one.",
    needs_key=True,
    is_of_changes=True,
)
ALREADY_EXISTS = ProblemType(
    "already-exists",
    (400,),
    "The item already exists",
    "The item exists, or the change was already made.",
    "Use the existing item, or choose another name or id.",
    needs_key=True,
    is_of_changes=True,
)
KEY_REQUIRED = ProblemType(
    "key-required",
    (401,),
    "An API key is required",
    "The request has no API key, or none where this path reads it. A body is read as its Content-Type says.",
    "Send a key, preferably in the header X-API-KEY.",
    needs_key=True,
)
KEY_INVALID = ProblemType(
    "key-invalid",
    (401,),
    "The API key is invalid",
    "The text that was sent is not a key of this server, or the service doesn't accept this key. A single wrong "
    "or missing character is enough.",
    "Copy the whole key again. If it is lost, create a new one: the server doesn't store the key, and can't show it "
    "again.",
    needs_key=True,
)
KEY_REVOKED = ProblemType(
    "key-revoked",
    (401,),
    "The API key has been revoked",
    "The key was revoked, which is final.",
    "Create a new key. The audit log says who revoked this one, and when.",
    needs_key=True,
)
KEY_EXPIRED = ProblemType(
    "key-expired",
    (401,),
    "The API key has expired",
    "The key is past its expiry, or past the overlap after its rotation.",
    "Use its successor, or create a new key. The headers Deprecation and Sunset announce an expiry 7 days before.",
    needs_key=True,
)
KEY_DISABLED = ProblemType(
    "key-disabled",
    (401,),
    "The API key is disabled",
    "An Owner or Admin disabled the key, and can enable it again.",
    "Ask an Owner or Admin of the account.",
    needs_key=True,
)
SIGNATURE_INVALID = ProblemType(
    "signature-invalid",
    (401,),
    "The signature is invalid",
    "A report of leaked keys is a list without a signature, or its signature matches none of GitHub's public keys on "
    "this server. Nothing was revoked.",
    'Send the keys without a signature: {"credentials": ["atk_…"]}.',
    needs_key=False,
)
HTTPS_REQUIRED = ProblemType(
    "https-required",
    (403,),
    "HTTPS is required",
    "The request came over plain HTTP, and was not read. If it had a key, others on the network may have seen it.",
    "Use https:// in the URL, and rotate the key.",
)
ACCOUNT_CLOSED = ProblemType(
    "account-closed",
    (403,),
    "The account is closed",
    "The Owner closed the account. The Owner can reopen it until its data is deleted.",
    "Ask the Owner of the account.",
    needs_key=True,
)
ACCOUNT_SUSPENDED = ProblemType(
    "account-suspended",
    (403,),
    "The account is suspended",
    "The operator of this server suspended the account.",
    "Ask the operator of this server.",
    needs_key=True,
)
PLACE_NOT_ALLOWED = ProblemType(
    "place-not-allowed",
    (403,),
    "The API key may not be sent in this place",
    "The key or its account doesn't accept keys in the query string, or in the body.",
    "Send the key in the header X-API-KEY.",
    needs_key=True,
)
ADDRESS_NOT_ALLOWED = ProblemType(
    "address-not-allowed",
    (403,),
    "The API key may not be used from this address",
    "The key is limited to networks, and the request came from another address.",
    "Send the request from one of the key's networks, or have this address added to `allowed_networks`.",
    needs_key=True,
)
NO_ACCESS = ProblemType(
    "no-access",
    (403,),
    "The API key has no access to this",
    "The key's `access` doesn't include this API, this service or this path, or the path is ambiguous.",
    "Use a key with access, or have the key's `access` extended. Send paths without `..`, `//` and encoded slashes.",
    needs_key=True,
)
PERMISSION_MISSING = ProblemType(
    "permission-missing",
    (403,),
    "The API key lacks a permission",
    "The request needs the Read or the Write permission, or administrator access, which the key doesn't have.",
    "Use a key with that permission. `detail` names it.",
    needs_key=True,
)
NOT_PERMITTED = ProblemType(
    "not-permitted",
    (403,),
    "This is not permitted",
    "The change would grant more than the key itself has, or the item can't be changed by anyone with this role. "
    "An authorization request came from an unlisted gateway, or without what its contract requires.",
    "Grant no more than the key itself has, or use a key that has more. For an authorization request, correct the "
    "service's `gateways` or the gateway's configuration.",
    needs_key=True,
)
NOT_FOUND = ProblemType(
    "not-found",
    (404,),
    "The item could not be found",
    "The path or the item doesn't exist, or the item belongs to another account.",
    "Check the path and the id. GET /v2 says which account a key belongs to.",
)
METHOD_NOT_ALLOWED = ProblemType(
    "method-not-allowed",
    (405,),
    "The method is not allowed here",
    "The path exists and doesn't support this method.",
    "Use one of the methods in the header Allow.",
)
REQUEST_RUNNING = ProblemType(
    "request-running",
    (409,),
    "The same request is still running",
    "A request with this Idempotency-Key is still running.",
    "Wait for the seconds in Retry-After, then send the same request again. It gets the response to the first one.",
)
LENGTH_REQUIRED = ProblemType(
    "length-required",
    (411,),
    "The body needs a length",
    "The body came in chunks, and this server can't tell whether it is complete.",
    "Send the body with a Content-Length.",
)
ITEM_CHANGED = ProblemType(
    "item-changed",
    (412,),
    "The item has changed",
    "The item's ETag is not in If-Match, because somebody changed it since you read it, or it is in If-None-Match. "
    "Nothing was changed.",
    "Get the item, decide whether your change is still right, and send it with the new ETag.",
)
BODY_TOO_LARGE = ProblemType(
    "body-too-large",
    (413,),
    "The body is too large",
    "A body has at most 1 MiB, or 64 KiB at /v2/verify.",
    "Split the request into smaller ones.",
)
UNSUPPORTED_MEDIA_TYPE = ProblemType(
    "unsupported-media-type",
    (415,),
    "The body's media type is not supported",
    "The Content-Type is neither application/json, application/x-www-form-urlencoded nor multipart/form-data.",
    "Send JSON with Content-Type: application/json.",
)
IDEMPOTENCY_KEY_REUSED = ProblemType(
    "idempotency-key-reused",
    (422,),
    "The Idempotency-Key was used for another request",
    "An earlier request had this Idempotency-Key with another path or other fields. Nothing was changed.",
    "Send a new Idempotency-Key, or the same path and fields as before.",
)
QUOTA_EXCEEDED = ProblemType(
    "quota-exceeded",
    (429,),
    "The rate limit is exceeded",
    "The key has sent all requests that its rate limit allows in this window. `violated-policies` names the policy of "
    "the header RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-11, §6.1).",
    "Wait for the seconds in Retry-After, then send the request again. The header RateLimit shows what is left.",
    MappingProxyType({"violated-policies": ["default"]}),
    needs_key=True,
)
TOO_MANY_ATTEMPTS = ProblemType(
    "too-many-attempts",
    (429,),
    "Too many attempts",
    "Too many requests with an invalid key, with a large body without a key in a header, or with reports of leaked "
    "keys came from this address. Or the account has sent too many invitations, or the key too many Idempotency-Keys, "
    "or the responses to them are too long.",
    "Correct the key, wait for the seconds in Retry-After, then send the request again.",
)
SERVER_ERROR = ProblemType(
    "server-error",
    (500,),
    "The server has a problem",
    "The request failed because of an error in this server. It may have changed something.",
    "Send the request again later. If it fails again, tell the operator the id in X-Request-ID.",
)
MAINTENANCE = ProblemType(
    "maintenance",
    (503,),
    "Maintenance",
    "The operator has switched on maintenance mode. Nothing was changed.",
    "Wait for the seconds in Retry-After, then send the request again.",
)
UNAVAILABLE = ProblemType(
    "unavailable",
    (503,),
    "Temporarily unavailable",
    "The server can't reach its database or the store of its rate limits, or has too many requests waiting.",
    "Wait for the seconds in Retry-After, then send the request again. Wait longer after each failure.",
)

#: Every type, in the order of the statuses.
CATALOGUE = (
    *(INVALID_REQUEST, INVALID_FIELDS, AMBIGUOUS_KEY, INVALID_STATE, ALREADY_EXISTS),
    *(KEY_REQUIRED, KEY_INVALID, KEY_REVOKED, KEY_EXPIRED, KEY_DISABLED, SIGNATURE_INVALID),
    *(HTTPS_REQUIRED, ACCOUNT_CLOSED, ACCOUNT_SUSPENDED, PLACE_NOT_ALLOWED, ADDRESS_NOT_ALLOWED),
    *(NO_ACCESS, PERMISSION_MISSING, NOT_PERMITTED, NOT_FOUND, METHOD_NOT_ALLOWED, REQUEST_RUNNING),
    *(LENGTH_REQUIRED, ITEM_CHANGED, BODY_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, IDEMPOTENCY_KEY_REUSED),
    *(QUOTA_EXCEEDED, TOO_MANY_ATTEMPTS, SERVER_ERROR, MAINTENANCE, UNAVAILABLE),
)
