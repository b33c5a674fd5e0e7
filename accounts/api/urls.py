from django.urls import path

from . import views

urlpatterns = [
    path("account", views.AccountView.as_view()),
    path("projects", views.ProjectsView.as_view()),
    path("projects/<id:project_id>", views.ProjectView.as_view()),
    path("projects/<id:project_id>/deployments", views.DeploymentsView.as_view()),
    path("projects/<id:project_id>/deployments/<id:deployment_id>", views.DeploymentView.as_view()),
    path("audit-events", views.AuditEventsView.as_view()),
]
