"""Projects and their deployments."""

from typing import TypedDict, Unpack

from django.db import IntegrityError, transaction

from .. import audit
from ..audit import Event
from ..errors import Invalid
from ..models import Deployment, Project
from ..policy import Actor, Permission
from .changes import apply_changes, lock_actor, lock_for_update


@transaction.atomic
def create_project(*, actor: Actor, name: str, kept_id: str | None = None) -> Project:
    """Create a project, with `kept_id` if it keeps its id from Atatus.

    Raises `Invalid` if a project of the account has that id. Only the database's constraint can check that safely.
    """
    actor = lock_actor(actor, Permission.PROJECT_CHANGE)
    try:
        with transaction.atomic():
            project = Project.objects.create(account_id=actor.account.id, name=name, kept_id=kept_id)
    except IntegrityError as error:
        if kept_id is None:
            raise
        raise Invalid.of_fields({"id": ["Another project of this account has this id."]}) from error
    audit.record(actor=actor, event=Event.PROJECT_CREATED, target=project.target)
    return project


class ProjectSettings(TypedDict, total=False):
    """The settings of a project that can change."""

    name: str


@transaction.atomic
def change_project(*, actor: Actor, project: Project, **settings: Unpack[ProjectSettings]) -> Project:
    actor = lock_actor(actor, Permission.PROJECT_CHANGE)
    project = _lock_project(actor, project)
    if changes := apply_changes(project, **settings):
        project.save(update_fields=changes)
        audit.record(actor=actor, event=Event.PROJECT_CHANGED, target=project.target, changes=changes)
    return project


@transaction.atomic
def delete_project(*, actor: Actor, project: Project) -> None:
    """Delete a project with all its deployments."""
    actor = lock_actor(actor, Permission.PROJECT_CHANGE)
    project = _lock_project(actor, project)
    audit.record(actor=actor, event=Event.PROJECT_DELETED, target=project.target)
    project.delete()


@transaction.atomic
def create_deployment(
    *,
    actor: Actor,
    project: Project,
    revision: str,
    release_stage: str = "production",
    changes: str = "",
    user: str = "",
) -> Deployment:
    """Record that a revision of a project went to a release stage."""
    actor = lock_actor(actor, Permission.DEPLOYMENT_CHANGE)
    deployment = Deployment.objects.create(
        project=_lock_project(actor, project),
        revision=revision,
        release_stage=release_stage,
        changes=changes,
        user=user,
        recorded_by=actor.label,
    )
    audit.record(actor=actor, event=Event.DEPLOYMENT_CREATED, target=deployment.target)
    return deployment


@transaction.atomic
def delete_deployment(*, actor: Actor, deployment: Deployment) -> None:
    actor = lock_actor(actor, Permission.DEPLOYMENT_CHANGE)
    deployment = lock_for_update(actor, Deployment.objects, deployment, "This deployment")
    audit.record(actor=actor, event=Event.DEPLOYMENT_DELETED, target=deployment.target)
    deployment.delete()


def _lock_project(actor: Actor, project: Project) -> Project:
    return lock_for_update(actor, Project.objects, project, "This project")
