"""API keys, how much they were used, and the services that stand behind them."""

from collections.abc import Collection, Iterable
from datetime import date, datetime, timedelta
from functools import reduce
from operator import or_
from typing import ClassVar, Self, TypeVar

from django.core.validators import MinLengthValidator
from django.db import models
from django.db.models.functions import Length
from django.db.models.lookups import Exact
from django.utils import timezone

from accounts import fields, ids
from accounts.models import Account, AccountOwnedQuerySet, HasAccountId
from accounts.policy import KeyPermission
from accounts.targets import Target

from . import scopes, terms

EXPIRES_SOON = timedelta(days=7)
UNUSED_AFTER = timedelta(days=90)
#: For how long a service's page tells of a problem of its gateway.
PROBLEM_SHOWN = timedelta(days=1)

#: A rotated key that nothing uses for so long, or for a quarter of its overlap, can go: programs have the successor.
QUIET_AFTER = timedelta(days=1)


class State(models.TextChoices):
    ACTIVE = "active", "Active"
    DISABLED = "disabled", "Disabled"
    EXPIRED = "expired", "Expired"
    REVOKED = "revoked", "Revoked"


class Retirement(models.TextChoices):
    """Whether a rotated key can go before it ends by itself."""

    IN_USE = "in_use"
    TOO_EARLY = "too_early"  # nothing has used it since the rotation, which was a moment ago
    SAFE = "safe"


