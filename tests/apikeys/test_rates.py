import pytest

from apikeys import rates


@pytest.mark.parametrize(
    ("text", "rate"), [("5/second", (5, 1)), ("100/minute", (100, 60)), ("1/hour", (1, 3600)), ("7/day", (7, 86400))]
)
def test_a_rate_is_a_limit_and_a_window_in_seconds(text: str, rate: tuple[int, ...]) -> None:
    assert rates.parse(text) == rate


@pytest.mark.parametrize(
    "text", ["", "100", "0/minute", "-1/minute", "1.5/minute", "100/week", "100 / minute", "٣/minute", "9999999999/day"]
)
def test_an_invalid_rate_is_refused_with_a_message(text: str) -> None:
    with pytest.raises(ValueError, match="such as 100/minute"):
        rates.parse(text)
