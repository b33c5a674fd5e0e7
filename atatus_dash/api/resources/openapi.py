"""The machine-readable description of this API."""

from typing import Any

from django.http import HttpResponse
from django.utils.cache import get_conditional_response
from rest_framework import serializers
from rest_framework.request import Request

from accounts import links
from apikeys.credentials import FIELD

from ..base import APIView
from ..permissions import IsOpen

#: Caches may store it, but have to check each time whether it is current: a new version of this server has a new
#: description.
REVALIDATED = "no-cache"


class OpenAPISerializer(serializers.Serializer[Any]):
    openapi = serializers.CharField(read_only=True)
    info = serializers.DictField(read_only=True)
    servers = serializers.ListField(child=serializers.DictField(), read_only=True)
    tags = serializers.ListField(child=serializers.DictField(), read_only=True)
    paths = serializers.DictField(read_only=True)
    components = serializers.DictField(read_only=True)


class OpenAPIView(APIView):
    authentication_classes = []
    permission_classes = [IsOpen]
    permissions = {"GET": None}
    operations = {"GET": "get_openapi"}
    has_etag = True
    response_serializers = {"GET": OpenAPISerializer}

    def get(self, request: Request) -> HttpResponse:
        """Get this description.

        OpenAPI 3.1, with this server's address.
        """
        from ..schema.document import rendered  # as in `base`

        content, etag = rendered(links.in_answer("/", request._request).removesuffix("/"))
        headers = {"ETag": etag}
        # It depends on its URL only. A URL with a key must not be stored anywhere.
        if FIELD not in request.query_params:
            headers["Cache-Control"] = REVALIDATED
        response = HttpResponse(content, content_type="application/json", headers=headers)
        return get_conditional_response(request._request, etag=etag, response=response) or response
