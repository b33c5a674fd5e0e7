from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from apikeys import charts
from apikeys.models import APIKey, KeyUsage
from tests import factories
from tests.conftest import Cast

pytestmark = pytest.mark.django_db


def use(api_key: APIKey, days_ago: int, **counts: int) -> None:
    day = timezone.now().date() - timedelta(days=days_ago)
    KeyUsage.objects.create(api_key=api_key, day=day, requests=sum(counts.values()), **counts)


def test_days_without_requests_are_included_and_other_days_are_not(cast: Cast) -> None:
    key = factories.make_key(cast.account).api_key
    for days_ago in (-1, 0, 29, 30):
        use(key, days_ago, succeeded=5)
    days = charts.by_day(KeyUsage.objects.all(), 30)

    assert len(days) == 30
    assert sum(use.requests for use in days.values()) == 10
    assert list(days)[-1] == timezone.now().date()


def test_usage_of_an_account_counts_only_its_own_keys(cast: Cast) -> None:
    for account in (cast.account, cast.account, cast.elsewhere):
        use(factories.make_key(account).api_key, 0, succeeded=3, throttled=1)
    total = charts.chart(charts.by_day(KeyUsage.objects.for_account(cast.account), 7)).total

    assert (total.requests, total.failed, total.failed_percent) == (8, 2, 25.0)


def test_bars_start_at_the_bottom_and_none_is_higher_than_the_plot(cast: Cast) -> None:
    key = factories.make_key(cast.account).api_key
    use(key, 0, succeeded=987, client_errors=12, server_errors=1)
    use(key, 1, succeeded=1)
    chart = charts.chart(charts.by_day(KeyUsage.objects.all(), 30))

    assert [part.name for part in chart.bars[-1].parts] == ["server_errors", "client_errors", "succeeded"]
    assert sum(part.height for part in chart.bars[-1].parts) <= charts.HEIGHT + 2
    assert [line.value for line in chart.lines] == [0, 200, 400, 600, 800, 1000]
    assert chart.bars[-1].x + chart.bars[-1].width == pytest.approx(100, abs=0.1)


@pytest.mark.parametrize("highest", [0, 1, 3, 4, 5, 6, 99, 100, 101, 12345, 10**9])
def test_lines_are_few_and_round(highest: int, cast: Cast) -> None:
    if highest:
        use(factories.make_key(cast.account).api_key, 0, succeeded=highest)
    values = [line.value for line in charts.chart(charts.by_day(KeyUsage.objects.all(), 7)).lines]

    assert 2 <= len(values) <= 1 + charts.LINES
    assert values[-1] >= highest
    assert str(values[1]).rstrip("0") in {"1", "2", "5"}


def test_a_year_is_drawn_by_weeks_that_end_today(cast: Cast) -> None:
    use(factories.make_key(cast.account).api_key, 6, succeeded=1)
    use(factories.make_key(cast.account).api_key, 7, succeeded=2)
    chart = charts.chart(charts.by_day(KeyUsage.objects.all(), 364), days_per_bar=7)

    assert len(chart.bars) == 52
    assert [bar.use.requests for bar in chart.bars[-2:]] == [2, 1]


def test_days_of_an_incomplete_week_are_not_lost(cast: Cast) -> None:
    use(factories.make_key(cast.account).api_key, 9, succeeded=2)
    chart = charts.chart(charts.by_day(KeyUsage.objects.all(), 10), days_per_bar=7)

    assert [bar.use.requests for bar in chart.bars] == [2, 0]


def test_every_key_gets_a_sparkline_in_one_query(cast: Cast, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    keys = [factories.make_key(cast.account).api_key for _ in range(5)]
    use(keys[0], 0, succeeded=9, client_errors=1)
    use(keys[0], 29, succeeded=5)
    use(keys[0], 31, succeeded=100)
    with django_assert_num_queries(1):
        sparks = charts.sparks(keys)

    assert (sparks[keys[0].pk].requests, sparks[keys[0].pk].failed) == (15, 1)
    assert sparks[keys[0].pk].path == "M2 22v-11M118 22v-22"
    assert sparks[keys[0].pk].failed_path == "M118 22v-2"
    assert sparks[keys[1].pk].path == ""
