"""The door of every page inside an account."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse

from . import policy
from .models import Account, Membership, User
from .policy import GRANTS, Actor, ActorKind, Permission, Role

P = ParamSpec("P")

LAST_ACCOUNT = "last_account"


class AccountRequest(HttpRequest):
    """A request of a signed-in person to a page of an account they are a member of."""

    user: User
    account: Account
    actor: Actor
    htmx: Any


def account_page(
    permission: Permission,
) -> Callable[[Callable[Concatenate[AccountRequest, P], HttpResponse]], Callable[..., HttpResponse]]:
    """Let a page be opened only by members with the permission.

    Sets `request.account` and `request.actor`. A stranger gets 404, never 403: another tenant's account is
    no one's business. A member without the permission gets 403 (`NotPermitted`, which
    `ErrorPagesMiddleware` draws).
    """

    def decorate(view: Callable[Concatenate[AccountRequest, P], HttpResponse]) -> Callable[..., HttpResponse]:
        @login_required
        @wraps(view)
        def page(request: Any, slug: str, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            membership = (
                Membership.objects.filter(user=request.user, account__slug=slug).select_related("account").first()
            )
            if membership is None:
                raise Http404
            request.account = membership.account
            request.actor = actor_for(request, membership)
            policy.require(request.actor, permission)
            request.session[LAST_ACCOUNT] = slug
            return view(request, *args, **kwargs)

        page.permission = permission  # type: ignore[attr-defined]  # the tests' matrix reads it
        return page

    return decorate


def actor_for(request: HttpRequest, membership: Membership) -> Actor:
    """The person at the browser, in the account of that membership."""
    role = Role(membership.role)
    return Actor(
        kind=ActorKind.PERSON,
        id=str(membership.user_id),
        label=request.user.email,  # type: ignore[union-attr]  # a member is signed in
        account=membership.account.ref,
        permissions=GRANTS[role],
        role=role,
        address=request.META["REMOTE_ADDR"] or None,
        request_id=request.request_id,  # type: ignore[attr-defined]  # RequestIdMiddleware sets it
    )
