"""Pages of an account: its projects, its settings, its audit log."""

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, OuterRef, Subquery
from django.forms import model_to_dict
from django.http import HttpResponse, HttpResponseBase, QueryDict, StreamingHttpResponse
from django.middleware.gzip import re_accepts_gzip
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.vary import vary_on_headers

from .. import exports, keyset, links, policy, services
from ..decorators import AccountRequest, account_page, pop_kept_form, recently_authenticated
from ..forms import AccountForm, AuditFilter, ChangeProjectForm, DeploymentForm, KeyPolicyForm, ProjectForm, status_of
from ..models import AuditEvent, Deployment, Project
from ..policy import Permission

EXPORTS = {"csv": (exports.as_csv, "text/csv; charset=utf-8"), "json": (exports.as_json, "application/json")}
PAGE_SIZE = 25


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
        messages.success(request, f"Project {project.name} created")
        return redirect("accounts:project", request.account.slug, project.public_id)
    return render(request, "accounts/project_form.html", {"form": form}, status=status_of(form))


@account_page(Permission.PROJECT_READ)
def project(request: AccountRequest, id: str) -> HttpResponse:
    project = _project(request, id)
    page = Paginator(project.deployments.all(), PAGE_SIZE).get_page(request.GET.get("page"))
    api = links.on_page(f"/v2/projects/{project.public_id}/deployments", request)
    return render(request, "accounts/project.html", {"project": project, "page": page, "api": api})


@account_page(Permission.PROJECT_CHANGE)
def edit_project(request: AccountRequest, id: str) -> HttpResponse:
    project = _project(request, id)
    current = model_to_dict(project, fields=ChangeProjectForm.base_fields)
    form = ChangeProjectForm(request.POST or None, initial=current, item=project)
    if request.method == "POST" and form.is_valid():
        if form.changes:
            services.change_project(actor=request.actor, project=project, **form.changes)
        messages.success(request, "Changes saved")
        return redirect("accounts:project", request.account.slug, project.public_id)
    return render(request, "accounts/project_form.html", {"form": form, "project": project}, status=status_of(form))


@account_page(Permission.PROJECT_CHANGE)
def delete_project(request: AccountRequest, id: str) -> HttpResponse:
    project = _project(request, id)
    if request.method == "POST":
        services.delete_project(actor=request.actor, project=project)
        messages.success(request, f"Project {project.name} deleted")
        return redirect("accounts:projects", request.account.slug)
    context = {"project": project, "deployment_count": project.deployments.count()}
    return render(request, "accounts/project_delete.html", context)


@account_page(Permission.DEPLOYMENT_CHANGE)
def new_deployment(request: AccountRequest, id: str) -> HttpResponse:
    project = _project(request, id)
    form = DeploymentForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        deployment = services.create_deployment(actor=request.actor, project=project, **form.cleaned_data)
        messages.success(request, f"Deployment of {deployment.revision} recorded")
        return redirect("accounts:project", request.account.slug, project.public_id)
    return render(request, "accounts/deployment_form.html", {"form": form, "project": project}, status=status_of(form))


@account_page(Permission.ACCOUNT_READ)
def general(request: AccountRequest) -> HttpResponse:
    form = _account_form(request, request.POST or None)
    if request.method == "POST":
        policy.require(request.actor, Permission.ACCOUNT_CHANGE)
        if form.is_valid():
            services.change_account(actor=request.actor, **form.changes)
            messages.success(request, "Changes saved")
            return redirect("accounts:general", request.account.slug)
    return _general(request, form, KeyPolicyForm(instance=request.account))


@account_page(Permission.ACCOUNT_CHANGE)
@recently_authenticated
def key_policy(request: AccountRequest) -> HttpResponse:
    """The rules for all keys of the account. The form is on the General tab."""
    is_sent = request.method == "POST"
    form = KeyPolicyForm(request.POST if is_sent else pop_kept_form(request), instance=request.account)
    if is_sent and form.is_valid():
        services.change_account(actor=request.actor, **form.changes)
        messages.success(request, "Key policy saved")
        return redirect("accounts:general", request.account.slug)
    return _general(request, _account_form(request), form)


def _account_form(request: AccountRequest, sent: QueryDict | None = None) -> AccountForm:
    return AccountForm(sent, initial={"name": request.account.name}, item=request.account)


def _general(request: AccountRequest, form: AccountForm, policy_form: KeyPolicyForm) -> HttpResponse:
    status = 422 if request.method == "POST" and (form.errors or policy_form.errors) else 200
    context = {"form": form, "policy_form": policy_form, "grace_days": services.GRACE_PERIOD.days}
    return render(request, "accounts/general.html", context, status=status)


@vary_on_headers("HX-Request")
@account_page(Permission.AUDIT_READ)
def audit_log(request: AccountRequest) -> HttpResponse:
    """The audit log. htmx requests only the entries when a filter changes."""
    filters = AuditFilter(request.GET)
    events = filters.apply(AuditEvent.objects.for_account(request.account))
    try:
        page = keyset.page(events, size=PAGE_SIZE, cursor=request.GET.get("page", ""))
    except ValueError:  # an old URL, or one that was edited
        page = keyset.page(events, size=PAGE_SIZE)
    template = "accounts/audit_log.html#events" if request.htmx else "accounts/audit_log.html"
    return render(request, template, {"page": page, "filters": filters})


@account_page(Permission.AUDIT_READ)
def export_audit_log(request: AccountRequest, kind: str) -> HttpResponseBase:
    """The log as a file, with the filters of its page. HEAD creates no file."""
    write, content_type = EXPORTS[kind]
    name = f"{request.account.slug}-audit-log-{timezone.now():%Y-%m-%d}.{kind}"
    headers = {
        "Content-Type": content_type,
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "private, no-store",
        "Vary": "Accept-Encoding",
    }
    if request.method == "HEAD":
        return StreamingHttpResponse(headers=headers)
    events = AuditFilter(request.GET).apply(AuditEvent.objects.for_account(request.account))
    compressed = bool(re_accepts_gzip.search(request.headers.get("Accept-Encoding", "")))
    if compressed:
        headers["Content-Encoding"] = "gzip"
    export = exports.Export(events, write, account_id=request.account.id, compressed=compressed)
    return StreamingHttpResponse(export, headers={**headers, "Content-Length": str(export.size)})


def _project(request: AccountRequest, id: str) -> Project:
    return get_object_or_404(Project.objects.for_account(request.account).with_public_id(id))
