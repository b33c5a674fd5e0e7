"""The Audit Log tab: its entries, its filters and its exports."""

import csv
import inspect
import io
import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts import audit, policy, services
from accounts.audit import Event
from accounts.forms import AuditFilter
from accounts.models import AuditEvent, AuditEventQuerySet
from accounts.targets import Target
from atatus_dash.api.resources.audit_events import AuditFilterSerializer
from tests import factories
from tests.admin_pages import admin_url
from tests.conftest import Browser, Cast, Program

HTMX = {"HX-Request": "true"}


def log(cast: Cast, name: str = "audit_log") -> str:
    return reverse(f"accounts:{name}", args=[cast.account.slug])


def shown(response: Any) -> list[str]:
    """The text of the rows, newest first."""
    return [f"{event.actor_label} {event.event} {event.target_label}" for event in response.context["page"]]


@pytest.fixture
def owner(cast: Cast, browser: Browser) -> Browser:
    return browser.as_(cast.owner)


@pytest.fixture
def events(cast: Cast, owner: Browser) -> None:
    """Events: two of a new account, a project by the system, a rename by the Owner, and another account's project."""
    services.create_project(actor=policy.system(cast.account.ref, "Command line"), name="web")
    owner.post(reverse("accounts:general", args=[cast.account.slug]), {"name": "Acme Ltd"})
    services.create_project(actor=policy.system(cast.elsewhere.ref), name="theirs")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("actor=OWNER@example.com", ["owner@example.com account.changed Acme Ltd"]),
        ("actor=command line", ["Command line project.created web"]),
        ("event=project", ["Command line project.created web"]),
        ("event=account.changed", ["owner@example.com account.changed Acme Ltd"]),
        ("actor=mmand", ["Command line project.created web"]),
        ("target=we", ["Command line project.created web"]),
        ("target=web", ["Command line project.created web"]),
        ("target=acme&event=account.created", ["System account.created Acme"]),
        ("target=theirs", []),
        ("actor=nobody", []),
    ],
)
def test_filters_are_in_the_query_string(
    query: str, found: list[str], cast: Cast, owner: Browser, events: None
) -> None:
    assert shown(owner.get(f"{log(cast)}?{query}")) == found


@pytest.mark.parametrize(
    ("since", "until", "number"), [(0, None, 4), (1, None, 4), (-1, None, 0), (None, 0, 4), (None, 1, 0), (0, 0, 4)]
)
def test_days_are_included_on_both_sides(
    since: int | None, until: int | None, number: int, cast: Cast, owner: Browser, events: None
) -> None:
    today = timezone.now().date()
    days = {"since": since, "until": until}
    query = {name: str(today - timedelta(days=ago)) for name, ago in days.items() if ago is not None}

    assert len(shown(owner.get(log(cast), query))) == number


@pytest.mark.parametrize("query", ["since=yesterday", "event=nonsense", "since=0001-01-01", "until=9999-12-31"])
def test_an_invalid_filter_is_reported_and_matches_nothing(
    query: str, cast: Cast, owner: Browser, events: None
) -> None:
    response = owner.get(f"{log(cast)}?{query}")

    assert shown(response) == []
    assert "Correct the filter to see events." in response.content.decode()
    assert 'aria-invalid="true"' in response.content.decode()


def test_htmx_gets_only_the_rows(cast: Cast, owner: Browser, events: None) -> None:
    part = owner.get(log(cast), {"event": "project"}, headers=HTMX)

    assert part.content.decode().lstrip().startswith('<div id="events">')
    assert "HX-Request" in part.headers["Vary"]


