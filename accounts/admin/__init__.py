"""Django admin for operators: users, accounts and what accounts own.

Every change goes through a service, as the signed-in operator, so the account's audit log records it. A service's
error is shown as a message.
"""

from . import accounts, outbox, owned, sessions, users  # noqa: F401  registers them
