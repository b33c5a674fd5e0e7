"""API keys."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from typing import ClassVar, Self

from django.core.validators import MinLengthValidator
from django.db import models
from django.db.models.functions import Length
from django.db.models.lookups import Exact
from django.utils import timezone

from accounts import fields, ids
from accounts.models import Account, AccountOwnedQuerySet
from accounts.policy import KeyPermission
from accounts.targets import Target

from .. import validators

EXPIRES_SOON = timedelta(days=7)
UNUSED_AFTER = timedelta(days=90)

#: A rotated key is safe to retire if nothing used it for this long, or for a quarter of its overlap if that is less.
QUIET_AFTER = timedelta(days=1)


class State(models.TextChoices):
    ACTIVE = "active", "Active"
    DISABLED = "disabled", "Disabled"
    EXPIRED = "expired", "Expired"
    REVOKED = "revoked", "Revoked"


class Retirement(models.TextChoices):
    """Whether a rotated key can be revoked before its overlap ends."""

    IN_USE = "in_use"
    TOO_EARLY = "too_early"  # not used since the rotation, but that was only a short time ago
    SAFE = "safe"


class APIKeyQuerySet(AccountOwnedQuerySet["APIKey"]):
    def in_state(self, *states: State, at: datetime | None = None) -> Self:
        """Keys in any of the states, with the precedence of `APIKey.state`: revoked, expired, disabled, active."""
        now = at or timezone.now()
        revoked = models.Q(revoked_at__isnull=False)
        expired = models.Q(expires_at__isnull=False, expires_at__lte=now) & ~revoked
        disabled = models.Q(disabled_at__isnull=False)
        wanted = {
            State.REVOKED: revoked,
            State.EXPIRED: expired,
            State.DISABLED: disabled & ~revoked & ~expired,
            State.ACTIVE: ~disabled & ~revoked & ~expired,
        }
        return self.filter(reduce(or_, (wanted[state] for state in states)))

    def expiring(self) -> Self:
        """Active keys that expire within a week."""
        return self.in_state(State.ACTIVE).filter(expires_at__lte=timezone.now() + EXPIRES_SOON)

    def needing_attention(self) -> Self:
        """Active keys that were exposed, expire within a week, have long been unused, or are used despite rotation.

        A rotated key that nothing uses needs no action, because it expires. Most urgent first.
        """
        now = timezone.now()
        exposed = models.Q(exposed_at__isnull=False)
        expiring = models.Q(expires_at__lte=now + EXPIRES_SOON)
        unused = models.Q(last_used_at__lte=now - UNUSED_AFTER) | models.Q(
            last_used_at__isnull=True, created_at__lte=now - UNUSED_AFTER
        )
        rotated = models.Q(rotated_at__isnull=False)
        still_used = models.Q(last_used_at__gt=now - QUIET_AFTER, last_used_at__gte=models.F("rotated_at"))
        return (
            self.in_state(State.ACTIVE)
            .filter(exposed | (rotated & still_used) | (~rotated & (expiring | unused)))
            .order_by(models.F("exposed_at").desc(nulls_last=True), models.F("expires_at").asc(nulls_last=True), "pk")
        )

    def with_access_to(self, service_id: str) -> Self:
        """Keys whose access is everything or lists the service."""
        listed = models.Q(access__contains=f'"service":"{service_id}"')
        return self.filter(models.Q(access__isnull=True) | listed)

    def count_with_access_to(self, service_ids: Iterable[str]) -> dict[str, tuple[int, int]]:
        """How many keys can access each service, and how many of these only some of its paths. One query."""
        counts = {}
        for id in service_ids:
            is_listed = models.Q(access__contains=f'"service":"{id}"')
            by_path = models.Q(access__contains=f'"service":"{id}","paths"')
            counts[f"{id}_all"] = models.Count("pk", filter=models.Q(access__isnull=True) | is_listed)
            counts[f"{id}_by_path"] = models.Count("pk", filter=by_path)
        found = self.aggregate(**counts) if counts else {}
        return {id: (found[f"{id}_all"], found[f"{id}_by_path"]) for id in service_ids}

    def matching(
        self,
        *,
        q: str = "",
        state: str = "",
        permission: str = "",
        administrator: bool | None = None,
        created_by: str = "",
        service: str = "",
    ) -> Self:
        """The filters of the API. `created_by` is the whole label. `service` is `api` or the id of a service."""
        found = self.search(q) if q else self
        if state:
            found = found.in_state(State(state))
        if service:
            found = found.with_access_to(service)
        wanted = {"permission": permission, "created_by": created_by}
        found = found.filter(**{name: value for name, value in wanted.items() if value})
        return found if administrator is None else found.filter(administrator=administrator)

    def search(self, text: str) -> Self:
        """Keys whose name or mask contains the text, or whose id it is."""
        return self.filter(models.Q(name__icontains=text) | models.Q(mask__icontains=text) | models.Q(pk=text))


class APIKey(models.Model):
    """A credential of the account, not of the member who created it: it stays when that member leaves.

    The secret is not stored. `digest` verifies it, and people see `mask`.
    """

    id = models.CharField(primary_key=True, max_length=24, default=ids.new_key_id, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="api_keys")
    name = fields.LineField(max_length=100)
    description = fields.TextField(blank=True, max_length=1000)
    permission = models.CharField(
        max_length=10, choices=[(permission.value, permission.label) for permission in KeyPermission]
    )
    administrator = models.BooleanField("administrator access", default=False)
    digest = models.CharField(max_length=64, unique=True, editable=False, validators=[MinLengthValidator(64)])
    mask = models.CharField(max_length=20, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    allowed_networks = models.JSONField(
        default=list, blank=True, validators=[validators.network_list], help_text="CIDRs. Empty: any address."
    )
    rate_limit = models.CharField(
        max_length=20, null=True, blank=True, validators=[validators.rate_limit], help_text="For example, 100/minute."
    )
    access = models.TextField(
        null=True,
        blank=True,
        validators=[validators.stored_access],
        help_text='For example, [{"service": "svc_…", "paths": ["/reports/*"]}, {"service": "api"}]. '
        "Empty: everything.",
    )
    accepts_query = models.BooleanField("in the query string", default=True)
    accepts_body = models.BooleanField("in the body", default=True)
    disabled_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    rotated_from = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="successors"
    )
    rotated_at = models.DateTimeField(null=True, blank=True, editable=False)
    exposed_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    created_by = fields.LineField(max_length=254, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_from = models.GenericIPAddressField(null=True, blank=True, editable=False)
    last_used_agent = fields.LineField(max_length=fields.AGENT_LENGTH, blank=True, editable=False)

    objects: ClassVar[models.Manager["APIKey"]] = APIKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["account", "-created_at", "-id"], name="api_key_newest"),
            models.Index(fields=["-created_at", "-id"], name="api_key_latest"),
            models.Index(fields=["mask"], name="api_key_by_mask"),
        ]
        constraints = [
            models.CheckConstraint(condition=Exact(Length("digest"), 64), name="api_key_whole_digest"),
            models.CheckConstraint(
                condition=models.Q(permission__in=[permission.value for permission in KeyPermission]),
                name="api_key_known_permission",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.mask})"

    @property
    def target(self) -> Target:
        return Target("api_key", self.id, self.name)

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @property
    def expires_soon(self) -> bool:
        """Whether it expires within a week."""
        return self.expires_at is not None and timezone.now() < self.expires_at <= timezone.now() + EXPIRES_SOON

    @property
    def is_unused(self) -> bool:
        """Whether it is active and was not used for 90 days."""
        return self.state == State.ACTIVE and (self.last_used_at or self.created_at) <= timezone.now() - UNUSED_AFTER

    @property
    def is_quiet(self) -> bool:
        """Whether it was not used for a day."""
        return self.last_used_at is None or self.last_used_at <= timezone.now() - QUIET_AFTER

    @property
    def used_since_rotation(self) -> bool:
        """Whether a rotated key was used after its rotation."""
        return self.rotated_at is not None and self.last_used_at is not None and self.last_used_at >= self.rotated_at

    @property
    def quiet_from(self) -> datetime:
        """When a rotated key becomes safe to retire if nothing uses it."""
        assert self.rotated_at is not None
        overlap = self.expires_at - self.rotated_at if self.expires_at else QUIET_AFTER
        return max(self.rotated_at, self.last_used_at or self.rotated_at) + min(QUIET_AFTER, overlap / 4)

    @property
    def is_safe_to_retire(self) -> bool:
        """Whether it was rotated and not exposed, and nothing uses it."""
        return self.rotated_at is not None and self.exposed_at is None and self.retirement == Retirement.SAFE

    @property
    def retirement(self) -> Retirement:
        """Whether a rotated key is safe to retire."""
        if self.quiet_from <= timezone.now():
            return Retirement.SAFE
        return Retirement.IN_USE if self.used_since_rotation else Retirement.TOO_EARLY

    @property
    def state(self) -> State:
        if self.revoked_at is not None:
            return State.REVOKED
        if self.is_expired:
            return State.EXPIRED
        return State.ACTIVE if self.disabled_at is None else State.DISABLED

    @property
    def disabled(self) -> bool:
        return self.disabled_at is not None
