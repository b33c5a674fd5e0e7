"""A database connection that is dead when a key is looked up."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from django.db import OperationalError, connection

from apikeys import lookup


@contextmanager
def replaced_once() -> Iterator[None]:
    """The first lookup within fails. Asserts that the connection was closed, and that the lookup was repeated once."""
    fetch, calls = lookup._fetch, list[Any]()

    def die_once(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:
            raise OperationalError("server closed the connection unexpectedly")
        return fetch(*arguments)

    with mock.patch("apikeys.lookup._fetch", side_effect=die_once), mock.patch.object(connection, "close") as close:
        yield
    assert len(calls) == 2
    close.assert_called_once()
