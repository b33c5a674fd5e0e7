"""All environment variables, with their defaults and their descriptions for README.md and docs/operations.md.

`settings` reads each by its name, and `env` takes the default from here. `python -m atatus_dash.variables` rewrites
the tables in both documents; tests compare them, and the Makefile, with this list. Pure: imports no settings.
"""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Variable(NamedTuple):
    name: str
    #: As text, like in the environment. Empty means none.
    default: str
    #: The description in README, without a full stop at the end.
    summary: str
    #: What docs/operations.md adds to it.
    details: str = ""
    #: What the documents show as the default if it is empty.
    default_shown: str = "none"
    #: Whether NAME_FILE may name a file with the value. True for all variables that can contain a secret.
    has_file: bool = False


VARIABLES = (
    Variable(
        "SECRET_KEY",
        "",
        "Signs sessions and links; required unless `DEBUG`. API keys don't depend on it. When you change it, put the "
        "old one into `SECRET_KEY_FALLBACKS`",
        "It also encrypts second factors unless `ENCRYPTION_KEYS` is set. How to change it: "
        "[Secrets and their rotation](#secrets-and-their-rotation)",
        has_file=True,
    ),
    Variable(
        "SECRET_KEY_FALLBACKS",
        "",
        "Older secret keys, newest first. What they signed or encrypted stays valid",
        "Separated by spaces, commas or lines",
        has_file=True,
    ),
    Variable(
        "ENCRYPTION_KEYS",
        "",
        "Secrets of at least 32 characters each, newest first, that encrypt second factors and unsent mail",
        "Separated by spaces, commas or lines. The first encrypts, all of them decrypt",
        default_shown="derived from `SECRET_KEY` and each of `SECRET_KEY_FALLBACKS`",
        has_file=True,
    ),
    Variable(
        "DATABASE_URL",
        "sqlite:///db.sqlite3",
        "`sqlite:///PATH` or `postgres://USER:PASSWORD@HOST:PORT/NAME`",
        "A path is relative to the checkout; four slashes make it absolute. For PostgreSQL, libpq's parameters can "
        "follow: `?sslmode=require`. Percent-encode reserved characters in a password",
        has_file=True,
    ),
    Variable(
        "REDIS_URL",
        "",
        "`redis://:PASSWORD@HOST:PORT/NUMBER`, for limits and the cache; required for more than one process",
        "Also `rediss://…` and `unix:///PATH?db=NUMBER`",
        has_file=True,
    ),
    Variable(
        "ALLOWED_HOSTS",
        "localhost 127.0.0.1 [::1]",
        "Host names that are served, separated by spaces or commas",
    ),
    Variable(
        "PUBLIC_URL",
        "",
        "`https://keys.example.com`: the address of this server for people and programs, used for links in mail and in "
        "the output of commands",
        "With its port if that isn't 443, without a path. Also used for addresses to copy on pages. "
        "Without it, links use the host of the request, and mail without a request has no links. "
        "`check --deploy` warns if it is not set",
    ),
    Variable(
        "GUARD_URL",
        "",
        "`http://10.0.0.5:8000`: the address for authorization requests of gateways",
        "The application itself on a private address, or nginx. [What nginx has to do](#gateways)",
        default_shown="`PUBLIC_URL`",
    ),
    Variable(
        "TRUSTED_PROXIES",
        "",
        "Networks of the proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are used",
        "[What such a proxy has to do](#the-proxy)",
    ),
    Variable(
        "ALLOW_HTTP",
        "0",
        "1 serves keys and sessions over plain HTTP, for local work",
        "Plain HTTP is not refused, cookies are not secure, and their names have no `__Host-`",
    ),
    Variable(
        "EMAIL_URL",
        "consolemail://",
        "`smtp+tls://USER:PASSWORD@HOST:587` and the other forms of django-environ",
        "These are `smtp://HOST:25`, `smtp+ssl://USER:PASSWORD@HOST:465`, `filemail:///PATH`, `consolemail://`, "
        "`memorymail://` and `dummymail://`",
        has_file=True,
    ),
    Variable("DEFAULT_FROM_EMAIL", "Atatus Dash <noreply@localhost>", "The sender of mail"),
    Variable(
        "SIGNUP_OPEN",
        "0",
        "1 lets anybody sign up and create accounts; with 0, operators create accounts with `create_account` or "
        "`/admin/`",
        "A person can create 5 accounts an hour, and one address 20. Invitations always work",
    ),
    Variable(
        "SUDO_MINUTES",
        "30",
        "Minutes after a sign-in until sensitive actions, such as creating or revoking a key, ask for the password "
        "again",
    ),
    Variable(
        "SESSION_DAYS",
        "30",
        "Days after a sign-in until its session ends, even if it is used",
        "A change applies to existing sessions. An unused session ends after 14 days",
    ),
    Variable(
        "API_DOCS",
        "1",
        "0 switches off `/v2/openapi.json` and the API reference, which need no key",
        "They then are a 404, like any unknown path",
    ),
    Variable("API_RATE_LIMIT", "600/minute", "The rate limit of keys without their own"),
    Variable(
        "FAILED_AUTH_LIMIT",
        "30/minute",
        "How many requests with a failing key (401) one address, or one IPv6 /64, may send",
        "The same number, counted separately, applies to reports of leaked keys, to bodies over 16 KiB without a key "
        "in header or query string, and to forms over 16 KiB (by user, if signed in)",
    ),
    Variable(
        "GITHUB_SECRET_SCANNING_KEYS",
        "",
        "The JSON of `https://api.github.com/meta/public_keys/secret_scanning`: with it, reports of leaked keys that "
        "GitHub signs say where a key was found",
        "This server never requests it. [Reports from GitHub](security.md#reports-from-github)",
        has_file=True,
    ),
    Variable(
        "LIMITS_WITHOUT_REDIS",
        "refuse",
        "While Redis is unavailable: `refuse` answers 503, `allow` lets requests and sign-ins pass without limits",
        "Applies to the API, sign-in, password reset, the cache and `/readyz`",
    ),
    Variable(
        "DATABASE_CONNECT_TIMEOUT",
        "3",
        "Seconds to wait for a connection to PostgreSQL",
        "Applies to commands too",
    ),
    Variable(
        "DATABASE_STATEMENT_TIMEOUT",
        "10",
        "Seconds after which PostgreSQL cancels a statement of the server",
        "Commands such as `migrate`, `prune` and `dumpdata` have no limit. 0 means no limit",
    ),
    Variable(
        "DATABASE_LOCK_TIMEOUT",
        "5",
        "Seconds that the server waits for a lock",
        "On SQLite this applies to commands too. 0 means no limit on PostgreSQL, and no wait on SQLite",
    ),
    Variable(
        "DATABASE_IDLE_TIMEOUT",
        "60",
        "Seconds after which PostgreSQL ends an idle transaction of the server",
        "0 means no limit",
    ),
    Variable(
        "DATABASE_NETWORK_TIMEOUT",
        "5",
        "Seconds without an acknowledgement after which a connection to PostgreSQL is closed",
        "This is `tcp_user_timeout`. 0 leaves it to the system",
    ),
    Variable(
        "DATABASE_KEEPALIVE_SECONDS",
        "30",
        "Idle seconds after which TCP checks that PostgreSQL's machine is still there",
        "This is `keepalives_idle`. It tries three times, ten seconds apart. 0 leaves it to the system",
    ),
    Variable("BIND", "127.0.0.1", "The address that `serve` listens on"),
    Variable("PORT", "8000", "The port that `serve` listens on"),
    Variable("WEB_CONCURRENCY", "1", "Processes, at most 256"),
    Variable("THREADS", "8", "Threads of each process, at most 256"),
    Variable(
        "USAGE_FLUSH_SECONDS",
        "1",
        "Seconds between two writes of counted requests. A crash loses the counts since the last one",
        "At most 600. A stop writes the counts; if it can't, the log says how many are lost",
    ),
    Variable(
        "ACCOUNT_OWNER_PASSWORD",
        "",
        "The Owner's password, for `create_account`",
        default_shown="asked for",
        has_file=True,
    ),
    Variable("DEBUG", "0", "1 shows error pages with details to visitors: for development, never on a server"),
)

