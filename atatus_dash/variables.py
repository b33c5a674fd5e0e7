"""Every environment variable: its default, and what README.md and docs/operations.md say of it.

`settings` reads each by its name, and `env` takes the default from here. `python -m atatus_dash.variables` writes the
tables of the documents anew; tests hold them to this list, and the Makefile. Pure: imports no settings.
"""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Variable(NamedTuple):
    name: str
    #: As the environment would say it. Empty is none.
    default: str
    #: What README says of it, without a full stop at the end.
    summary: str
    #: What docs/operations.md adds.
    details: str = ""
    #: What the documents call the default where it is no text.
    default_shown: str = "none"
    #: Whether NAME_FILE may name a file that holds the value, as it may for all that can hold a secret.
    has_file: bool = False


VARIABLES = (
    Variable(
        "SECRET_KEY",
        "",
        "Signs sessions and links; required unless `DEBUG`. API keys don't depend on it. When you change it, name the "
        "old one in `SECRET_KEY_FALLBACKS`",
        "It also encrypts second factors unless `ENCRYPTION_KEYS` is set. How to change it: "
        "[Secrets and their rotation](#secrets-and-their-rotation)",
        has_file=True,
    ),
    Variable(
        "SECRET_KEY_FALLBACKS",
        "",
        "Older secret keys, newest first: what they signed or encrypted stays valid",
        "Separated by spaces, commas or lines",
        has_file=True,
    ),
    Variable(
        "ENCRYPTION_KEYS",
        "",
        "Secrets of at least 32 characters each, newest first, that encrypt second factors and waiting mail",
        "Separated by spaces, commas or lines. The first encrypts, all of them decrypt",
        default_shown="derived from `SECRET_KEY` and each of `SECRET_KEY_FALLBACKS`",
        has_file=True,
    ),
    Variable(
        "DATABASE_URL",
        "sqlite:///db.sqlite3",
        "`sqlite:///PATH` or `postgres://USER:PASSWORD@HOST:PORT/NAME`",
        "A path is relative to the checkout; four slashes make it absolute. PostgreSQL takes libpq's parameters as a "
        "query: `?sslmode=require`. Percent-encode what is reserved in a password",
        has_file=True,
    ),
    Variable(
        "REDIS_URL",
        "",
        "`redis://:PASSWORD@HOST:PORT/NUMBER`, for limits and the cache; needed from the second process on",
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
        "`https://keys.example.com`: where people and programs reach this server, and where every link in mail and in "
        "what commands print leads",
        "With its port if that isn't 443, without a path. The addresses that pages give to copy lead there too. "
        "Without it, links lead to the host that a request names, and mail that no request causes has none. "
        "`check --deploy` asks for it",
    ),
    Variable(
        "GUARD_URL",
        "",
        "`http://10.0.0.5:8000`: where gateways ask whether a request may pass to a service",
        "The application itself on a private address, or nginx. [What nginx has to do](#gateways)",
        default_shown="`PUBLIC_URL`",
    ),
    Variable(
        "TRUSTED_PROXIES",
        "",
        "Networks whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed",
        "[What such a proxy has to do](#the-proxy)",
    ),
    Variable(
        "ALLOW_HTTP",
        "0",
        "1 serves keys and sessions over plain HTTP, for local work",
        "There is no HTTPS gate then, cookies are not secure, and their names have no `__Host-`",
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
        "1 lets anybody sign up, and everybody create accounts; 0 leaves both to `create_account` and `/admin/`",
        "A person creates 5 accounts an hour at most, and 20 come from one address. Invitations always work",
    ),
    Variable(
        "SUDO_MINUTES",
        "30",
        "How long a sign-in counts before powerful actions, such as creating or revoking a key, ask for the password "
        "again",
    ),
    Variable(
        "SESSION_DAYS",
        "30",
        "A session ends so many days after its sign-in, however much it is used",
        "Holds at once for sessions that are there. One that nobody uses ends after 14 days",
    ),
    Variable("API_RATE_LIMIT", "600/minute", "The limit of a key that has none of its own"),
    Variable(
        "FAILED_AUTH_LIMIT",
        "30/minute",
        "How many refused keys one address, or one IPv6 /64, may send",
        "Counted apart, as many: reports of leaked keys, bodies over 16 KiB without a key in header or query string, "
        "and forms over 16 KiB (of who is signed in, by person)",
    ),
    Variable(
        "LIMITS_WITHOUT_REDIS",
        "refuse",
        "While Redis is out of reach: `refuse` answers 503, `allow` lets requests and sign-ins pass without limits",
        "Holds for the API, sign-in, password reset, the cache and `/readyz`",
    ),
    Variable(
        "DATABASE_CONNECT_TIMEOUT",
        "3",
        "Seconds until a database that doesn't answer a connection is given up; PostgreSQL alone",
        "For commands too",
    ),
    Variable(
        "DATABASE_STATEMENT_TIMEOUT",
        "10",
        "Seconds that PostgreSQL gives a statement of the server",
        "Commands such as `migrate`, `prune` and `dumpdata` take their time. 0 is no limit",
    ),
    Variable(
        "DATABASE_LOCK_TIMEOUT",
        "5",
        "Seconds that the server waits for a lock",
        "On SQLite commands do too. 0 is no limit on PostgreSQL, and no wait on SQLite",
    ),
    Variable(
        "DATABASE_IDLE_TIMEOUT",
        "60",
        "Seconds after which PostgreSQL ends a transaction of the server that does nothing",
        "0 is no limit",
    ),
    Variable(
        "DATABASE_NETWORK_TIMEOUT",
        "5",
        "Seconds after which a connection to PostgreSQL is dead whose other side acknowledges nothing",
        "This is `tcp_user_timeout`. 0 leaves it to the system",
    ),
    Variable(
        "DATABASE_KEEPALIVE_SECONDS",
        "30",
        "After so many seconds of silence TCP asks whether PostgreSQL's machine is still there",
        "This is `keepalives_idle`; it asks three times, ten seconds apart. 0 leaves it to the system",
    ),
    Variable("BIND", "127.0.0.1", "The address that `serve` listens on"),
    Variable("PORT", "8000", "The port that `serve` listens on"),
    Variable("WEB_CONCURRENCY", "1", "Processes, at most 256"),
    Variable("THREADS", "8", "Threads of each process, at most 256"),
    Variable(
        "USAGE_FLUSH_SECONDS",
        "1",
        "How often counted requests are written: a crash loses what was counted since",
        "At most every 600 seconds. A stop writes them; if it can't, the log says how many are lost",
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

#: The documents that have the table, and whether theirs has the details.
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
    """The document's text with its table as it should be. Raises `ValueError` if it has no place for one."""
    text, tables = _TABLE.subn(
        lambda _: f"{_BEGIN}\n\n{table(detailed=detailed)}\n\n{_END}", document.read_text(encoding="utf-8")
    )
    if tables != 1:
        raise ValueError(f"{document} has {tables} places for the table of variables, not one.")
    return text


if __name__ == "__main__":
    for document, detailed in DOCUMENTS.items():
        document.write_text(with_table(document, detailed=detailed), encoding="utf-8")
