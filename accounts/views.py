"""Pages of an account and of the person: projects, settings, profile."""

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, OuterRef, Subquery
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from . import policy, services
from .access import AccountRequest, SignedInRequest, account_page, signed_in
from .forms import AccountForm, DeploymentForm, ProfileForm, ProjectForm, Theme, ThemeForm
from .models import AuditEvent, Deployment, Membership, Project
from .policy import Permission

PAGE_SIZE = 25
A_YEAR = 365 * 24 * 3600


@account_page(Permission.PROJECT_READ)
def projects(request: AccountRequest) -> HttpResponse:
    deployments = Deployment.objects.filter(project=OuterRef("pk"))
    rows = Project.objects.for_account(request.account).annotate(
        deployment_count=Subquery(deployments.order_by().values("project").annotate(n=Count("pk")).values("n")),
        deployed_at=Subquery(deployments.values("created_at")[:1]),
    )
    page = Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page"))
    return render(request, "accounts/projects.html", {"page": page})


@account_page(Permission.PROJECT_CHANGE)
def new_project(request: AccountRequest) -> HttpResponse:
    form = ProjectForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        project = services.create_project(actor=request.actor, **form.cleaned_data)
        messages.success(request, f"Project {project.name} is made.")
        return redirect("accounts:project", request.account.slug, project.id)
    return render(request, "accounts/project_form.html", {"form": form}, status=_status(form))


@account_page(Permission.PROJECT_READ)
def project(request: AccountRequest, id: str) -> HttpResponse:
    project = _project(request, id)
    page = Paginator(project.deployments.all(), PAGE_SIZE).get_page(request.GET.get("page"))
    api = request.build_absolute_uri(f"/v2/projects/{project.id}/deployments")
    return render(request, "accounts/project.html", {"project": project, "page": page, "api": api})


@account_page(Permission.PROJECT_CHANGE)
def edit_project(request: AccountRequest, id: str) -> HttpResponse:
    project = _project(request, id)
    form = ProjectForm(request.POST or None, initial={"name": project.name})
    if request.method == "POST" and form.is_valid():
        services.change_project(actor=request.actor, project=project, **form.cleaned_data)
        messages.success(request, "Project saved.")
        return redirect("accounts:project", request.account.slug, project.id)
    return render(request, "accounts/project_form.html", {"form": form, "project": project}, status=_status(form))


@account_page(Permission.PROJECT_CHANGE)
def delete_project(request: AccountRequest, id: str) -> HttpResponse:
    project = _project(request, id)
    if request.method == "POST":
        services.delete_project(actor=request.actor, project=project)
        messages.success(request, f"Project {project.name} is deleted.")
        return redirect("accounts:projects", request.account.slug)
    context = {"project": project, "deployment_count": project.deployments.count()}
    return render(request, "accounts/project_delete.html", context)


@account_page(Permission.DEPLOYMENT_CHANGE)
def new_deployment(request: AccountRequest, id: str) -> HttpResponse:
    project = _project(request, id)
    form = DeploymentForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        deployment = services.create_deployment(actor=request.actor, project=project, **form.cleaned_data)
        messages.success(request, f"Deployment of {deployment.revision} is recorded.")
        return redirect("accounts:project", request.account.slug, project.id)
    return render(request, "accounts/deployment_form.html", {"form": form, "project": project}, status=_status(form))


@account_page(Permission.ACCOUNT_READ)
def general(request: AccountRequest) -> HttpResponse:
    form = AccountForm(request.POST or None, initial={"name": request.account.name})
    if request.method == "POST":
        policy.require(request.actor, Permission.ACCOUNT_CHANGE)
        if form.is_valid():
            services.change_account(actor=request.actor, **form.cleaned_data)
            messages.success(request, "Account saved.")
            return redirect("accounts:general", request.account.slug)
    return render(request, "accounts/general.html", {"form": form}, status=_status(form))


@account_page(Permission.MEMBER_READ)
def members(request: AccountRequest) -> HttpResponse:
    rows = Membership.objects.for_account(request.account).select_related("user")
    page = Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page"))
    return render(request, "accounts/members.html", {"page": page})


@account_page(Permission.AUDIT_READ)
def audit_log(request: AccountRequest) -> HttpResponse:
    rows = AuditEvent.objects.for_account(request.account)
    page = Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page"))
    return render(request, "accounts/audit_log.html", {"page": page})


@signed_in
def profile(request: SignedInRequest) -> HttpResponse:
    form = ProfileForm(request.POST or None, initial={"name": request.user.name})
    if request.method == "POST" and form.is_valid():
        request.user.name = form.cleaned_data["name"]
        request.user.save(update_fields=["name"])
        messages.success(request, "Profile saved.")
        return redirect("accounts:profile")
    theme = ThemeForm(initial={"theme": request.COOKIES.get(Theme.COOKIE, Theme.SYSTEM)})
    return render(request, "accounts/profile.html", {"form": form, "theme_form": theme}, status=_status(form))


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    form = ThemeForm(request.POST)
    response = redirect("accounts:profile")
    if form.is_valid():
        response.set_cookie(
            Theme.COOKIE,
            form.cleaned_data["theme"],
            max_age=A_YEAR,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )
    return response


def _project(request: AccountRequest, id: str) -> Project:
    return get_object_or_404(Project.objects.for_account(request.account), pk=id)


def _status(form: BaseForm) -> int:
    """A form that was refused is no success: 422, and htmx swaps it in all the same."""
    return 422 if form.errors else 200
