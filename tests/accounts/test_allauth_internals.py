"""The internals of allauth that we import, with the signatures that our calls rely on.

allauth can change these in any release. If it does, this fails when the lock file is updated, and names what changed.
"""

import ast
import inspect
import pydoc
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
RATE_LIMITS = "allauth.core.internal.ratelimit"  # the public module's `consume` can't be rolled back

FORMS = {
    "allauth.account.internal.flows.login.record_authentication": "(request, user, method, **extra_data)",
    "allauth.account.internal.userkit.filter_users_by_email": (
        "(email, *, is_active=None, prefer_verified=False, for_login=False)"
    ),
    f"{RATE_LIMITS}.consume": (
        "(request, *, app, action, config=None, key=None, user=None, dry_run=False, limit_get=False,"
        " raise_exception=False)"
    ),
    f"{RATE_LIMITS}.clear": "(request, *, app, action, config=None, key=None, user=None)",
    f"{RATE_LIMITS}.RateLimitUsage.rollback": "(self)",
    "allauth.mfa.totp.internal.auth.SECRET_SESSION_KEY": "mfa.totp.secret",
    "allauth.mfa.totp.internal.auth.get_totp_secret": "(regenerate=False)",
    "allauth.mfa.webauthn.internal.auth.parse_registration_response": "(response)",
    "allauth.mfa.webauthn.internal.auth.extract_user_from_response": "(response)",
}


def _imports() -> set[str]:
    files = [path for app in ("accounts", "apikeys", "atatus_dash") for path in (ROOT / app).rglob("*.py")]
    nodes = [node for path in files for node in ast.walk(ast.parse(path.read_text()))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {
        f"{node.module}.{alias.name}" for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    return {name for name in names if name.startswith("allauth.") and "internal" in name.split(".")}


def test_no_other_internals_are_imported() -> None:
    assert len(_imports()) >= 5
    assert [name for name in _imports() if not any(f"{path}.".startswith(f"{name}.") for path in FORMS)] == []


@pytest.mark.parametrize("path", FORMS)
def test_internals_have_the_signatures_that_our_calls_rely_on(path: str) -> None:
    found = pydoc.locate(path)
    if callable(found):
        parameters = inspect.signature(found).parameters.values()
        untyped = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
        found = str(inspect.Signature(untyped))

    assert found == FORMS[path]
