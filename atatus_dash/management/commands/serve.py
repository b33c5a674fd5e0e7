"""`manage.py serve`: the production server."""

import fcntl
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error, connection

from apikeys import outages


class Command(BaseCommand):
    help = "Serve the pages and the API. Set BIND, PORT, WEB_CONCURRENCY and THREADS in the environment."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--greeting", metavar="FILE", help="Print this file at the end, if it exists.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Replace this process with the server's, so that signals reach it. Doesn't return."""
        if settings.DATABASES["default"]["NAME"] == ":memory:":
            raise CommandError("DATABASE_URL is an in-memory database. Every thread would have its own: use a file.")
        _require_free_port()
        self._warn_of_missing_migrations()
        if not settings.DEBUG:
            collect_static_files()
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(settings.BASE_DIR), os.environ.get("PYTHONPATH")]))
        host = f"[{settings.BIND}]" if ":" in settings.BIND else settings.BIND
        self.stdout.write(f"Serving on http://{host}:{settings.PORT} with {_width()}.")
        if options["greeting"] and (greeting := Path(options["greeting"])).exists():
            self.stdout.write(f"\n{greeting.read_text()}")
        self.stdout.flush()
        python = _own_python()
        os.execv(python, [python, "-m", "atatus_dash.server"])  # noqa: S606  our own interpreter

    def _warn_of_missing_migrations(self) -> None:
        """Only a warning: a server may start before its database, or before the database is migrated."""
        try:
            with outages.wait_at_most(settings.DATABASE_CONNECT_TIMEOUT):
                self.check_migrations()
        except Error as error:
            self.stderr.write(f"The database is unavailable: {error}")
        finally:
            connection.close()


def _own_python() -> str:
    """The interpreter of this virtual environment, with links on its path resolved.

    Later imports have to come from the same release, even if a link such as `current` has changed by then.
    """
    directory, name = os.path.split(sys.executable)
    return os.path.join(os.path.realpath(directory), name)


def _width() -> str:
    processes = f"{settings.WEB_CONCURRENCY} process{'es' if settings.WEB_CONCURRENCY > 1 else ''}"
    return f"{processes} of {settings.THREADS} thread{'s' if settings.THREADS > 1 else ''}"


def _require_free_port() -> None:
    """Raises `CommandError`. Gunicorn would retry for five seconds and then log several lines."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(settings.BIND, settings.PORT, type=socket.SOCK_STREAM)[
            0
        ]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise CommandError(f"Can't serve on {settings.BIND}:{settings.PORT}: {error.strerror}.") from error


def collect_static_files() -> None:
    """Run `collectstatic`, which takes two seconds, if a source is newer. The check takes two milliseconds.

    Servers that start together on one machine wait for the first one.
    """
    root = Path(settings.STATIC_ROOT)
    try:
        root.mkdir(exist_ok=True)
        lock = os.open(root, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_stale(root / "staticfiles.json"):
                call_command("collectstatic", interactive=False, verbosity=0)
        finally:
            os.close(lock)
    except OSError as error:
        raise CommandError(f"Can't collect the static files into {root}: {error.strerror}.") from error


def _is_stale(manifest: Path) -> bool:
    if not manifest.exists():
        return True
    collected_at = manifest.stat().st_mtime
    collected = json.loads(manifest.read_bytes())["paths"]
    ignored = apps.get_app_config("staticfiles").ignore_patterns  # type: ignore[attr-defined]  # a StaticFilesConfig
    return any(
        name not in collected or os.stat(storage.path(name)).st_mtime > collected_at
        for finder in get_finders()
        for name, storage in finder.list(ignored)
    )
