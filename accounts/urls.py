from django.urls import URLPattern, URLResolver, include, path

from . import (
    ids,  # noqa: F401  # registers the converter of <id:id>
)
from .views import account, invitations, members, ownership, users

app_name = "accounts"

projects: list[URLPattern] = [
    path("", account.projects, name="projects"),
    path("new/", account.new_project, name="new_project"),
    path("<id:id>/", account.project, name="project"),
    path("<id:id>/edit/", account.edit_project, name="edit_project"),
    path("<id:id>/delete/", account.delete_project, name="delete_project"),
    path("<id:id>/deployments/new/", account.new_deployment, name="new_deployment"),
]

member_pages: list[URLPattern] = [
    path("", members.members, name="members"),
    path("invite/", members.invite, name="invite"),
    path("leave/", members.leave, name="leave"),
    path("invitations/<id:id>/role/", members.change_invitation, name="change_invitation"),
    path("invitations/<id:id>/resend/", members.resend_invitation, name="resend_invitation"),
    path("invitations/<id:id>/withdraw/", members.withdraw_invitation, name="withdraw_invitation"),
    path("<id:id>/role/", members.change_role, name="change_role"),
    path("<id:id>/remove/", members.remove_member, name="remove_member"),
]

account_settings: list[URLPattern | URLResolver] = [
    path("", account.general, name="general"),
    path("key-policy/", account.key_policy, name="key_policy"),
    path("members/", include(member_pages)),
    path("audit-log/", account.audit_log, name="audit_log"),
    path("audit-log/export.csv", account.export_audit_log, {"kind": "csv"}, name="audit_log_csv"),
    path("audit-log/export.json", account.export_audit_log, {"kind": "json"}, name="audit_log_json"),
    path("two-factor/", ownership.two_factor, name="two_factor"),
    path("transfer/", ownership.transfer, name="transfer"),
    path("transfer/accept/", ownership.accept_transfer, name="accept_transfer"),
    path("transfer/withdraw/", ownership.withdraw_transfer, name="withdraw_transfer"),
    path("close/", ownership.close, name="close"),
]

urlpatterns = [
    path("accounts/", users.accounts, name="accounts"),
    path("accounts/new/", users.new_account, name="new_account"),
    path("accounts/<slug:slug>/projects/", include(projects)),
    path("accounts/<slug:slug>/settings/", include(account_settings)),
    path("accounts/<slug:slug>/closed/", ownership.closed, name="closed"),
    path("accounts/<slug:slug>/reopen/", ownership.reopen, name="reopen"),
    path("invitations/<str:token>/", invitations.invitation, name="invitation"),
    path("profile/", users.profile, name="profile"),
    # Keep this path: during an upgrade, servers of the previous release render or receive this form.
    path("profile/look/", users.appearance, name="appearance"),
    path("profile/keyboard/", users.keyboard, name="keyboard"),
]
