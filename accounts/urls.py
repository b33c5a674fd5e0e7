from django.urls import include, path

from . import (
    ids,  # noqa: F401  # registers the converter of <id:id>
    views,
)

app_name = "accounts"

projects = [
    path("", views.projects, name="projects"),
    path("new/", views.new_project, name="new_project"),
    path("<id:id>/", views.project, name="project"),
    path("<id:id>/edit/", views.edit_project, name="edit_project"),
    path("<id:id>/delete/", views.delete_project, name="delete_project"),
    path("<id:id>/deployments/new/", views.new_deployment, name="new_deployment"),
]

account_settings = [
    path("", views.general, name="general"),
    path("key-policy/", views.key_policy, name="key_policy"),
    path("members/", views.members, name="members"),
    path("audit-log/", views.audit_log, name="audit_log"),
    path("audit-log/export.csv", views.export_audit_log, {"kind": "csv"}, name="audit_log_csv"),
    path("audit-log/export.json", views.export_audit_log, {"kind": "json"}, name="audit_log_json"),
]

urlpatterns = [
    path("accounts/<slug:slug>/projects/", include(projects)),
    path("accounts/<slug:slug>/settings/", include(account_settings)),
    path("profile/", views.profile, name="profile"),
    path("theme/", views.theme, name="theme"),
]
