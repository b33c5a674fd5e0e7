"""When each service was last asked about by a gateway. Flushed with the counts."""

from .latest import Latest

_latest = Latest("last_question_at")

note = _latest.note
flush = _latest.flush
discard = _latest.discard
