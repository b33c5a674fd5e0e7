"""Reports of keys that were found in public, from anybody or from GitHub's secret scanning."""

import logging
from typing import Any

from django.conf import settings
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.context import RequestContext
from accounts.errors import InvalidSignature
from apikeys import networks, services
from apikeys.leaks import Leak
from apikeys.limits import require_within_limit

from ... import secret_scanning
from ..base import APIView
from ..negotiation import require_not_too_large
from ..permissions import IsOpen
from ..serializers import AnyTextField, BodySerializer, ShortListField, StrictSerializer

logger = logging.getLogger(__name__)

MAX_KEYS = 1_000

SIGNATURE_MISSING = 'A list needs the signature of GitHub. Without one, send {"credentials": ["atk_…"]}.'
SIGNATURE_INVALID = "The signature is invalid."
PUBLIC_KEY_UNKNOWN = "The public key of the signature is unknown."


class LeakedKeysSerializer(StrictSerializer):
    credentials = ShortListField(child=AnyTextField(max_length=1000), min_length=1, max_length=MAX_KEYS)


class FoundKeySerializer(BodySerializer):
    """A key that GitHub found. Fields that GitHub may add are ignored.

    The OpenAPI description doesn't have it: only GitHub sends a list of these, and a client that
    openapi-python-client generates can't call an operation whose body is an object or a list.
    URL and source are never refused, because the key must be revoked whatever they are. `Leak.found` checks them.
    """

    token = serializers.CharField(max_length=1000)
    url = serializers.JSONField(required=False, allow_null=True)
    source = serializers.JSONField(required=False, allow_null=True)  # type: ignore[assignment]  # no attribute: a field


class ReportReceivedSerializer(serializers.Serializer[Any]):
    Message = serializers.CharField(read_only=True)


class LeakedKeysView(APIView):
    """Anybody who has a key may revoke it. The answer is the same for all keys.

    Each address has a limit. GitHub, which signs its reports, has no limit: it sends all that it finds from few
    addresses.
    """

    authentication_classes = []
    permission_classes = [IsOpen]
    permissions = {"POST": None}
    operations = {"POST": "report_leaked_keys"}
    statuses = {"POST": 202}
    refusals = (401,)
    request_headers = {
        "Github-Public-Key-Identifier": "Sent by GitHub's secret scanning: the identifier of the public key for the "
        "signature.",
        "Github-Public-Key-Signature": "Sent by GitHub's secret scanning: the signature of the body.",
    }
    request_serializers = {"POST": LeakedKeysSerializer}
    response_serializers = {"POST": ReportReceivedSerializer}

    def post(self, request: Request) -> Response:
        """Report leaked keys.

        Anybody who has a key may revoke it. The response is the same whether the keys exist or not. GitHub's secret
        scanning may send its own format here, a list.
        """
        is_from_github = self._is_from_github()
        if isinstance(request.data, list):
            if settings.GITHUB_SECRET_SCANNING_KEYS and not is_from_github:
                raise InvalidSignature(SIGNATURE_MISSING)
            leaks = self._found_keys(trusted=is_from_github)
        else:
            leaks = [Leak(secret) for secret in self.validated()["credentials"]]
        services.report_leaked_keys(
            leaks=leaks,
            reporter="GitHub secret scanning" if is_from_github else "Leak report",
            context=RequestContext.of(request),
        )
        return Response({"Message": "Thank you. The reported keys that belong to this server are revoked."}, status=202)

    def _is_from_github(self) -> bool:
        """Whether GitHub signed this request. A request without a signature counts against its address.

        Raises `InvalidSignature` for a wrong signature, before the body is parsed, and `TooManyRequests`.
        """
        meta = self.request._request.META
        identifier = meta.get("HTTP_GITHUB_PUBLIC_KEY_IDENTIFIER", "")
        signature = meta.get("HTTP_GITHUB_PUBLIC_KEY_SIGNATURE", "")
        is_claimed = bool(settings.GITHUB_SECRET_SCANNING_KEYS and (identifier or signature))
        key = settings.GITHUB_SECRET_SCANNING_KEYS.get(identifier) if is_claimed else None
        if key is not None:
            require_not_too_large(meta)
            if secret_scanning.is_signed(self.request._request.body, signature, key):
                return True
        require_within_limit("reported:" + networks.source(meta["REMOTE_ADDR"]), settings.FAILED_AUTH_LIMIT)
        if is_claimed and key is None:
            logger.warning(
                "A report of leaked keys names an unknown public key: GITHUB_SECRET_SCANNING_KEYS may be old."
            )
            raise InvalidSignature(PUBLIC_KEY_UNKNOWN)
        if is_claimed:
            raise InvalidSignature(SIGNATURE_INVALID)
        return False

    def _found_keys(self, *, trusted: bool) -> list[Leak]:
        """The keys in a list. URLs and sources of an unknown sender are left out. Raises `ValidationError`."""
        field = ShortListField(child=FoundKeySerializer(), min_length=1, max_length=MAX_KEYS)
        found = field.run_validation(self.request.data)
        if not trusted:
            return [Leak(item["token"]) for item in found]
        return [Leak.found(item["token"], url=item.get("url"), source=item.get("source")) for item in found]
