"""Django admin for operators: people, accounts and what accounts own.

Every change goes through the services, as the signed-in operator, so that it stands in the account's audit
log. What a service refuses is told as a message.
"""

from . import accounts, outbox, owned, people, sessions  # noqa: F401  registers them
