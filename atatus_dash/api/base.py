"""The base class of the API's views."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, ClassVar, TypeVar, cast

from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.schemas.inspectors import ViewInspector
from rest_framework.serializers import Serializer, ValidationError

from accounts import bodies, links
from accounts.errors import PreconditionFailed
from accounts.policy import Actor, Permission
from accounts.turns import has_waited, turns
from apikeys import actors
from apikeys.credentials import FIELD, Credential
from apikeys.gate import Place

from . import etags, idempotency
from .authentication import APIKeyAuthentication
from .errors import exception_handler
from .negotiation import JSONNegotiation
from .pagination import Pagination
from .parsers import FormParser, JSONParser, MultiPartParser
from .permissions import HasKeyPermission, NeedsPermission, permission_method
from .renderers import JSONRenderer
from .serializers import BodySerializer, FilterSerializer, ModelSerializer

M = TypeVar("M", bound=Model)

#: Parameters of a list that are not filters.
_NO_FILTERS = (*Pagination.parameters, FIELD)


class _Schema:
    """Loads `schema` when something asks for the description, because importing drf-spectacular takes 40 ms."""

    def __get__(self, view: object, owner: type) -> ViewInspector:
        inspector: ViewInspector = _operation_schema().__get__(view, owner)
        return inspector


@cache
def _operation_schema() -> ViewInspector:
    from .schema.operations import OperationSchema

    return OperationSchema()


class APIView(NeedsPermission):
    """A view behind `apikeys.gate`: authentication asks it, and the permission checks the rest of its verdict.

    It names the serializers of each method's request and response. `validated`, `item`, `page` and `created` use only
    these, so that the schema is correct. The schema also has the docstrings of the methods.

    With `has_etag`, GET sends the item's `ETag` (or 304 if `If-None-Match` has it), and PUT, PATCH and DELETE read
    `If-Match` (412 if the item has changed). The view then has a `get_object`. `idempotent_methods` read an
    `Idempotency-Key`; other methods ignore it. Their request serializers are `BodySerializer`s.
    """

    #: The name of each method's operation in the schema, such as `list_projects`.
    operations: ClassVar[Mapping[str, str]] = {}
    request_serializers: ClassVar[Mapping[str, type[Serializer[Any]]]] = {}
    response_serializers: ClassVar[Mapping[str, type[Serializer[Any]]]] = {}
    #: Reads the filters of a list from the query string. By default there are none.
    filter_serializer: ClassVar[type[FilterSerializer]] = FilterSerializer
    has_etag: ClassVar[bool] = False
    #: The item that the path names, or 404. 403 if the account may see the item, but the method would change it.
    get_object: Callable[..., Model]
    idempotent_methods: ClassVar[Sequence[str]] = ()
    #: Further headers that the view's methods read, with descriptions.
    request_headers: ClassVar[Mapping[str, str]] = {}
    #: Statuses of errors that its methods have and similar methods of other views don't.
    refusals: ClassVar[Sequence[int]] = ()
    #: Whether GET answers with one page of a list.
    lists: ClassVar[bool] = False
    #: The status of a method's successful answer, if it isn't 200.
    statuses: ClassVar[Mapping[str, int]] = {"POST": 201, "DELETE": 204}

    schema: ViewInspector | None = cast(ViewInspector, _Schema())
    authentication_classes = [APIKeyAuthentication]
    permission_classes = [HasKeyPermission]
    content_negotiation_class = JSONNegotiation
    parser_classes = [JSONParser, FormParser, MultiPartParser]
    renderer_classes = [JSONRenderer]
    pagination_class = Pagination
    metadata_class = None
    http_method_names = ["get", "post", "put", "patch", "delete", "head", "options"]
    # DRF would compute these headers again for every answer; `initial` and the middleware set what is needed.
    default_response_headers: dict[str, str] = {}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        renderer = self.renderer_classes[0]()
        request.accepted_renderer, request.accepted_media_type = renderer, renderer.media_type
        self.perform_authentication(request)
        self.check_permissions(request)
        meta = request._request.META
        bodies.require_whole(meta)
        needed = self.needs(self.method)
        if isinstance(needed, Permission) and not needed.reads:
            turns.take(meta, self.actor.account.id, keep=self.credential)
            if has_waited(meta):
                actors.require_still_valid(self.actor)  # before an item is looked up or an answer is repeated
        if idempotency.HEADER in meta and self.method in self.idempotent_methods:
            self._call_through(self._once)
        elif self.has_etag and etags.has_preconditions(meta) and self.method in etags.CHANGING:
            self._call_through(self._if_unchanged)

    def options(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:
        """The methods of the path (RFC 9110, §9.3.7), for any permission. No item is looked up."""
        return Response(status=204, headers={"Allow": ", ".join(self.allowed_methods)})

    @property
    def method(self) -> str:
        """The method that selects from `request_serializers` and `response_serializers`: GET for HEAD."""
        return permission_method(self.request.method)

    def _call_through(self, wrapper: Callable[..., HttpResponse]) -> None:
        """Pass the method to the wrapper instead of calling it: DRF has no hook between `initial` and the method."""
        name = str(self.request.method).lower()
        setattr(self, name, partial(wrapper, getattr(self, name)))

    def _once(self, method: Callable[..., Response], *args: Any, **kwargs: Any) -> HttpResponse:
        """Call the method, or repeat the answer to an earlier request with this `Idempotency-Key`."""
        fields = cast(BodySerializer, self.request_serializers[self.method]()).meaning(self.body)
        secret_fields = getattr(self.response_serializers[self.method], "secret_fields", ())
        attempt = idempotency.attempt(self.request, self.credential.key.id, fields)
        return idempotency.once(attempt, partial(method, *args, **kwargs), secret_fields)

    def _if_unchanged(self, method: Callable[..., HttpResponse], request: Request, **ids: str) -> HttpResponse:
        """Call the method if the item matches the preconditions. A lock prevents changes in between.

        Invalid fields are a 400 whatever the preconditions say (RFC 9110, §13.2.1).
        """
        with transaction.atomic():
            actors.lock_item(self.actor, self.get_object(**ids))
            if self.method in self.request_serializers:
                self.validated()
            etag = cast(Any, self).get(request, **ids)["ETag"]
            etags.require_match(request.META, etag)
            if etags.is_known(request.META, etag):
                raise PreconditionFailed("This item matches If-None-Match.")
            return method(request, **ids)

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], HttpResponse]:
        return exception_handler

    @property
    def actor(self) -> Actor:
        """The key that sends this request."""
        return cast(Actor, self.request.user)

    @property
    def credential(self) -> Credential:
        """The key's record, its place in the request and the verdict."""
        return cast(Credential, self.request.auth)

    @property
    def body(self) -> Any:
        """The body without the key, which may have been sent there but is not a field of the item."""
        fields: Any = self.request.data
        if self.request.auth is not None and self.credential.place is Place.BODY:
            fields = fields.copy()
            fields.pop(FIELD, None)
        return fields

    def validated(self) -> dict[str, Any]:
        """The body's fields; a PATCH may leave out any. Raises `ValidationError`."""
        serializer = self.request_serializers[self.method](data=self.body, partial=self.method == "PATCH")
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)

    def filters(self) -> dict[str, Any]:
        """The filters that a list's query string sets. An empty filter counts as not set. Raises `ValidationError`."""
        sent = self.request.query_params
        if repeated := [name for name, values in sent.lists() if len(values) > 1]:
            raise ValidationError({name: ["Send this parameter once."] for name in repeated})
        filters = {name: value for name, value in sent.items() if value and name not in _NO_FILTERS}
        serializer = self.filter_serializer(data=filters)
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)

    def item(self, instance: Model, **context: Any) -> Response:
        """The item as GET shows it. As in `page` and `created`, the context is the serializer's `self.context`."""
        serializer = cast(ModelSerializer[Any], self.response_serializers["GET"](instance, context=context))
        etag = etags.etag(serializer.data, serializer.volatile_fields)
        if self.method == "GET":
            etags.require_match(self.request.META, etag)
            if etags.is_known(self.request.META, etag):
                return Response(status=304, headers={"ETag": etag})
        return Response(serializer.data, headers={"ETag": etag})

    def page(self, queryset: QuerySet[M], **context: Any) -> Response:
        """One page of a list, in its model's ordering."""
        paginator = self.pagination_class()
        rows = paginator.paginate_queryset(queryset, self.request, view=self)
        serializer = self.response_serializers[self.method](rows, many=True, context=context)
        return paginator.get_paginated_response(serializer.data)

    def created(self, instance: Model, *, collection: str | None = None, **context: Any) -> Response:
        """201 with the new item and its URL in `Location`, in a collection that is this path by default."""
        data = self.response_serializers[self.method](instance, context=context).data
        collection = collection or self.request.path.rstrip("/")
        location = links.in_answer(f"{collection}/{data['id']}", self.request._request)
        return Response(data, status=201, headers={"Location": location})


def item_or_404(queryset: QuerySet[M], **lookup: Any) -> M:
    """The row, or 404. The queryset is limited to the account, so that another account's row is 404 too."""
    item = queryset.filter(**lookup).first()
    if item is None:
        raise Http404
    return item
