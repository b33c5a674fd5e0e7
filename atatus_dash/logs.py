"""Log lines that carry the request id and never a key."""

import logging
from contextvars import ContextVar

from apikeys import tokens

#: The id of the request that this thread is answering, or answered last.
request_id: ContextVar[str] = ContextVar("request_id", default="-")


class RequestIdFilter(logging.Filter):
    """Gives every record the request id."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


class RedactingFormatter(logging.Formatter):
    """Masks every key in the finished line, traceback included: the secret is in no log, whoever wrote it."""

    def format(self, record: logging.LogRecord) -> str:
        return tokens.redact(super().format(record))
