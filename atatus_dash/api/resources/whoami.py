"""A key, its account and its rate limit. Call this to find out whether a key works."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.policy import KeyPermission
from apikeys.gate import Verdict
from apikeys.lookup import KeyRecord

from ..base import APIView
from ..serializers import BodySerializer


class AccountRefSerializer(serializers.Serializer[Any]):
    slug = serializers.CharField(read_only=True)
    name = serializers.CharField(read_only=True)


class KeySerializer(serializers.Serializer[Any]):
    id = serializers.CharField(read_only=True)
    name = serializers.CharField(read_only=True)
    permission = serializers.ChoiceField([permission.value for permission in KeyPermission], read_only=True)
    administrator = serializers.BooleanField(read_only=True)
    expires_at = serializers.DateTimeField(allow_null=True, read_only=True)


class RateLimitSerializer(serializers.Serializer[Any]):
    limit = serializers.IntegerField(read_only=True)
    remaining = serializers.IntegerField(read_only=True)
    window = serializers.IntegerField(read_only=True)


class WhoAmISerializer(serializers.Serializer[Any]):
    """`rate_limit` is null while Redis is unavailable and LIMITS_WITHOUT_REDIS is `allow`."""

    account = AccountRefSerializer(read_only=True)
    api_key = KeySerializer(read_only=True)
    rate_limit = RateLimitSerializer(allow_null=True, read_only=True)


class KeyInBodySerializer(BodySerializer):
    """A body with nothing but the key."""


class WhoAmIView(APIView):
    """The account, the key and its rate limit, for a key with any permission and any access.

    POST is answered like GET, because Atatus' documentation has the example `curl -F api_key=KEY`. Other fields of
    the body are ignored.
    """

    permissions = {"GET": None, "POST": None}
    operations = {"GET": "check_api_key", "POST": "check_api_key_in_body"}
    statuses = {}
    service = None
    request_serializers = {"POST": KeyInBodySerializer}
    # For the schema; a test compares it with the answer. Serializing with it would take longer than all the rest.
    response_serializers = {"GET": WhoAmISerializer, "POST": WhoAmISerializer}

    def get(self, request: Request) -> Response:
        """Check a key."""
        return Response(whoami(self.credential.key, self.credential.verdict))

    def post(self, request: Request) -> Response:
        """Check a key that is sent in the body.

        The same as GET. Other fields of the body are ignored.
        """
        return self.get(request)


def whoami(key: KeyRecord, verdict: Verdict) -> dict[str, Any]:
    """An accepted key, its account and its rate limit."""
    outcome = verdict.rate_limit
    return {
        "account": {"slug": key.account_slug, "name": key.account_name},
        "api_key": {
            "id": key.id,
            "name": key.name,
            "permission": key.permission,
            "administrator": bool(key.administrator),
            "expires_at": key.expiry,
        },
        "rate_limit": outcome
        and {"limit": outcome.rate.limit, "remaining": outcome.remaining, "window": outcome.rate.window},
    }
