"""Projects and deployments."""

from datetime import datetime
from typing import ClassVar, Self

from django.db import models
from django.utils import timezone

from .. import fields, ids
from ..targets import Target
from .accounts import Account
from .owned import AccountOwnedQuerySet, HasAccountId


class ProjectQuerySet(AccountOwnedQuerySet["Project"]):
    def with_public_id(self, public_id: str) -> Self:
        """The project with this public id, in rows of one account."""
        if ids.is_kept_id(public_id):
            return self.filter(kept_id=public_id)
        return self.filter(pk=public_id, kept_id=None)

    def search(self, text: str) -> Self:
        """Projects whose name contains the text, or whose public id it is, in rows of one account."""
        return self.filter(name__icontains=text) | self.with_public_id(text)


class Project(models.Model):
    """A site, an app or another program that an account deploys.

    `kept_id` is the id that it had at Atatus, if its team kept it; another account may have the same. Pages and the
    API show only `public_id`.
    """

    id = models.CharField(primary_key=True, max_length=24, default=ids.new_project_id, editable=False)
    kept_id = models.CharField(max_length=24, null=True, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="projects")
    name = fields.LineField(max_length=100)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[models.Manager["Project"]] = ProjectQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["account", "kept_id"], name="project_kept_id_once_per_account")]
        indexes = [
            models.Index(fields=["account", "-created_at", "-id"], name="project_newest"),
            models.Index(fields=["-created_at", "-id"], name="project_latest"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def target(self) -> Target:
        return Target("project", self.public_id, self.name)

    @property
    def public_id(self) -> str:
        return self.kept_id or self.id


class DeploymentQuerySet(models.QuerySet["Deployment"]):
    def for_account(self, account: HasAccountId) -> Self:
        return self.filter(project__account_id=account.id)

    def matching(
        self,
        *,
        revision: str = "",
        release_stage: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Self:
        """The filters of the API. `since` is included, `until` is not."""
        wanted = {
            "revision": revision,
            "release_stage": release_stage,
            "created_at__gte": since,
            "created_at__lt": until,
        }
        return self.filter(**{name: value for name, value in wanted.items() if value})


class Deployment(models.Model):
    """A revision of a project that went to a release stage.

    `user` is the name that the client sent; `recorded_by` is the key or user that recorded it.
    """

    id = models.CharField(primary_key=True, max_length=24, default=ids.new_deployment_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="deployments")
    revision = fields.LineField(max_length=200)
    release_stage = fields.LineField(max_length=100, default="production")
    changes = fields.TextField(blank=True, max_length=65_536)
    user = fields.LineField(max_length=200, blank=True)
    recorded_by = fields.LineField(max_length=254, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[models.Manager["Deployment"]] = DeploymentQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["project", "-created_at", "-id"], name="deployment_newest"),
            models.Index(fields=["-created_at", "-id"], name="deployment_latest"),
        ]

    def __str__(self) -> str:
        return f"{self.revision} to {self.release_stage}"

    @property
    def target(self) -> Target:
        return Target("deployment", self.id, self.revision)
