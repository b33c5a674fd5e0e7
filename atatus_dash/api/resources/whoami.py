"""Which key is this, and whose."""

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.policy import KeyPermission
from apikeys.gate import Verdict
from apikeys.lookup import KeyRecord

from ..base import APIView


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
    """`rate_limit` is null while limits are out of reach and the operator lets requests pass."""

    account = AccountRefSerializer(read_only=True)
    api_key = KeySerializer(read_only=True)
    rate_limit = RateLimitSerializer(allow_null=True, read_only=True)


class WhoAmIView(APIView):
    """The account, the key and its rate limit. Any permission, any access.

    POST answers as GET: the third example of the source page, `curl -F api_key=KEY`, is one. Like GET, it ignores
    what else the body holds.
    """

    permissions = {"GET": None, "POST": None}
    service = None
    # Describes the answer, as a test sees to. To write it would take longer than all the rest.
    response_serializers = {"GET": WhoAmISerializer, "POST": WhoAmISerializer}

    def get(self, request: Request) -> Response:
        return Response(whoami(self.credential.key, self.credential.verdict))

    post = get


def whoami(key: KeyRecord, verdict: Verdict) -> dict[str, Any]:
    """A good key, its account, and how often it may be used."""
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