DEFAULTS = {variable.name: variable.default for variable in VARIABLES}

#: The documents with the table, and whether it has the details there.
DOCUMENTS = {ROOT / "README.md": False, ROOT / "docs" / "operations.md": True}
_BEGIN, _END = "<!-- Written by python -m atatus_dash.variables -->", "<!-- End of what it writes -->"
_TABLE = re.compile(f"{_BEGIN}\n.*?{_END}", re.DOTALL)


def table(*, detailed: bool) -> str:
    """The variables as a table in Markdown."""
    rows = ["| variable | default | what it does |", "|---|---|---|"]
    for variable in VARIABLES:
        name = f"`{variable.name}`" + (" †" if variable.has_file else "")
        default = f"`{variable.default}`" if variable.default else variable.default_shown
        text = f"{variable.summary}. {variable.details}" if detailed and variable.details else variable.summary
        rows.append(f"| {name} | {default} | {text} |")
    return "\n".join(rows)


def with_table(document: Path, *, detailed: bool) -> str:
    """The document's text with a new table. Raises `ValueError` if it doesn't have exactly one place for it."""
    text, tables = _TABLE.subn(
        lambda _: f"{_BEGIN}\n\n{table(detailed=detailed)}\n\n{_END}", document.read_text(encoding="utf-8")
    )
    if tables != 1:
        raise ValueError(f"{document} has {tables} places for the table of variables, not one.")
    return text


if __name__ == "__main__":
    for document, detailed in DOCUMENTS.items():
        document.write_text(with_table(document, detailed=detailed), encoding="utf-8")
