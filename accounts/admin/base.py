"""Base classes of every model admin, in all apps."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import BadRequest, ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse

from ..context import RequestContext
from ..decorators import user_of
from ..errors import DomainError
from ..forms import ChangeModelForm
from ..models import Account
from ..policy import Actor, ActorKind, Permission
from .changelist import KeysetChangeList


def operator(request: HttpRequest, account: Account) -> Actor:
    """The signed-in operator as an actor with every permission in the account."""
    return Actor(
        kind=ActorKind.PERSON,
        id=str(request.user.pk),
        label=user_of(request).email,
        account=account.ref,
        permissions=frozenset(Permission),
        context=RequestContext.of(request),
    )


class Autocomplete(AutocompleteSelect):
    """Ignores values that can't be ids. Django looks up whatever was sent, and fails on a malformed id."""

    def optgroups(self, name: str, value: Sequence[str], attr: Any = None) -> Any:
        return super().optgroups(name, [text for text in value if self._may_be_id(text)], attr)

    def _may_be_id(self, text: str) -> bool:
        try:
            self.field.target_field.clean(text, None)
        except ValidationError:
            return False
        return True


class OperatorAdmin(admin.ModelAdmin):
    """The base class of every model admin: fast lists, strict lookups."""

    list_per_page = 50
    #: A list keeps its model's order, which has an index. Any other order would sort the whole table.
    sortable_by = ()

    #: Facets count all rows for every filter.
    show_facets = admin.ShowFacets.NEVER

    MAX_WORDS = 20

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        return KeysetChangeList

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in self.get_autocomplete_fields(request):
            kwargs.setdefault("widget", Autocomplete(db_field, self.admin_site))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Allow only the list's own filters. With others, a digest could be guessed letter by letter."""
        asked: set[str | None] = set()
        for item in self.list_filter:
            if isinstance(item, str):
                asked |= {f"{item}__exact", f"{item}__isnull"}
            elif isinstance(item, type) and issubclass(item, admin.SimpleListFilter):
                asked.add(item.parameter_name)
        return lookup in asked

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """An empty `_to_field` in the URL means none. Django looks for a field without a name, and fails."""
        return super().get_object(request, object_id, from_field or None)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Every word is a condition on every field. With too many, SQLite refuses the query, so return nothing."""
        if len(search_term.split()) > self.MAX_WORDS:
            return queryset.none(), False
        return super().get_search_results(request, queryset, search_term)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Ignore the query string: a new item's form starts empty."""
        return {}

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Answer malformed ids with 400, before the action's query fails on them."""
        try:
            for text in request.POST.getlist(ACTION_CHECKBOX_NAME):
                self.opts.pk.clean(text, None)
        except ValidationError as error:
            raise BadRequest("These items can't be found.") from error
        return super().response_action(request, queryset, *args, **kwargs)

    def for_each(self, request: HttpRequest, items: Iterable[Any], act: Callable[[Any], object], done: str) -> None:
        """Call `act` for each item; show how many succeeded and why the others failed."""
        number = 0
        for item in items:
            try:
                act(item)
            except DomainError as error:
                self.message_user(request, error.message, messages.ERROR)
            else:
                number += 1
        if number:
            self.message_user(request, f"{number} {done}.", messages.SUCCESS)


class ViewOnlyAdmin(OperatorAdmin):
    """For models that are not changed by hand."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class ServiceAdmin(OperatorAdmin):
    """Adds through `add`, changes through `change`, deletes through `remove`, which call services.

    `change` gets only the fields that the operator changed: the rest of the form may be out of date.
    """

    form = ChangeModelForm

    def add(self, request: HttpRequest, fields: dict[str, Any]) -> Model:
        raise NotImplementedError

    def change(self, request: HttpRequest, item: Any, changes: dict[str, Any]) -> object:
        raise NotImplementedError

    def remove(self, request: HttpRequest, item: Any) -> object:
        raise NotImplementedError

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Any:
        if change:
            return super().save_form(request, form, change)
        form.save_m2m = lambda: None
        return self.add(request, form.cleaned_data)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change and form.changes:
            self.change(request, obj, form.changes)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.remove(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for item in queryset:
            self.remove(request, item)
