"""Reads the original request from a gateway's authorization request. Pure.

Each contract reads only the headers of its own gateways. Those of other contracts are ignored, because a client may
have added them. The caller has checked that the request came from a gateway.
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from accounts.errors import Invalid, NotPermitted

from .. import networks
from ..networks import Network

MAX_METHOD_LENGTH = 32
MAX_TARGET_LENGTH = 8192  # the server's limit for a request line

_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  # a token (RFC 9110, §5.6.2)
_GAP = re.compile(r"[\x00-\x20\x7f]")
_SECURE, _INSECURE = {"https", "wss"}, {"http", "ws"}  # some gateways send ws and wss for WebSockets
_FIELDS = ("key", "method", "path", "address", "dry_run")

#: Header names in CGI's form, such as `HTTP_X_FORWARDED_FOR`, with their values.
Headers = Mapping[str, str]


class Contract(StrEnum):
    """The protocol of a kind of gateway: the last segment of the URL that it calls."""

    AUTH_REQUEST = "auth-request"
    FORWARD_AUTH = "forward-auth"
    EXT_AUTHZ = "ext-authz"


#: The headers with the original request's method and target. In ext-authz they are the authorization request's own.
NAMED_BY = {
    Contract.AUTH_REQUEST: ("X-Original-Method", "X-Original-URI"),
    Contract.FORWARD_AUTH: ("X-Forwarded-Method", "X-Forwarded-Uri"),
}


class Misconfigured(NotPermitted):
    """The gateway's configuration doesn't send what the contract requires (403)."""


class Facts(NamedTuple):
    """The original request, as the gateway describes it."""

    method: str
    #: Raw, with its query.
    target: str
    #: The request was sent over HTTPS.
    secure: bool
    #: The client's.
    address: str
    #: Where a key may be, for `credentials`: two headers, and the query of the target.
    meta: Headers


class Check(NamedTuple):
    """The original request, as the service itself describes it. It counts as HTTPS."""

    key: str | None
    method: str
    target: str
    address: str | None
    dry_run: bool


def read(
    contract: Contract, headers: Headers, trusted: Sequence[Network], *, method: str = "", target: str = ""
) -> Facts:
    """The original request of an authorization request.

    The client is the last hop that is not in `trusted` networks. `method` and `target` belong to the authorization
    request itself; `target` is its raw target, from the original path on. Only ext-authz reads them. Raises
    `Misconfigured`, or a plain `NotPermitted` for a request that a client can send through any gateway.
    """
    if named_by := NAMED_BY.get(contract):
        method, target = _method(headers, named_by[0]), _target(headers, named_by[1])
    elif not target and method == "CONNECT":
        raise NotPermitted("CONNECT names no path, so it can't be authorized.")
    elif not target.partition("?")[0]:
        raise Misconfigured(
            "The authorization request ends where the original path should follow: "
            "the gateway's path prefix has to be this address, without a slash at its end."
        )
    return Facts(
        method,
        target,
        secure=_is_secure(headers),
        address=_client(headers, trusted),
        meta={
            "HTTP_X_API_KEY": headers.get("HTTP_X_API_KEY", ""),
            "HTTP_AUTHORIZATION": headers.get("HTTP_AUTHORIZATION", ""),
            "QUERY_STRING": target.partition("?")[2],
        },
    )


def read_check(body: object) -> Check:
    """The original request in a JSON body. Raises `Invalid` (400) with the errors of each field."""
    if not isinstance(body, dict):
        raise Invalid("Send a JSON object.")
    errors = {str(name): ["This field is unknown here."] for name in [*body.keys() - set(_FIELDS)][:20]}
    key, method, target, address = (body.get(name) for name in _FIELDS[:4])
    dry_run = body.get("dry_run", False)
    if isinstance(address, str):
        address = networks.without_interface(address)
    if key is not None and not isinstance(key, str):
        errors["key"] = ["Write the key as text, or null."]
    if not isinstance(method, str) or len(method) > MAX_METHOD_LENGTH or not _METHOD.fullmatch(method):
        errors["method"] = ["Write the method of the request, such as GET."]
    if not isinstance(target, str) or not 0 < len(target) <= MAX_TARGET_LENGTH:
        errors["path"] = [
            f"Write the path of the request as it was sent, undecoded, in {MAX_TARGET_LENGTH:,} characters at most."
        ]
    if address is not None and not (isinstance(address, str) and _is_address(address)):
        errors["address"] = ["Write the IP address of the client, or leave it out."]
    if not isinstance(dry_run, bool):
        errors["dry_run"] = ["Write true or false."]
    if errors:
        raise Invalid.of_fields(errors)
    assert isinstance(method, str)
    assert isinstance(target, str)
    return Check(key, method, target, address, dry_run)


def is_preflight(facts: Facts, headers: Headers) -> bool:
    """Whether the request is a browser's CORS preflight (Fetch, §4.8). It never contains a key."""
    return facts.method == "OPTIONS" and "HTTP_ORIGIN" in headers and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in headers


@lru_cache(maxsize=256)
def _cgi(name: str) -> str:
    return "HTTP_" + name.upper().replace("-", "_")


def _required(headers: Headers, name: str, meaning: str) -> str:
    value = headers.get(_cgi(name), "")
    if value.strip():
        return value
    raise Misconfigured(f"The authorization request has no {name}. The gateway has to set it to {meaning}.")


def _method(headers: Headers, name: str) -> str:
    method = _required(headers, name, "the method of the original request")
    if not _METHOD.fullmatch(method):
        raise Misconfigured(f"{name} is not one method. The gateway has to replace what a client sends there.")
    if len(method) > MAX_METHOD_LENGTH:
        raise NotPermitted(f"The method of the request is longer than {MAX_METHOD_LENGTH} characters.")
    return method


def _target(headers: Headers, name: str) -> str:
    target = _required(headers, name, "the target of the original request, undecoded")
    if _GAP.search(target):
        raise Misconfigured(
            f"{name} is not one undecoded target. The gateway has to replace what a client sends there."
        )
    if len(target) > MAX_TARGET_LENGTH:
        raise NotPermitted(f"The URL of the request is longer than {MAX_TARGET_LENGTH:,} characters.")
    return target


def _is_secure(headers: Headers) -> bool:
    """Whether every hop came over HTTPS."""
    name = "X-Forwarded-Proto"
    hops = _required(headers, name, "the scheme of the original request").lower().split(",")
    schemes = {hop.strip() for hop in hops}
    if not schemes <= _SECURE | _INSECURE:
        raise Misconfigured(f"{name} is neither http nor https.")
    return schemes <= _SECURE


def _client(headers: Headers, trusted: Sequence[Network]) -> str:
    name = "X-Forwarded-For"
    hops = _required(headers, name, "the address of the client")
    try:
        return networks.client_address(hops, trusted)
    except ValueError:
        raise Misconfigured(
            f"{name} does not end with an IP address. The gateway has to add the address of the client."
        ) from None


def _is_address(text: str) -> bool:
    try:
        networks.parse_address(text)
    except ValueError:
        return False
    return True
