"""What every view of the API shares."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from django.db.models import Model, QuerySet
from django.http import Http404, HttpResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView as DRFAPIView

from accounts import bodies, links
from accounts.policy import Actor
from apikeys.credentials import FIELD, Credential

from .authentication import APIKeyAuthentication
from .errors import MethodUnknownHere, exception_handler
from .negotiation import JSONNegotiation
from .pagination import Pagination
from .parsers import FormParser, JSONParser, MultiPartParser
from .permissions import HasKeyPermission, NeedsPermission
from .renderers import JSONRenderer
from .throttling import KeyThrottle

M = TypeVar("M", bound=Model)


class APIView(NeedsPermission, DRFAPIView):
    """A view behind the gates, in their order: key, state and network; rate limit; method; permission; a whole body."""

    authentication_classes = [APIKeyAuthentication]
    throttle_classes = [KeyThrottle]
    permission_classes = [HasKeyPermission]
    content_negotiation_class = JSONNegotiation
    parser_classes = [JSONParser, FormParser, MultiPartParser]
    renderer_classes = [JSONRenderer]
    pagination_class = Pagination
    metadata_class = None
    http_method_names = ["get", "post", "put", "patch", "delete", "head"]
    # DRF would work these out again for every answer; `initial` and the middleware set what is needed.
    default_response_headers: dict[str, str] = {}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        renderer = self.renderer_classes[0]()
        request.accepted_renderer, request.accepted_media_type = renderer, renderer.media_type
        self.perform_authentication(request)
        self.check_throttles(request)
        if request.method not in self.allowed_methods:
            raise MethodUnknownHere(request.method, self.allowed_methods)
        self.check_permissions(request)
        bodies.require_whole(request._request.META)

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], HttpResponse]:
        return exception_handler

    @property
    def actor(self) -> Actor:
        """The key that sends this request."""
        return cast(Actor, self.request.user)

    @property
    def credential(self) -> Credential:
        """The key as it was looked up, and where it stood."""
        return cast(Credential, self.request.auth)

    @property
    def body(self) -> Any:
        """The body, without the key if that is where it stood: it is no field of the item."""
        fields: Any = self.request.data
        if self.request.auth is not None and self.credential.place == "body":
            fields = fields.copy()
            fields.pop(FIELD, None)
        return fields

    def validated(
        self,
        serializer_class: type[serializers.Serializer[Any]],
        instance: Model | None = None,
        *,
        partial: bool = False,
    ) -> dict[str, Any]:
        """The body's fields, or `ValidationError`."""
        serializer = serializer_class(instance, data=self.body, partial=partial)
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)

    def filters(self, serializer_class: type[serializers.Serializer[Any]]) -> dict[str, Any]:
        """The query string's filters that are set, or `ValidationError`."""
        serializer = serializer_class(data=self.request.query_params.dict())
        serializer.is_valid(raise_exception=True)
        return {name: value for name, value in serializer.validated_data.items() if value not in (None, "")}

    def page(self, queryset: QuerySet[M], serializer_class: type[serializers.Serializer[Any]]) -> Response:
        """One page of a list, in the order that its model names."""
        paginator = self.pagination_class()
        rows = paginator.paginate_queryset(queryset, self.request, view=self)
        return paginator.get_paginated_response(serializer_class(instance=rows, many=True).data)

    def created(self, data: Mapping[str, Any], collection: str | None = None) -> Response:
        """201 with the new item and, in `Location`, where it is: in its collection, by default this path."""
        collection = collection or self.request.path.rstrip("/")
        location = links.in_answer(f"{collection}/{data['id']}", self.request._request)
        return Response(data, status=201, headers={"Location": location})


def item_or_404(queryset: QuerySet[M], **lookup: Any) -> M:
    """The one row. Another account's is as absent as none."""
    item = queryset.filter(**lookup).first()
    if item is None:
        raise Http404
    return item
