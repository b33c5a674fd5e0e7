import csv
import io
import json

import pytest

from accounts import exports, policy, services
from accounts.models import AuditEvent
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def events(cast):
    services.create_project(actor=policy.system(cast.account.ref), name="=HYPERLINK(1)")
    return AuditEvent.objects.for_account(cast.account)


def test_csv_has_a_line_for_every_event(events):
    rows = list(csv.DictReader(io.StringIO("".join(exports.as_csv(events)))))
    assert len(rows) == events.count()
    assert rows[0]["event"] == "project.created"


def test_a_cell_is_never_a_formula(events):
    assert "\n" not in next(iter(exports.as_csv(events))).strip()
    rows = list(csv.DictReader(io.StringIO("".join(exports.as_csv(events)))))
    assert rows[0]["target_label"] == "'=HYPERLINK(1)"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "＝", "＋", "－", "＠"])
def test_whatever_a_formula_starts_with_is_made_plain(cast, start):
    services.create_project(actor=policy.system(cast.account.ref), name=f"{start}1")
    text = "".join(exports.as_csv(AuditEvent.objects.filter(event="project.created")))
    assert next(csv.DictReader(io.StringIO(text, newline="")))["target_label"] == f"'{start}1"


def test_json_is_one_array(events, cast):
    assert [row["id"] for row in json.loads("".join(exports.as_json(events)))] == [event.id for event in events]
    assert json.loads("".join(exports.as_json(events.filter(event="none")))) == []


def test_an_export_is_one_query(events, django_assert_num_queries):
    for _ in range(3):
        factories.make_account()
    with django_assert_num_queries(1):
        list(exports.as_csv(events))
