"""Django admin's site, only for operators who signed in with a second factor.

It has one page besides those of the tables: *Operations*, with the scheduled jobs.
"""

from collections.abc import Iterator
from functools import wraps
from typing import Any, cast

from allauth.account.utils import get_next_redirect_url
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import redirect, render, resolve_url
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts.errors import DomainError
from accounts.factors import has_second_factor, reauthentication_page, session_has_second_factor
from accounts.models import User
from accounts.sessions import was_renewed
from accounts.turns import OPERATORS, turns

from . import VERSION, operations

#: The session key of the admin page to open once the operator has set up a second factor.
WANTED = "admin_wanted"


class OperatorSite(AdminSite):
    site_header = site_title = "Atatus Dash"

    def has_permission(self, request: HttpRequest) -> bool:
        return super().has_permission(request) and session_has_second_factor(request)

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Refuse a NUL in path, query or form: Django passes it to the database, but PostgreSQL can't store it."""

        @wraps(view)
        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            sent = (request.path, *_texts(request.GET), *_texts(request.POST))
            if any("\0" in text for text in sent):
                raise BadRequest("The request contains a NUL character.")
            if request.method == "POST" and not was_renewed(request):
                turns.take(request.META, OPERATORS)
            response: HttpResponse = view(request, *args, **kwargs)
            return response

        return super().admin_view(checked, cacheable)

    @method_decorator(never_cache)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:  # noqa: ARG002  as Django calls it
        """Redirect to the step of sign-in that is missing, and from there to the requested page.

        Django's own form is never shown, because it asks for no second factor.
        """
        wanted = get_next_redirect_url(request)
        back = wanted or reverse("admin:index")
        if not request.user.is_authenticated:
            return redirect_to_login(back)
        if not super().has_permission(request):
            raise PermissionDenied
        if not has_second_factor(request.user):
            request.session[WANTED] = back
            return redirect_to_login(back, resolve_url("mfa_index"))
        if not session_has_second_factor(request):
            return redirect_to_login(back, resolve_url(reauthentication_page(request.user)))
        return HttpResponseRedirect(wanted or request.session.pop(WANTED, back))

    def get_urls(self) -> list[URLPattern | URLResolver]:
        return [
            path("operations/", self.admin_view(require_GET(self.operations)), name="operations"),
            path("operations/<str:name>/run/", self.admin_view(require_POST(self.run_job)), name="run_job"),
            *super().get_urls(),
        ]

    def operations(self, request: HttpRequest) -> HttpResponse:
        if not request.user.has_perm("atatus_dash.view_scheduledjob"):
            raise PermissionDenied
        jobs = operations.scheduled_jobs()
        context = {**self.each_context(request), "title": "Operations", "statuses": jobs, "version": VERSION}
        return render(request, "admin/operations.html", context)

    def run_job(self, request: HttpRequest, name: str) -> HttpResponse:
        if not request.user.has_perm("atatus_dash.change_scheduledjob"):
            raise PermissionDenied
        try:
            job = operations.run_now(name, by=cast(User, request.user))
        except DomainError as error:
            messages.error(request, error.message)
        else:
            messages.success(request, f"{job.title} will run in a moment")
        return redirect("admin:operations")


def _texts(fields: QueryDict) -> Iterator[str]:
    for name, values in fields.lists():
        yield name
        yield from values
