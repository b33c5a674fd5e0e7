"""Log lines that carry the request id and never a key, nor what a link of a mail opens with."""

import logging
import re
from contextvars import ContextVar
from http import HTTPStatus

from apikeys import tokens

#: The id of the request that this thread is answering, or answered last.
request_id: ContextVar[str] = ContextVar("request_id", default="-")


_LINK = re.compile(r"(/invitations/|/auth/password/reset/key/|/auth/confirm-email/)[^\s/?]+")


class RequestIdFilter(logging.Filter):
    """Gives every record the request id."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


class Not503Filter(logging.Filter):
    """Drops what Django tells of each 503: an outage is told once, and maintenance is no news."""

    def filter(self, record: logging.LogRecord) -> bool:
        return getattr(record, "status_code", None) != HTTPStatus.SERVICE_UNAVAILABLE


class RedactingFormatter(logging.Formatter):
    """Masks every key, and every link of a mail, in the finished line, traceback included, whoever wrote it."""

    def format(self, record: logging.LogRecord) -> str:
        return _LINK.sub(r"\1-", tokens.redact(super().format(record)))
