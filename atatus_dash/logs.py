"""Log lines with the request id, and without API keys or the tokens of links in e-mails."""

import logging
import re
from contextvars import ContextVar
from http import HTTPStatus

from apikeys import tokens

#: The id of the request that this thread answers, or answered last.
request_id: ContextVar[str] = ContextVar("request_id", default="-")


_LINK = re.compile(r"(/invitations/|/auth/password/reset/key/|/auth/confirm-email/)[^\s/?]+")


class RequestIdFilter(logging.Filter):
    """Gives every record the request id."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


class Not503Filter(logging.Filter):
    """Drops Django's record of each 503: `outages` logs an outage once, and maintenance is intended."""

    def filter(self, record: logging.LogRecord) -> bool:
        return getattr(record, "status_code", None) != HTTPStatus.SERVICE_UNAVAILABLE


class RedactingFormatter(logging.Formatter):
    """Masks API keys and links of e-mails in every finished line, including tracebacks, whichever logger wrote it."""

    def format(self, record: logging.LogRecord) -> str:
        return _LINK.sub(r"\1-", tokens.redact(super().format(record)))
