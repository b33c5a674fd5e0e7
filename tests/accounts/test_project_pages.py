"""Projects and their deployments."""

import pytest
from django.urls import reverse

from accounts.models import AuditEvent, Deployment, Project
from tests import factories
from tests.conftest import Browser, Cast


def projects(cast: Cast) -> str:
    return reverse("accounts:projects", args=[cast.account.slug])


def page_of(project: Project, name: str = "project") -> str:
    return reverse(f"accounts:{name}", args=[project.account.slug, project.id])


@pytest.fixture
def owner(cast: Cast, browser: Browser) -> Browser:
    return browser.as_(cast.owner)


@pytest.fixture
def project(cast: Cast) -> Project:
    return factories.make_project(cast.account, "web")


def test_an_account_without_projects_sees_what_a_project_is(cast: Cast, owner: Browser) -> None:
    page = owner.get(projects(cast)).content.decode()

    assert "No projects yet" in page
    assert page.count("New project") == 1


def test_a_user_sees_projects_and_no_way_to_change_them(cast: Cast, browser: Browser, project: Project) -> None:
    browser.as_(cast.user)
    listed = browser.get(projects(cast)).content.decode()
    opened = browser.get(page_of(project)).content.decode()

    assert "web" in listed
    assert "New project" not in listed
    assert "Record deployment" not in opened
    assert page_of(project, "delete_project") not in opened


def test_the_list_shows_the_newest_first_and_how_often_and_when_each_was_deployed(
    cast: Cast, owner: Browser, project: Project
) -> None:
    factories.make_deployment(project)
    factories.make_deployment(project)
    factories.make_project(cast.account, "api")

    rows = list(owner.get(projects(cast)).context["page"])

    assert [(row.name, row.deployment_count, row.deployed_at is None) for row in rows] == [
        ("api", None, True),
        ("web", 2, False),
    ]


def test_a_page_of_the_list_has_twenty_five_projects(cast: Cast, owner: Browser) -> None:
    for number in range(30):
        factories.make_project(cast.account, f"p{number}")

    assert len(owner.get(projects(cast)).context["page"]) == 25


def test_a_project_is_created_recorded_and_shown(cast: Cast, owner: Browser) -> None:
    response = owner.post(reverse("accounts:new_project", args=[cast.account.slug]), {"name": " web "}, follow=True)

    made = Project.objects.get()
    event = AuditEvent.objects.for_account(cast.account).first()
    assert made.name == "web"
    assert response.redirect_chain[-1][0] == page_of(made)
    assert "Project web created" in response.content.decode()
    assert event is not None
    assert (event.event, event.actor_label) == ("project.created", "owner@example.com")


@pytest.mark.parametrize("name", ["", "   ", "x" * 101])
def test_an_invalid_project_name_is_refused_at_the_field(name: str, cast: Cast, owner: Browser) -> None:
    response = owner.post(reverse("accounts:new_project", args=[cast.account.slug]), {"name": name})

    assert response.status_code == 422
    assert 'aria-invalid="true"' in response.content.decode()
    assert "id_name_error" in response.content.decode()
    assert not Project.objects.exists()


def test_a_project_is_renamed(owner: Browser, project: Project) -> None:
    owner.post(page_of(project, "edit_project"), {"name": "site"})

    project.refresh_from_db()
    assert project.name == "site"


def test_a_refused_rename_keeps_the_name_on_the_page(owner: Browser, project: Project) -> None:
    page = owner.post(page_of(project, "edit_project"), {"name": ""}).content.decode()

    assert "Edit web" in page


def test_deleting_asks_first_and_deletes_the_deployments_too(owner: Browser, project: Project) -> None:
    factories.make_deployment(project)
    asked = owner.get(page_of(project, "delete_project")).content.decode()
    still_there = Project.objects.exists()
    owner.post(page_of(project, "delete_project"))

    assert "This also deletes its 1 deployment." in asked
    assert still_there
    assert not Project.objects.exists()
    assert not Deployment.objects.exists()


def test_a_projects_page_shows_how_to_record_a_deployment_by_api(owner: Browser, project: Project) -> None:
    page = owner.get(page_of(project)).content.decode()

    assert f"curl https://testserver/v2/projects/{project.id}/deployments" in page


def test_a_deployment_is_recorded_by_hand(owner: Browser, project: Project) -> None:
    form = {"revision": "v2", "release_stage": "staging", "user": "Ada", "changes": "Faster."}
    response = owner.post(page_of(project, "new_deployment"), form, follow=True)

    made = Deployment.objects.get()
    assert (made.revision, made.release_stage, made.user, made.recorded_by) == (
        "v2",
        "staging",
        "Ada",
        "owner@example.com",
    )
    assert "Faster." in response.content.decode()


def test_a_deployment_without_a_revision_is_refused(owner: Browser, project: Project) -> None:
    response = owner.post(page_of(project, "new_deployment"), {"revision": "", "release_stage": "production"})

    assert response.status_code == 422
    assert not Deployment.objects.exists()


def test_a_page_of_a_project_has_twenty_five_deployments(owner: Browser, project: Project) -> None:
    for number in range(30):
        factories.make_deployment(project, f"r{number}")

    assert len(owner.get(page_of(project)).context["page"]) == 25


def test_a_projects_name_is_escaped(cast: Cast, owner: Browser) -> None:
    factories.make_project(cast.account, "<script>alert(1)</script>")

    assert "<script>alert" not in owner.get(projects(cast)).content.decode()
