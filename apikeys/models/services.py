"""Services: APIs that accept an account's keys."""

from collections.abc import Collection
from datetime import timedelta
from typing import ClassVar, Self

from django.db import models
from django.utils import timezone

from accounts import fields, ids
from accounts.models import Account, AccountOwnedQuerySet, HasAccountId
from accounts.targets import Target

from .. import validators

#: How long a service's page shows a problem with its gateway.
PROBLEM_SHOWN = timedelta(days=1)


class ServiceQuerySet(AccountOwnedQuerySet["Service"]):
    def visible_to(self, account: HasAccountId) -> Self:
        """The account's own services and those that are shared with every account."""
        return self.filter(models.Q(account_id=account.id) | models.Q(shared=True))

    def search(self, text: str) -> Self:
        """Services whose name contains the text, or whose id it is."""
        return self.filter(models.Q(name__icontains=text) | models.Q(pk=text))

    def ids_among(self, ids: Collection[str]) -> set[str]:
        """The ids that exist."""
        return set(self.filter(pk__in=ids).values_list("pk", flat=True)) if ids else set()


class Service(models.Model):
    """An API of the account that accepts the account's keys. The gateway in front of it asks this server.

    A shared service accepts the keys of every account. Other accounts see only its id and name.
    `last_question_at` is the time of the last authorization request, even if it was refused. `problem` says what was
    wrong with the gateway at `problem_at`.
    """

    id = models.CharField(primary_key=True, max_length=24, default=ids.new_service_id, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="services")
    name = fields.LineField(max_length=100)
    reading_methods = models.JSONField(
        default=validators.default_reading_methods,
        blank=True,
        validators=[validators.method_list],
        help_text="Methods that the Read permission covers. Every other one needs Write.",
    )
    reading_paths = models.JSONField(
        default=list,
        blank=True,
        validators=[validators.path_list],
        help_text="Paths where every method counts as reading, for example /graphql or /search/*.",
    )
    preflight = models.BooleanField(
        "CORS preflights pass", default=False, help_text="Browsers send preflights without a key."
    )
    query_keys = models.BooleanField(
        "keys in the query string", default=False, help_text="Keys then appear in the service's own logs."
    )
    gateways = models.JSONField(
        default=list,
        blank=True,
        validators=[validators.gateway_list],
        help_text="CIDRs of the gateways that may ask. Empty: none.",
    )
    upstream = fields.LineField(
        max_length=200,
        blank=True,
        validators=[validators.upstream],
        help_text="Where the service listens. Fills in configurations and is never contacted.",
    )
    shared = models.BooleanField(default=False, help_text="Keys of every account have access to it.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    created_by = fields.LineField(max_length=254, blank=True, editable=False)
    last_question_at = models.DateTimeField("last authorization request", null=True, blank=True, editable=False)
    problem = fields.LineField(max_length=300, blank=True, db_default="", editable=False)
    problem_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects: ClassVar[models.Manager["Service"]] = ServiceQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["account", "-created_at", "-id"], name="service_newest"),
            models.Index(fields=["-created_at", "-id"], name="service_latest"),
            models.Index(fields=["-created_at", "-id"], condition=models.Q(shared=True), name="service_shared"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def has_recent_problem(self) -> bool:
        """Whether the last problem with a gateway is recent enough to show."""
        return self.problem_at is not None and bool(self.problem) and self.problem_at > timezone.now() - PROBLEM_SHOWN

    @property
    def is_connected(self) -> bool:
        """Whether a gateway sent an authorization request, without a recent problem since."""
        if self.last_question_at is None:
            return False
        return not self.has_recent_problem or self.problem_at is None or self.last_question_at > self.problem_at

    @property
    def target(self) -> Target:
        return Target("service", self.id, self.name)
