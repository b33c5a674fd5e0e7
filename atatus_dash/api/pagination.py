from typing import Any

from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param

from accounts import keyset, links
from accounts.errors import Invalid


class Pagination(BasePagination):
    """`{"results": […], "next": URL|null}` and a `Link` header (RFC 8288). `limit` is 1 to 100."""

    parameters = ("limit", "cursor")
    page_size = 50
    max_page_size = 100

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        try:
            self.page = keyset.page(queryset, size=self._size(request), cursor=request.query_params.get("cursor", ""))
        except ValueError:
            raise Invalid("The cursor is invalid.", errors={"cursor": ["This is not a cursor."]}) from None
        self.url = remove_query_param(links.in_answer(request.get_full_path(), request._request), "api_key")
        return self.page.rows

    def get_paginated_response(self, data: Any) -> Response:
        following = replace_query_param(self.url, "cursor", self.page.next) if self.page.next else None
        headers = {"Link": f'<{following}>; rel="next"'} if following else None
        return Response({"results": data, "next": following}, headers=headers)

    def _size(self, request: Request) -> int:
        text = request.query_params.get("limit", str(self.page_size))
        if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= self.max_page_size):
            raise Invalid("The limit is out of range.", errors={"limit": ["Choose a whole number from 1 to 100."]})
        return int(text)
