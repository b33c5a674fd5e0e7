"""The machine-readable description of this API."""

from typing import Any

from django.http import HttpResponse
from django.utils.cache import get_conditional_response
from rest_framework import serializers
from rest_framework.request import Request

from accounts import links

from ..base import APIView
from ..permissions import IsOpen
from ..schema.document import rendered


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
        content, etag = rendered(links.in_answer("/", request._request).removesuffix("/"))
        response = HttpResponse(content, content_type="application/json", headers={"ETag": etag})
        return get_conditional_response(request._request, etag=etag, response=response) or response
