"""Admin of the outbox: recipients and states, never the text, which may contain a link that signs in."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from .. import outbox
from ..models import OutgoingMail
from .base import ViewOnlyAdmin
from .changelist import ExactSearch, since


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state.value, str(state.label)) for state in OutgoingMail.State]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case OutgoingMail.State.WAITING:
                return queryset.filter(due_at__isnull=False)
            case OutgoingMail.State.SENT:
                return queryset.filter(sent_at__isnull=False)
            case OutgoingMail.State.GIVEN_UP:
                return queryset.filter(given_up_at__isnull=False)
        return queryset


@admin.register(OutgoingMail)
class OutgoingMailAdmin(ExactSearch, ViewOnlyAdmin):
    list_display = ["created_at", "recipient", "subject", "mail_state", "due_at", "tries", "error"]
    list_filter = [StateFilter, since("created_at")]
    search_fields = ["id"]
    search_help_text = "The recipient's address."
    lookups = ["recipient"]
    fields = [
        *("recipient", "subject", "kind", "mail_state", "created_at", "sent_at", "given_up_at"),
        *("due_at", "expires_at", "tries", "error"),
    ]
    actions = ["send_again"]

    @admin.display(description="state")
    def mail_state(self, outgoing: OutgoingMail) -> str:
        return str(outgoing.state.label)

    def has_send_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("accounts.change_outgoingmail")

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Otherwise an operator could guess a text letter by letter, with `?text__startswith=…`."""
        return lookup.partition("__")[0] != "text" and super().lookup_allowed(lookup, value, request)

    @admin.action(description="Send selected mail again", permissions=["send"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[OutgoingMail]) -> None:
        number = outbox.send_again(queryset)
        if number:
            self.message_user(request, f"{number} will be sent again", messages.SUCCESS)
        if others := queryset.count() - number:
            self.message_user(
                request,
                f"{others} can't be sent again: only mail that was given up can, and only until it expires.",
                messages.ERROR,
            )
