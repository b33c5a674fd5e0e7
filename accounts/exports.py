"""The audit log as a file, streamed: however long it is, a row at a time stands in memory."""

import csv
import json
from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet

from .models import AuditEvent

COLUMNS = (
    *("id", "at", "event", "actor_kind", "actor_id", "actor_label"),
    *("target_kind", "target_id", "target_label", "address", "request_id", "changes"),
)

#: What a formula may start with, in the wide forms of East Asian keyboards too.
FORMULA = tuple("=+-@\t\r\n＝＋－＠")


class _Echo:
    """A file for `csv` that hands back what is written to it."""

    def write(self, value: str) -> str:
        return value


def as_csv(events: QuerySet[AuditEvent]) -> Iterator[str]:
    """Lines of CSV (RFC 4180), the first naming the columns."""
    writer = csv.writer(_Echo())
    yield writer.writerow(COLUMNS)
    for row in _rows(events):
        yield writer.writerow(
            [_harmless(json.dumps(value) if isinstance(value, dict) else value) for value in row.values()]
        )


def as_json(events: QuerySet[AuditEvent]) -> Iterator[str]:
    """A JSON array of objects."""
    opening = "["
    for row in _rows(events):
        yield f"{opening}\n{json.dumps(row)}"
        opening = ","
    yield "\n]\n" if opening == "," else "[]\n"


def _rows(events: QuerySet[AuditEvent]) -> Iterator[dict[str, Any]]:
    for event in events.iterator(chunk_size=500):
        row = {column: getattr(event, column) for column in COLUMNS}
        yield {**row, "at": event.at.isoformat()}


def _harmless(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula, made plain text (OWASP, CSV injection)."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
