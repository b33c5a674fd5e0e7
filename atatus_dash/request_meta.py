"""The first values set in a request's `META`: its id, and the client's real address and scheme."""

import re
import secrets
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from accounts import validators
from accounts.context import REQUEST_ID
from accounts.models import AuditEvent
from apikeys import networks, tokens

from .logs import request_id

_REQUEST_ID_LENGTH = AuditEvent._meta.get_field("request_id").max_length
_REQUEST_ID = re.compile(rf"[0-9A-Za-z._:/+=-]{{1,{_REQUEST_ID_LENGTH}}}", re.ASCII)

MALFORMED = "The proxy in front of this server sent a malformed X-Forwarded-For."

#: A request's `META`, or the WSGI environ that becomes it.
Meta = dict[str, Any]


def assign_request_id(meta: Meta) -> str:
    """Set the request's id, for the logs and `X-Request-ID`. A valid id that the client sent is kept."""
    sent = meta.get("HTTP_X_REQUEST_ID", "")
    is_valid = _REQUEST_ID.fullmatch(sent) and tokens.redact(sent) == sent
    name: str = sent if is_valid else secrets.token_hex(16)
    meta[REQUEST_ID] = name
    request_id.set(name)
    return name


def peer(meta: Mapping[str, Any]) -> str:
    """The address from which the connection was opened."""
    return networks.without_interface(str(meta.get("REMOTE_ADDR", "")))


def apply_forwarded_headers(meta: Meta) -> None:
    """Replace a trusted proxy's address, scheme and port by those of its client.

    `X-Forwarded-For` and `X-Forwarded-Proto` are used only if the peer is in `TRUSTED_PROXIES`. The
    address is the last in `X-Forwarded-For` that is not a trusted proxy. The scheme is https only if every hop
    says so. Without the header, the proxy itself is the client, as for `/healthz`.
    Raises `ValueError` for a malformed address, so that the proxy's own address never counts as its client's.
    """
    proxy = meta["REMOTE_ADDR"] = peer(meta)
    if not is_trusted_proxy(proxy):
        return
    meta["REMOTE_ADDR"] = networks.client_address(meta.get("HTTP_X_FORWARDED_FOR", proxy), settings.TRUSTED_PROXIES)
    schemes = meta.get("HTTP_X_FORWARDED_PROTO", "").lower().replace(" ", "").split(",")
    is_https = set(schemes) == {"https"}
    meta["wsgi.url_scheme"] = "https" if is_https else "http"
    meta["SERVER_PORT"] = "443" if is_https else "80"  # not the port between the proxy and here


def is_trusted_proxy(address: str) -> bool:
    """Whether the address is in `TRUSTED_PROXIES`."""
    if not settings.TRUSTED_PROXIES:
        return False
    try:
        parsed = networks.parse_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in settings.TRUSTED_PROXIES)


def user_agent(meta: Mapping[str, Any]) -> str:
    """The `User-Agent` with keys masked. It is masked before it is counted, truncated, stored or mailed."""
    sent = meta.get("HTTP_USER_AGENT", "")
    return validators.in_one_line(tokens.redact(sent)) if sent else ""
