"""The environment of the tests, loaded before the settings are. CI sets DATABASE_URL and REDIS_URL to real services."""

import os

os.environ.update(
    {
        "SECRET_KEY": "only-for-tests-" + "0123456789" * 4,
        "DEBUG": "0",
        "ALLOW_HTTP": "0",
        "ALLOWED_HOSTS": "testserver localhost 127.0.0.1",
        "EMAIL_URL": "memorymail://",
    }
)
for name in (
    "TRUSTED_PROXIES",
    "SIGNUP_OPEN",
    "API_RATE_LIMIT",
    "FAILED_AUTH_LIMIT",
    "WEB_CONCURRENCY",
    "PORT",
    "BIND",
):
    os.environ.pop(name, None)
os.environ.setdefault("DATABASE_URL", "sqlite:///:memory:")
