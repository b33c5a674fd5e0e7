"""The time of the last authorization request for each service. It is flushed with the counts."""

from .latest import Latest

_latest = Latest("last_question_at")

record = _latest.record
flush = _latest.flush
discard = _latest.discard
