"""Admin lists that stay fast with millions of rows: keyset pagination, no counts, exact searches."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.db import DataError
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from .. import keyset


class KeysetChangeList(ChangeList):
    """A list in the order of its model. `p` in its address holds a cursor instead of a number."""

    page: keyset.Page[Model]

    def get_results(self, request: HttpRequest) -> None:
        try:
            self.page = keyset.page(self.queryset, size=self.list_per_page, cursor=request.GET.get(PAGE_VAR, ""))
        except (ValueError, OverflowError, DataError) as error:  # from the cursor, or from a filter's value
            raise IncorrectLookupParameters from error
        self.result_list = self.page.rows
        self.result_count = len(self.page)  # of this page only
        self.full_result_count = None
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all = False
        self.multi_page = False

    @property
    def next_url(self) -> str | None:
        return self.get_query_string({PAGE_VAR: self.page.next}) if self.page.next else None

    @property
    def previous_url(self) -> str | None:
        return self.get_query_string({PAGE_VAR: self.page.previous}) if self.page.previous else None


class SinceFilter(admin.SimpleListFilter):
    """Filters by the date or time in the column `field`."""

    title = "time"
    parameter_name = "since"
    field: str

    SPANS = {"1": "Past 24 hours", "7": "Past 7 days", "30": "Past 30 days", "365": "Past year"}

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(self.SPANS.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        days = self.value()
        if days not in self.SPANS:
            return queryset
        return queryset.filter(**{f"{self.field}__gte": timezone.now() - timedelta(days=int(days))})


def since(field: str) -> type[SinceFilter]:
    """A `SinceFilter` on that column."""
    return type("SinceFilter", (SinceFilter,), {"field": field})


class ExactSearch(admin.ModelAdmin):
    """Matches whole values only, which an index finds in any number of rows."""

    #: The columns to compare with. All are the model's own: no index spans two tables.
    lookups = ["id"]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        text = search_term.strip()
        if not text:
            return queryset, False
        if "\0" in text:  # PostgreSQL text can't contain it
            return queryset.none(), False
        found = self.found_by(text)
        for lookup in self.lookups:
            found |= Q(**{lookup: text})
        return queryset.filter(found), False

    def found_by(self, text: str) -> Q:
        """Further conditions that match the text, joined by OR."""
        return Q()
