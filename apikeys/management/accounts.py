"""Finds the account of a command's `--account`."""

from django.core.management.base import CommandError

from accounts.models import Account


def account_named(slug: str) -> Account:
    """Raises `CommandError` if the account doesn't exist."""
    account = Account.objects.filter(slug=slug).first()
    if account is None:
        raise CommandError(f"Unknown account “{slug}”.")
    return account