class APIKeyQuerySet(AccountOwnedQuerySet["APIKey"]):
    def in_state(self, *states: State, at: datetime | None = None) -> Self:
        """Keys in any of the states, by the same precedence as `APIKey.state`: revoked, expired, disabled, active."""
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
        """Active keys that were exposed, expire within a week, are long unused, or are still used though rotated.

        A rotated key that is quiet needs nobody: it ends by itself. The worst comes first.
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

    def opening(self, service_id: str) -> Self:
        """Keys whose access is everything or lists the service."""
        listed = models.Q(access__contains=f'"service":"{service_id}"')
        return self.filter(models.Q(access__isnull=True) | listed)

    def search(self, text: str) -> Self:
        """Keys whose name contains the text or whose last characters it is."""
        return self.filter(models.Q(name__icontains=text) | models.Q(mask__iendswith=text))


class APIKey(models.Model):
    """A credential of the account, not of the person who made it: it survives that person's leaving.

    The secret itself is nowhere: `digest` recognises it, `mask` shows it to people.
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
        default=list, blank=True, validators=[terms.network_list], help_text="CIDRs; empty means everywhere."
    )
    rate_limit = models.CharField(
        max_length=20, null=True, blank=True, validators=[terms.rate_limit], help_text="Such as 100/minute."
    )
    access = models.TextField(
        null=True,
        blank=True,
        validators=[terms.stored_access],
        help_text='What it opens, such as [{"service": "svc_…", "paths": ["/reports/*"]}, {"service": "api"}]; '
        "empty means everything.",
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
        """Whether it could be used and hasn't been for 90 days."""
        return self.state == State.ACTIVE and (self.last_used_at or self.created_at) <= timezone.now() - UNUSED_AFTER

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has used it for a day."""
        return self.last_used_at is None or self.last_used_at <= timezone.now() - QUIET_AFTER

    @property
    def used_since_rotation(self) -> bool:
        """Of a rotated key."""
        return self.rotated_at is not None and self.last_used_at is not None and self.last_used_at >= self.rotated_at

    @property
    def quiet_from(self) -> datetime:
        """When a rotated key that nothing uses any more has been quiet for long enough to go."""
        assert self.rotated_at is not None
        overlap = self.expires_at - self.rotated_at if self.expires_at else QUIET_AFTER
        return max(self.rotated_at, self.last_used_at or self.rotated_at) + min(QUIET_AFTER, overlap / 4)

    @property
    def is_settled(self) -> bool:
        """Whether it was rotated and is safe to retire, and nothing else is the matter with it."""
        return self.rotated_at is not None and self.exposed_at is None and self.retirement == Retirement.SAFE

    @property
    def retirement(self) -> Retirement:
        """Of a rotated key."""
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


class ServiceQuerySet(AccountOwnedQuerySet["Service"]):
    def visible_to(self, account: HasAccountId) -> Self:
        """The account's own services and those that are shared with every account."""
        return self.filter(models.Q(account_id=account.id) | models.Q(shared=True))

    def ids_among(self, ids: Collection[str]) -> set[str]:
        """Those of the ids that exist."""
        return set(self.filter(pk__in=ids).values_list("pk", flat=True)) if ids else set()


class Service(models.Model):
    """An API of the account's own that stands behind its keys: the gateway in front of it asks this server.

    A shared one opens to the keys of every account. Its own account sees its settings, the others its name.
    `last_question_at` is when an authorization request came last, also one that was refused. `problem` is what was
    wrong with the gateway that sent the one of `problem_at`.
    """

    id = models.CharField(primary_key=True, max_length=24, default=ids.new_service_id, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="services")
    name = fields.LineField(max_length=100)
    reading_methods = models.JSONField(
        default=terms.default_reading_methods,
        blank=True,
        validators=[terms.method_list],
        help_text="Methods that the Read permission covers. Every other one needs Write.",
    )
    reading_paths = models.JSONField(
        default=list,
        blank=True,
        validators=[terms.path_list],
        help_text="Paths where every method counts as reading, such as /graphql or /search/*.",
    )
    preflight = models.BooleanField(
        "CORS preflights pass", default=False, help_text="A browser sends them without a key."
    )
    query_keys = models.BooleanField(
        "keys in the query string", default=False, help_text="They then stand in the service's own logs."
    )
    gateways = models.JSONField(
        default=list, blank=True, validators=[terms.gateway_list], help_text="CIDRs that may ask; empty means none."
    )
    upstream = fields.LineField(
        max_length=200,
        blank=True,
        validators=[terms.upstream],
        help_text="Where the service listens. Fills in configurations and is never contacted.",
    )
    shared = models.BooleanField(default=False, help_text="The keys of every account open it.")
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
        """Whether a gateway had one that is worth telling of."""
        return self.problem_at is not None and bool(self.problem) and self.problem_at > timezone.now() - PROBLEM_SHOWN

    @property
    def is_connected(self) -> bool:
        """Whether a gateway's authorization request arrived, and nothing was wrong with one since."""
        if self.last_question_at is None:
            return False
        return not self.has_recent_problem or self.problem_at is None or self.last_question_at > self.problem_at

    @property
    def target(self) -> Target:
        return Target("service", self.id, self.name)


U = TypeVar("U", bound="Usage")


class UsageQuerySet(models.QuerySet[U]):
    def between(self, since: date | None = None, until: date | None = None) -> Self:
        """Usage of the days from `since` to `until`, both included."""
        found = self
        if since is not None:
            found = found.filter(day__gte=since)
        if until is not None:
            found = found.filter(day__lte=until)
        return found


class Usage(models.Model):
    """How many requests there were on one day (UTC). Added to by `usage.counts`, a whole flush at a time."""

    day = models.DateField()
    requests = models.PositiveBigIntegerField(default=0)
    succeeded = models.PositiveBigIntegerField(default=0)
    client_errors = models.PositiveBigIntegerField(default=0, help_text="4xx but 429")
    throttled = models.PositiveBigIntegerField(default=0, help_text="429")
    server_errors = models.PositiveBigIntegerField(default=0)
    in_header = models.PositiveBigIntegerField(default=0)
    in_query = models.PositiveBigIntegerField(default=0)
    in_body = models.PositiveBigIntegerField(default=0)

    class Meta:
        abstract = True


class KeyUsageQuerySet(UsageQuerySet["KeyUsage"]):
    def for_account(self, account: HasAccountId) -> Self:
        return self.filter(api_key__account_id=account.id)

    def at_services(self, api_keys: Iterable[APIKey]) -> Self:
        """What keys did at services, not at the API itself."""
        return self.filter(api_key__in=api_keys).exclude(service=scopes.API)

    def matching(
        self, *, key: str = "", service: str = "", since: date | None = None, until: date | None = None
    ) -> Self:
        """Usage of one key, at one service, and of the days from `since` to `until`, both included."""
        found = self.between(since, until)
        if key:
            found = found.filter(api_key_id=key)
        return found.filter(service=service) if service else found


class KeyUsage(Usage):
    """What one key did at one service on one day.

    No foreign key leads to the service: `/v2` is none, and usage outlives the services that are deleted.
    """

    api_key = models.ForeignKey(APIKey, on_delete=models.CASCADE, related_name="usage")
    service = models.CharField(max_length=24, default=scopes.API, help_text="Its id, or “api” for /v2.")

    objects: ClassVar[models.Manager["KeyUsage"]] = KeyUsageQuerySet.as_manager()

    class Meta:
        # The usual name is that of the table which an older process writes to: see the migration `usage_by_service`.
        db_table = "apikeys_usage"
        verbose_name = "usage of a key"
        verbose_name_plural = "usage of keys"
        ordering = ["-day", "-id"]
        constraints = [models.UniqueConstraint("api_key", "day", "service", name="key_usage_once_a_day_and_service")]
        indexes = [
            models.Index(fields=["-day", "-id"], name="key_usage_latest"),
            models.Index(fields=["service", "-day", "-id"], name="key_usage_of_service"),
        ]

    def __str__(self) -> str:
        return f"{self.api_key_id} at {self.service} on {self.day}: {self.requests}"


class AccountUsageQuerySet(UsageQuerySet["AccountUsage"]):
    def for_account(self, account: HasAccountId) -> Self:
        return self.filter(account_id=account.id)


class AccountUsage(Usage):
    """What all keys of an account did on one day: the sum of their `KeyUsage`, which may be a million rows."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+")

    objects: ClassVar[models.Manager["AccountUsage"]] = AccountUsageQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint("account", "day", name="account_usage_once_a_day")]
        indexes = [models.Index(fields=["day"], name="account_usage_by_day")]

    def __str__(self) -> str:
        return f"{self.account_id} on {self.day}: {self.requests}"


class KeyOrigin(models.Model):
    """From where a key is used: an IPv4 address, or the /64 of an IPv6 one. Added to by `usage.sources`."""

    api_key = models.ForeignKey(APIKey, on_delete=models.CASCADE, related_name="origins")
    origin = models.CharField(max_length=43)
    requests = models.PositiveBigIntegerField(default=0)
    last_used_at = models.DateTimeField()
    last_used_agent = fields.LineField("user agent", max_length=fields.AGENT_LENGTH, blank=True)

    objects: ClassVar[models.Manager["KeyOrigin"]] = models.Manager()

    class Meta:
        verbose_name = "origin of requests"
        verbose_name_plural = "origins of requests"
        ordering = ["-last_used_at", "-id"]
        constraints = [models.UniqueConstraint("api_key", "origin", name="key_origin_once")]
        indexes = [
            models.Index(fields=["api_key", "-last_used_at", "-id"], name="key_origin_latest"),
            models.Index(fields=["-last_used_at", "-id"], name="key_origin_latest_of_all"),
            models.Index(fields=["origin"], name="key_origin_by_origin"),
        ]

    def __str__(self) -> str:
        return f"{self.api_key_id} from {self.origin}: {self.requests}"


class Notice(models.Model):
    """That the Owner and the Admins are told of a key by mail: written with what it tells, and mailed once.

    `sent_at` is when its mail went to the outbox. `about` tells notices of one kind apart, such as the expiry that
    a warning is about.
    """

    class Kind(models.TextChoices):
        CREATED = "created", "was made"
        EXPIRING_WEEK = "expiring_week", "expires within 7 days"
        EXPIRING_DAY = "expiring_day", "expires within a day"
        EXPIRED = "expired", "has expired"
        EXPOSED = "exposed", "was sent over plain HTTP"
        REPORTED = "reported", "was reported as leaked"

    api_key = models.ForeignKey(APIKey, on_delete=models.CASCADE, related_name="notices")
    kind = models.CharField(max_length=20, choices=Kind)
    about = models.CharField(max_length=40, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    sent_at = models.DateTimeField(null=True, editable=False)

    objects: ClassVar[models.Manager["Notice"]] = models.Manager()

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [models.UniqueConstraint("api_key", "kind", "about", name="notice_once")]
        indexes = [models.Index(fields=["created_at"], condition=models.Q(sent_at__isnull=True), name="notice_pending")]

    def __str__(self) -> str:
        return f"{self.api_key_id} {self.get_kind_display()}"
