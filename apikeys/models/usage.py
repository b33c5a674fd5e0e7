"""How often keys were used, at which services, and from which sources."""

from collections.abc import Collection, Iterable
from datetime import date
from typing import ClassVar, Self, TypeVar

from django.db import models

from accounts import fields
from accounts.models import Account, HasAccountId

from .. import scopes
from .keys import APIKey

U = TypeVar("U", bound="Usage")


class UsageQuerySet(models.QuerySet[U]):
    def between(self, since: date | None = None, until: date | None = None) -> Self:
        """Usage on the days from `since` to `until`, inclusive."""
        found = self
        if since is not None:
            found = found.filter(day__gte=since)
        if until is not None:
            found = found.filter(day__lte=until)
        return found


class Usage(models.Model):
    """The number of requests on one day (UTC). `usage.counts` adds to it with each flush."""

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

    def at_own_services(self, services: Collection[str]) -> Self:
        """Usage of all accounts' keys at the services of one account, which may see it for its shared services."""
        return self.filter(service__in=services)

    def visible_to(self, account: HasAccountId, *, own_services: Collection[str]) -> Self:
        """Usage of the account's own keys anywhere, and of all accounts' keys at its services."""
        return self.filter(models.Q(service__in=own_services) | models.Q(api_key__account_id=account.id))

    def at_services(self, api_keys: Iterable[APIKey]) -> Self:
        """Usage at services, not at the API itself."""
        return self.filter(api_key__in=api_keys).exclude(service=scopes.API)

    def matching(
        self, *, key: str = "", service: str = "", since: date | None = None, until: date | None = None
    ) -> Self:
        """Usage of one key, at one service, on the days from `since` to `until`, inclusive."""
        found = self.between(since, until)
        if key:
            found = found.filter(api_key_id=key)
        return found.filter(service=service) if service else found


class KeyUsage(Usage):
    """Usage of one key at one service on one day.

    The service is not a foreign key: `/v2` is not a row, and usage is kept after a service is deleted.
    """

    api_key = models.ForeignKey(APIKey, on_delete=models.CASCADE, related_name="usage")
    service = models.CharField(max_length=24, default=scopes.API, help_text="Its ID, or “api” for /v2.")

    objects: ClassVar[models.Manager["KeyUsage"]] = KeyUsageQuerySet.as_manager()

    class Meta:
        # The default name is that of the table that older processes write to: see the migration `usage_by_service`.
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
    """Usage of all keys of an account on one day: the sum of their `KeyUsage`. That can be a million rows."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+")

    objects: ClassVar[models.Manager["AccountUsage"]] = AccountUsageQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint("account", "day", name="account_usage_once_a_day")]
        indexes = [models.Index(fields=["day"], name="account_usage_by_day")]

    def __str__(self) -> str:
        return f"{self.account_id} on {self.day}: {self.requests}"


class KeyOrigin(models.Model):
    """A source of a key's requests: an IPv4 address, or the /64 of an IPv6 one. `usage.sources` writes it."""

    api_key = models.ForeignKey(APIKey, on_delete=models.CASCADE, related_name="origins")
    origin = models.CharField(max_length=43)
    requests = models.PositiveBigIntegerField(default=0)
    last_used_at = models.DateTimeField()
    last_used_agent = fields.LineField("user agent", max_length=fields.AGENT_LENGTH, blank=True)

    objects: ClassVar[models.Manager["KeyOrigin"]] = models.Manager()

    class Meta:
        verbose_name = "source of requests"
        verbose_name_plural = "sources of requests"
        ordering = ["-last_used_at", "-id"]
        constraints = [models.UniqueConstraint("api_key", "origin", name="key_origin_once")]
        indexes = [
            models.Index(fields=["api_key", "-last_used_at", "-id"], name="key_origin_latest"),
            models.Index(fields=["-last_used_at", "-id"], name="key_origin_latest_of_all"),
            models.Index(fields=["origin"], name="key_origin_by_origin"),
        ]

    def __str__(self) -> str:
        return f"{self.api_key_id} from {self.origin}: {self.requests}"
