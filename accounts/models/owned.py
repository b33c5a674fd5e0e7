"""The base of all rows that belong to an account."""

from typing import Protocol, Self, TypeVar

from django.db import models


class HasAccountId(Protocol):
    """An `Account` or an `AccountRef`."""

    @property
    def id(self) -> int: ...


M = TypeVar("M", bound=models.Model)


class AccountOwnedQuerySet(models.QuerySet[M]):
    """Rows that belong to an account. Every view starts with `for_account`."""

    def for_account(self, account: HasAccountId) -> Self:
        return self.filter(account_id=account.id)
