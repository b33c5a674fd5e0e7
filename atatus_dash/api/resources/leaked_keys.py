"""Reports of keys that were found in public."""

from django.conf import settings
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.context import RequestContext
from apikeys import networks, services
from apikeys.limits import require_within_limit

from ..base import APIView
from ..permissions import IsOpen
from ..serializers import ShortListField, StrictSerializer


class LeakedKeysSerializer(StrictSerializer):
    credentials = ShortListField(child=serializers.CharField(max_length=1000), min_length=1, max_length=1000)


class LeakedKeysView(APIView):
    """Anybody who has a key may revoke it. The answer is the same for all keys; each address has a limit."""

    authentication_classes = []
    permission_classes = [IsOpen]
    permissions = {"POST": None}
    request_serializers = {"POST": LeakedKeysSerializer}

    def post(self, request: Request) -> Response:
        address = request.META["REMOTE_ADDR"]
        require_within_limit("reported:" + networks.source(address), settings.FAILED_AUTH_LIMIT)
        secrets = self.validated()["credentials"]
        services.report_leaked_keys(secrets=secrets, context=RequestContext.of(request))
        return Response({"Message": "Thank you. All of these that are keys of this server are revoked."}, status=202)
