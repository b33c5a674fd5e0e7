"""Admin of sessions, without their keys. Second factors have no admin: allauth's would show their secrets."""

from allauth.mfa.admin import Authenticator
from allauth.usersessions.admin import UserSession
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from .base import OperatorAdmin

admin.site.unregister([Authenticator, UserSession])


@admin.register(UserSession)
class UserSessionAdmin(OperatorAdmin):
    """Who is signed in. The session key is a credential and not shown. Deleting a row ends the session."""

    list_display = ["user", "ip", "user_agent", "created_at", "last_seen_at"]
    list_select_related = ["user"]
    search_fields = ["user__email", "user__name", "ip", "user_agent"]
    fields = ["user", "ip", "user_agent", "created_at", "last_seen_at"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: UserSession | None = None) -> bool:
        return False

    def delete_model(self, request: HttpRequest, obj: UserSession) -> None:
        obj.end()

    def delete_queryset(self, request: HttpRequest, queryset: "QuerySet[UserSession]") -> None:
        for session in queryset:
            session.end()