def test_an_event_shows_its_changes_in_words(cast: Cast, owner: Browser, events: None) -> None:
    html = owner.get(log(cast), {"event": "account.changed"}).content.decode()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", html))

    assert "owner@example.com changed the settings of Acme Ltd" in text
    assert "Name: Acme → Acme Ltd" in text
    assert re.search(r'<details class="as-table">\s*<summary>1 change', html)


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (Event.MEMBER_LEFT, "ann@example.com left the account"),
        (Event.MEMBER_JOINED, "ann@example.com joined the account"),
        (Event.OWNERSHIP_TAKEN, "ann@example.com accepted the ownership of the account"),
        (Event.INVITATION_SENT, "ann@example.com sent the invitation for X again"),
        (Event.MEMBER_REMOVED, "ann@example.com removed X from the account"),
        (Event.API_KEY_EXPIRED, "ann@example.com expired API key X"),
    ],
)
def test_an_event_reads_as_a_sentence(cast: Cast, owner: Browser, event: Event, sentence: str) -> None:
    actor = policy.system(cast.account.ref, "ann@example.com")
    audit.record(actor=actor, event=event, target=Target("x", "x", "X"))
    for page in (log(cast), reverse("overview", args=["acme"])):
        text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", owner.get(page).content.decode()))
        assert f" {sentence} " in text or f" {sentence}just now" in text


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        ("service.created", "olivia@example.com created service Reports"),
        ("api_key.access_widened", "olivia@example.com access widened api key Reports"),
        ("heartbeat", "olivia@example.com heartbeat Reports"),
    ],
)
def test_an_unknown_event_of_a_newer_version_is_shown(
    cast: Cast, owner: Browser, administrator: Program, event: str, sentence: str
) -> None:
    """Two versions write to one database during an upgrade."""
    written = AuditEvent.objects.create(
        account=cast.account,
        event=event,
        actor_kind="gateway",
        actor_label="olivia@example.com",
        target_kind="service",
        target_id="svc_1",
        target_label="Reports",
        changes={"access": [None, {"paths": ["/a"]}], "seen_at": [5, {}], "role": [{}, "auditor"]},
    )
    for page in (log(cast), reverse("overview", args=["acme"])):
        text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", owner.get(page).content.decode()))
        assert sentence in text
    listed = administrator.get("/v2/audit-events").json()["results"]
    assert (written.pk, event) in [(one["id"], one["event"]) for one in listed]


@pytest.fixture
def of_a_newer_version(cast: Cast) -> AuditEvent:
    """During an upgrade, the old and the new version write and read one log."""
    key = factories.make_key(cast.account).api_key
    changes = {"mood": "calm", "role": ["user", {"until": 7}], "seen_at": [5, "2027-02-30T10:00"], "kept_at": [1, 2, 3]}
    return AuditEvent.objects.create(
        id="evt_3AQuotedForAdmin",
        account=cast.account,
        event="api_key.hibernated",
        actor_kind="robot",
        actor_label="ann@example.com",
        target_kind="api_key",
        target_id=key.id,
        target_label="Deploys",
        changes=changes,
    )


def test_an_unknown_event_is_shown_on_every_page(cast: Cast, owner: Browser, of_a_newer_version: AuditEvent) -> None:
    a_key = reverse("apikeys:key", args=["acme", of_a_newer_version.target_id])
    for page in (log(cast), reverse("overview", args=["acme"]), a_key):
        text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", owner.get(page).content.decode()))
        assert "ann@example.com hibernated api key Deploys" in text
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", owner.get(log(cast), {"event": "api_key"}).content.decode()))
    assert "Mood: calm" in text
    assert "Seen at: 5 → 2027-02-30T10:00" in text


@pytest.mark.parametrize("name", ["audit_log_csv", "audit_log_json"])
def test_an_unknown_event_is_exported(name: str, cast: Cast, owner: Browser, of_a_newer_version: AuditEvent) -> None:
    assert "api_key.hibernated" in owner.get(log(cast, name), {"event": "api_key"}).getvalue().decode()


def test_an_unknown_event_is_in_the_api(administrator: Program, of_a_newer_version: AuditEvent) -> None:
    newest = administrator.get("/v2/audit-events", {"event": "api_key", "target": of_a_newer_version.target_id})
    told = {event["event"]: event for event in newest.json()["results"]}

    assert told["api_key.hibernated"]["actor"]["kind"] == "robot"
    assert told["api_key.hibernated"]["changes"] == of_a_newer_version.changes


def test_an_unknown_event_is_shown_in_admin(browser: Browser, of_a_newer_version: AuditEvent) -> None:
    browser.as_(factories.make_operator())
    rows = browser.get(reverse("admin:accounts_auditevent_changelist"), {"event": "api_key.hibernated"})
    item = browser.get(admin_url(of_a_newer_version, "change"))

    assert "api_key.hibernated" in rows.content.decode()
    assert "api_key.hibernated" in item.content.decode()


