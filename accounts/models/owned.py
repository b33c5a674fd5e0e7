"""What is shared by all rows that belong to an account."""

from typing import Protocol, Self, TypeVar

from django.db import models


class HasAccountId(Protocol):
    """An Account, or an `AccountRef` that stands for one."""

    @property
    def id(self) -> int: ...


M = TypeVar("M", bound=models.Model)


class AccountOwnedQuerySet(models.QuerySet[M]):
    """Rows that belong to an account: every view starts here and nowhere else."""

    def for_account(self, account: HasAccountId) -> Self:
        return self.filter(account_id=account.id)
