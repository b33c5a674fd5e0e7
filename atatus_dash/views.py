"""Pages that need both apps."""

from django.http import HttpResponse
from django.shortcuts import redirect, render

from accounts.access import LAST_ACCOUNT, AccountRequest, SignedInRequest, account_page, signed_in
from accounts.models import Account, AuditEvent, Deployment, Membership, Project
from accounts.policy import Permission
from apikeys.models import APIKey, State

LATEST = 5


@signed_in
def home(request: SignedInRequest) -> HttpResponse:
    """Lead to the Overview of the account that was open last, or of the first one that opens."""
    accounts = Account.objects.of(request.user).active()
    account = accounts.filter(slug=request.session.get(LAST_ACCOUNT)).first() or accounts.first()
    if account is not None:
        return redirect("overview", slug=account.slug)
    if Membership.objects.seen_by(request.user).exists():
        return redirect("accounts:accounts")
    return render(request, "no_account.html")


@account_page(Permission.ACCOUNT_READ)
def overview(request: AccountRequest) -> HttpResponse:
    account = request.account
    deployments = Deployment.objects.for_account(account).select_related("project")
    keys = APIKey.objects.for_account(account)
    may_make_keys = request.actor.may(Permission.API_KEY_CHANGE)
    context = {
        "active_keys": keys.in_state(State.ACTIVE).count(),
        "projects": Project.objects.for_account(account).count(),
        "deployments": deployments.count(),
        "latest_deployments": deployments[:LATEST],
        "latest_events": AuditEvent.objects.for_account(account)[:LATEST],
        "guide": may_make_keys and not keys.filter(last_used_at__isnull=False).exists(),
        "api": request.build_absolute_uri("/v2"),
    }
    return render(request, "overview.html", context)
