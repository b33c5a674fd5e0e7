import io
import logging
from collections.abc import Callable

from apikeys import tokens
from atatus_dash.logs import RedactingFormatter, RequestIdFilter, request_id


def logged(write: Callable[[logging.Logger], None]) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(RedactingFormatter("[%(request_id)s] %(message)s"))
    handler.addFilter(RequestIdFilter())
    logger = logging.Logger("test")
    logger.addHandler(handler)
    write(logger)
    return stream.getvalue()


def test_a_key_is_masked_anywhere_in_a_log_line() -> None:
    key = tokens.generate()

    def crash(logger: logging.Logger) -> None:
        try:
            raise ValueError(f"bad {key}")
        except ValueError:
            logger.exception("GET /v2?api_key=%s", key)

    text = logged(crash)
    assert key not in text
    assert text.count(tokens.mask(key)) == 2


def test_a_logged_link_of_an_e_mail_does_not_work() -> None:
    def refuse(logger: logging.Logger) -> None:
        logger.warning("Forbidden (CSRF cookie not set.): %s", "/invitations/tokentoken/")
        logger.error("Internal Server Error: %s", "/auth/password/reset/key/1-tokentoken/")

    text = logged(refuse)
    assert "tokentoken" not in text
    assert "/invitations/-/" in text


def test_a_log_line_carries_the_request_id() -> None:
    token = request_id.set("req-1")
    try:
        assert logged(lambda logger: logger.warning("hello")) == "[req-1] hello\n"
    finally:
        request_id.reset(token)
