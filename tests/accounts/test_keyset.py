"""Keyset pagination."""

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts import keyset
from accounts.models import Account, Project
from tests import factories
from tests.conftest import Cast


@pytest.fixture
def names(cast: Cast) -> list[str]:
    """Seven projects, newest first; five of them were created at the same time."""
    now = timezone.now()
    for number in range(7):
        moment = now - timedelta(seconds=max(0, number - 4))
        project = factories.make_project(cast.account, f"p{number}")
        Project.objects.filter(pk=project.pk).update(created_at=moment)
    return [project.name for project in Project.objects.all()]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10])
def test_pages_forward_and_back_have_every_row_once_in_order(names: list[str], size: int) -> None:
    forward, cursor = [], ""
    while True:
        page = keyset.page(Project.objects.all(), size=size, cursor=cursor)
        forward.append([project.name for project in page])
        if page.next is None:
            break
        cursor = page.next
    assert [name for rows in forward for name in rows] == names

    backward = [forward[-1]]
    while page.previous is not None:
        page = keyset.page(Project.objects.all(), size=size, cursor=page.previous)
        backward.insert(0, [project.name for project in page])
    assert backward == forward


def test_texts_that_order_a_list_may_have_any_characters(cast: Cast) -> None:
    """Also those that separate a cursor's values, or begin the cursor of a previous page."""
    for name in ("~", "~.", "~~b", ".", "a.b", "%7E", "%", "é", "null", "0", "1~2", " x"):
        factories.make_account(name, cast.owner)
    ids = list(Account.objects.values_list("pk", flat=True))
    page = keyset.page(Account.objects.all(), size=1)
    forward = [*page]
    while page.next is not None and len(forward) < len(ids):
        page = keyset.page(Account.objects.all(), size=1, cursor=page.next)
        forward += page
    assert [account.pk for account in forward] == ids
    backward = [*page]
    while page.previous is not None and len(backward) < len(ids):
        page = keyset.page(Account.objects.all(), size=1, cursor=page.previous)
        backward += page
    assert [account.pk for account in backward] == ids[::-1]


def test_new_rows_do_not_shift_pages(names: list[str], cast: Cast) -> None:
    first = keyset.page(Project.objects.all(), size=3)
    factories.make_project(cast.account, "arrived")
    second = keyset.page(Project.objects.all(), size=3, cursor=first.next or "")
    assert [project.name for project in (*first, *second)] == names[:6]


def test_a_page_takes_one_query_and_no_count(
    names: list[str], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1) as queries:
        keyset.page(Project.objects.all(), size=3)
    assert "COUNT" not in queries[0]["sql"]


def test_a_list_that_became_empty_has_no_other_pages(names: list[str]) -> None:
    cursor = keyset.page(Project.objects.all(), size=3).next or ""
    Project.objects.all().delete()
    page = keyset.page(Project.objects.all(), size=3, cursor=cursor)
    assert (page.rows, page.next, page.previous) == ([], None, None)