def test_a_time_that_does_not_exist_in_the_users_time_zone_is_shown_unchanged(cast: Cast, owner: Browser) -> None:
    cast.owner.time_zone = "Pacific/Kiritimati"
    cast.owner.save()
    audit_event = {"event": "api_key.changed", "changes": {"expires_at": [None, "9999-12-31T23:59:59Z"]}}
    AuditEvent.objects.create(account=cast.account, **audit_event)

    assert "9999-12-31T23:59:59Z" in owner.get(log(cast)).content.decode()


def test_every_event_has_words_and_at_most_one_target() -> None:
    assert all(event.words.count("{}") <= 1 for event in Event)


def test_values_are_shown_in_words(cast: Cast, owner: Browser) -> None:
    factories.make_key(
        cast.account, administrator=True, expires_at=None, allowed_networks=["10.0.0.0/8", "192.0.2.0/24"]
    )
    text = re.sub(r"<[^>]+>", "", owner.get(log(cast), {"event": "api_key"}).content.decode())

    assert "Permission: Read &amp; Write" in text
    assert "Administrator: yes" in text
    assert "Allowed networks: 10.0.0.0/8, 192.0.2.0/24" in text


def test_a_name_that_looks_like_an_invalid_time_is_shown_unchanged(cast: Cast, owner: Browser) -> None:
    actor = policy.system(cast.account.ref)
    project = services.create_project(actor=actor, name="web")
    services.change_project(actor=actor, project=project, name="2027-02-30T10:00")

    assert "web → 2027-02-30T10:00" in re.sub(r"<[^>]+>", "", owner.get(log(cast)).content.decode())


def test_the_address_and_the_request_of_an_event_are_shown(cast: Cast, owner: Browser, events: None) -> None:
    html = owner.get(log(cast), {"event": "account.changed"}).content.decode()
    event = AuditEvent.objects.get(event="account.changed")

    assert "127.0.0.1" in html
    assert event.request_id in html


@pytest.mark.parametrize(
    ("name", "content_type"),
    [("audit_log_csv", "text/csv; charset=utf-8"), ("audit_log_json", "application/json")],
)
def test_an_export_is_a_filtered_file(name: str, content_type: str, cast: Cast, owner: Browser, events: None) -> None:
    response = owner.get(log(cast, name), {"event": "project"})
    text = response.getvalue().decode()
    rows = json.loads(text) if name == "audit_log_json" else list(csv.DictReader(io.StringIO(text)))

    assert response.streaming
    assert response.headers["Content-Type"] == content_type
    assert re.fullmatch(
        r'attachment; filename="acme-audit-log-\d{4}-\d\d-\d\d\.(csv|json)"', response.headers["Content-Disposition"]
    )
    assert response.headers["Cache-Control"] == "private, no-store"
    assert [row["target_label"] for row in rows] == ["web"]


def test_the_page_links_to_exports_of_what_it_shows(cast: Cast, owner: Browser, events: None) -> None:
    html = owner.get(log(cast), {"event": "project", "page": "1"}).content.decode()

    for name in ("audit_log_csv", "audit_log_json"):
        assert f'href="{log(cast, name)}?event=project"' in html


def test_an_export_with_an_invalid_filter_is_empty(cast: Cast, owner: Browser, events: None) -> None:
    response = owner.get(log(cast, "audit_log_json"), {"since": "yesterday"})

    assert json.loads(response.getvalue()) == []


def test_page_and_api_filter_by_the_same_names_and_events() -> None:
    names = list(inspect.signature(AuditEventQuerySet.matching).parameters)[1:]
    form, serializer = AuditFilter(), AuditFilterSerializer()
    assert list(form.fields) == list(serializer.fields) == names
    offered: Any = form.fields["event"]
    taken: Any = serializer.fields["event"]
    names_of_events = {value for _, group in list(offered.choices)[1:] for value, _ in group}
    assert names_of_events == set(taken.choices) == {name for event in Event for name in (event, event.split(".")[0])}


def test_a_text_that_looks_like_a_kept_id_finds_labels_too(cast: Cast, owner: Browser) -> None:
    revision = "5f1d7a84098b6a3d1c9e4b20"
    audit_event = AuditEvent.objects.create(
        account=cast.account,
        event=Event.DEPLOYMENT_CREATED,
        actor_kind="system",
        actor_label="System",
        target_kind="deployment",
        target_id="dep_0000000000000000",
        target_label=revision,
    )
    assert shown(owner.get(log(cast), {"target": revision})) == [f"System {audit_event.event} {revision}"]
