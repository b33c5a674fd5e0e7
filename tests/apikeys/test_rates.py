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


@pytest.mark.parametrize("text", ["5/second", "100/minute", "1/hour", "7/day"])
def test_a_rate_is_written_as_it_is_read(text: str) -> None:
    assert str(rates.parse(text)) == text


def test_the_highest_rate_is_a_billion() -> None:
    assert rates.parse("1000000000/day").limit == rates.MAXIMUM == 1_000_000_000
    with pytest.raises(ValueError, match="such as 100/minute"):
        rates.parse("1000000001/day")


@pytest.mark.parametrize(
    ("wider", "narrower", "covers"),
    [
        ("100/minute", "100/minute", True),
        ("60/minute", "1/second", True),  # the same over time
        ("100/minute", "99/minute", True),
        ("99/minute", "100/minute", False),
        ("100/hour", "100/minute", False),  # fewer over time
        ("100/minute", "100/hour", True),
        ("1/second", "60/minute", False),  # fewer in a burst
        ("7/minute", "5/second", False),
    ],
)
def test_a_rate_covers_another_in_a_burst_and_over_time(wider: str, narrower: str, covers: bool) -> None:
    assert rates.parse(wider).covers(rates.parse(narrower)) is covers
