"""Bar charts of usage: numbers that a template puts into SVG attributes.

Widths are percentages and heights are pixels, so that a chart fits any screen and its labels stay readable.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise
from math import ceil, floor, log10
from typing import Any, NamedTuple

from django.db.models import Sum
from django.utils import timezone

from .models import APIKey, KeyUsage, KeyUsageQuerySet, UsageQuerySet
from .usage.counts import COUNTS

MONTH = 30

#: The plot's height, the space above it, and the maximum number of lines across it.
HEIGHT, TOP, LINES = 150, 10, 5
SPARK_HEIGHT, SPARK_STEP = 22, 4

#: Parts of a bar from bottom to top. Failures come first, because readers look for them.
PARTS = ("server_errors", "client_errors", "throttled", "succeeded")


@dataclass
class Use:
    """Requests by class of status, and by where the key was sent."""

    requests: int = 0
    succeeded: int = 0
    client_errors: int = 0
    throttled: int = 0
    server_errors: int = 0
    in_header: int = 0
    in_query: int = 0
    in_body: int = 0

    @classmethod
    def total(cls, uses: Iterable["Use"]) -> "Use":
        total = cls()
        for use in uses:
            for count in COUNTS:
                setattr(total, count, getattr(total, count) + getattr(use, count))
        return total

    @property
    def failed(self) -> int:
        return self.requests - self.succeeded

    @property
    def failed_percent(self) -> float:
        return 100 * self.failed / self.requests if self.requests else 0.0


def by_day(usage: UsageQuerySet[Any], days: int) -> dict[date, Use]:
    """Usage of each of the last `days` days, today included, oldest first. One query."""
    today = timezone.now().date()
    every = {today - timedelta(days=ago): Use() for ago in reversed(range(days))}
    rows = usage.between(min(every), today).order_by("day").values("day")
    for day, *counts in rows.annotate(*map(Sum, COUNTS)).values_list("day", *(f"{count}__sum" for count in COUNTS)):
        every[day] = Use(*counts)
    return every


def by_value(usage: UsageQuerySet[Any], column: str, days: int, *, most: int) -> dict[Any, Use]:
    """Usage of the `most` busiest values of a column in the last `days` days, busiest first. One query."""
    today = timezone.now().date()
    rows = usage.between(today - timedelta(days=days - 1), today).order_by().values(column).annotate(*map(Sum, COUNTS))
    busiest = rows.order_by("-requests__sum", column)[:most]
    return {value: Use(*counts) for value, *counts in busiest.values_list(column, *(f"{c}__sum" for c in COUNTS))}


# A chart ----------------------------------------------------------------------------------------


class Part(NamedTuple):
    """A part of a bar: one class of status."""

    name: str
    y: float
    height: float


class Bar(NamedTuple):
    """A day, or the days of a week. `x` and `width` are percentages."""

    label: str
    use: Use
    x: float
    width: float
    parts: list[Part]


class Line(NamedTuple):
    """A line across the plot, and its value."""

    y: float
    value: int


@dataclass(frozen=True)
class Chart:
    """Bars with their lines, and their total."""

    bars: list[Bar]
    lines: list[Line]
    total: Use
    unit: str
    foot: int = field(default=TOP + HEIGHT, init=False)

    @property
    def height(self) -> int:
        return self.foot + 24

    @property
    def first(self) -> str:
        return self.bars[0].label

    @property
    def middle(self) -> str:
        return self.bars[len(self.bars) // 2].label

    @property
    def last(self) -> str:
        return self.bars[-1].label


def chart(days: Mapping[date, Use], *, days_per_bar: int = 1) -> Chart:
    """The days as bars. The last bar ends today."""
    every = list(days)
    starts = list(range(len(every) % days_per_bar, len(every), days_per_bar))
    edges = [*([0] if starts[0] else []), *starts, len(every)]
    uses = [(every[start], Use.total(days[day] for day in every[start:end])) for start, end in pairwise(edges)]
    highest = max(1, *(use.requests for _, use in uses))
    step = _step(highest)
    lines = ceil(highest / step)
    scale = HEIGHT / (step * lines)
    width = 100 / len(uses)
    return Chart(
        bars=[
            Bar(f"{start.day} {start:%b}", use, round(number * width, 3), round(width, 3), _parts(use, scale))
            for number, (start, use) in enumerate(uses)
        ],
        lines=[Line(TOP + HEIGHT - number * step * scale, number * step) for number in range(lines + 1)],
        total=Use.total(days.values()),
        unit="day" if days_per_bar == 1 else "week",
    )


def _step(highest: int) -> int:
    """The distance between lines, chosen so that there are few and their values are round."""
    least = max(highest, LINES) / LINES
    power: int = 10 ** floor(log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)


def _parts(use: Use, scale: float) -> list[Part]:
    parts, y = [], float(TOP + HEIGHT)
    for name in PARTS:
        if count := getattr(use, name):
            # A single failure among thousands must be visible too.
            height = max(count * scale, 1.5)
            y -= height
            parts.append(Part(name, round(y, 2), round(height, 2)))
    return parts


# Sparklines -------------------------------------------------------------------------------------


class Spark(NamedTuple):
    """30 days of one key or service, scaled to its own maximum, as SVG paths with a vertical stroke for each day.

    There are two paths, because an element for each stroke would make long lists large.
    """

    path: str
    failed_path: str
    requests: int
    failed: int

    @property
    def failed_percent(self) -> float:
        return 100 * self.failed / self.requests if self.requests else 0.0


def sparks(keys: Sequence[APIKey]) -> dict[str, Spark]:
    """A sparkline for every key, by its id. One query for all of them."""
    return sparks_by(KeyUsage.objects.all(), "api_key_id", [key.pk for key in keys])


def sparks_by(usage: KeyUsageQuerySet, column: str, values: Sequence[str]) -> dict[str, Spark]:
    """A sparkline for each of the values of a column. One query for all of them."""
    today = timezone.now().date()
    first = today - timedelta(days=MONTH - 1)
    days: dict[str, dict[int, tuple[int, int]]] = defaultdict(dict)
    rows = usage.between(first, today).filter(**{f"{column}__in": values}).order_by().values_list(column, "day")
    for value, day, requests, succeeded in rows.annotate(Sum("requests"), Sum("succeeded")):
        days[value][(day - first).days] = requests, requests - succeeded
    return {value: _spark(days[value]) for value in values}


def _spark(days: Mapping[int, tuple[int, int]]) -> Spark:
    highest = max((requests for requests, _ in days.values()), default=0)
    every = sorted(days.items())
    return Spark(
        path="".join(_stroke(day, requests / highest) for day, (requests, _) in every if requests),
        failed_path="".join(_stroke(day, failed / highest) for day, (_, failed) in every if failed),
        requests=sum(requests for requests, _ in days.values()),
        failed=sum(failed for _, failed in days.values()),
    )


def _stroke(day: int, share: float) -> str:
    """A vertical stroke in whole pixels, which compress well. It is never too short to see."""
    return f"M{(day + 0.5) * SPARK_STEP:g} {SPARK_HEIGHT}v-{max(round(share * SPARK_HEIGHT), 2)}"
