"""The docs name all settings, routes and events, and no others."""

import re
from pathlib import Path

import pytest

from accounts.audit import Event
from apikeys import tokens
from apikeys.guard.configurations import GATEWAYS, Gateway
from apikeys.guard.contracts import NAMED_BY, Contract
from atatus_dash import VERSION
from atatus_dash.jobs import JOBS, Job
from atatus_dash.variables import DEFAULTS, DOCUMENTS, VARIABLES, Variable, with_table

from .api.test_matrix import ROUTES

ROOT = Path(__file__).resolve().parent.parent
README, GUIDE, OPERATIONS = ((ROOT / path).read_text() for path in ("README.md", "docs/guide.md", "docs/operations.md"))
DECISIONS = ROOT / "docs" / "decisions"
API = ROOT / "docs" / "api"
RESOURCES = (API / "resources.md").read_text()
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
SETTINGS = (ROOT / "atatus_dash" / "settings.py").read_text()


def test_the_settings_read_every_documented_variable_and_no_other() -> None:
    read = re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', SETTINGS)
    differing = sorted(set(read) ^ set(DEFAULTS))
    assert sorted(read) == sorted(DEFAULTS), f"settings.py has to read each Variable of variables.py once: {differing}"


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_a_variable_with_a_secret_may_come_from_a_file(variable: Variable) -> None:
    readers = re.findall(rf'env\.(\w+)\(\s*"{variable.name}"', SETTINGS)
    of_secrets = {"secret", "secrets", "password", "database", "redis", "email", "github_keys"}
    assert [reader in of_secrets for reader in readers] == [variable.has_file]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_the_documents_have_the_current_table_of_variables(document: Path) -> None:
    is_fresh = document.read_text() == with_table(document, detailed=DOCUMENTS[document])
    assert is_fresh, "The table of variables is stale: run .venv/bin/python -m atatus_dash.variables"


def test_make_passes_on_no_variable_that_the_shell_exports() -> None:
    kept_back = re.findall(r"^unexport (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    names = {variable.name for variable in VARIABLES if variable.name != "PORT"}  # make run PORT=…
    files = {f"{variable.name}_FILE" for variable in VARIABLES if variable.has_file}
    of_python = {"DJANGO_SETTINGS_MODULE", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV"}
    listed, wanted = " ".join(kept_back).split(), names | files | of_python
    assert sorted(listed) == sorted(wanted), f"Makefile, lines of unexport: {sorted(wanted ^ set(listed))}"


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_the_page_on_operations_lists_every_scheduled_job(job: Job) -> None:
    assert f"\n| `{job.name}` | " in OPERATIONS, f"docs/operations.md: add `{job.name}` under *Scheduled jobs*"


def test_the_readme_shows_existing_pictures() -> None:
    for path in re.findall(r"\]\((docs/[^)#]+|deploy/[^)]+|[a-z_]+/[^)#]+\.py)\)", README):
        assert (ROOT / path).exists(), path


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub generates them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_an_existing_file_and_heading(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text())
    targets = [((page.parent / path).resolve() if path else page, anchor) for path, anchor in links]
    assert [path for path, _ in targets if not path.exists()] == []
    assert [(path.name, anchor) for path, anchor in targets if anchor and anchor not in _anchors(path)] == []


def test_every_file_of_decisions_is_listed() -> None:
    listed = re.findall(r"\]\((\S+\.md)\)", (DECISIONS / "README.md").read_text())
    assert sorted([*listed, "README.md"]) == sorted(path.name for path in DECISIONS.iterdir())


@pytest.mark.parametrize("page", sorted(DECISIONS.glob("[!R]*.md")), ids=lambda page: page.name)
def test_every_decision_has_its_date_and_the_alternative_that_lost(page: Path) -> None:
    records = page.read_text().split("\n## ")[1:]
    assert records
    for record in records:
        title, _, text = record.partition("\n")
        assert re.match(r"\n20\d\d-\d\d-\d\d\b", text), title
        assert text.count("\n**Rejected:** ") == 1, title


def test_the_newest_version_of_the_changelog_is_the_one_that_runs() -> None:
    assert re.findall(r"^## (\S+),", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0] == VERSION


def test_every_screenshot_exists_and_is_shown() -> None:
    shown = set(re.findall(r"\((?:docs/)?screenshots/([^)]+)\)", README + GUIDE))

    assert shown == {path.name for path in (ROOT / "docs" / "screenshots").iterdir()}


@pytest.mark.parametrize("guide", sorted(API.glob("*.md")), ids=lambda guide: guide.name)
def test_a_guide_begins_with_its_title_and_one_sentence_and_is_in_the_list(guide: Path) -> None:
    title, blank, summary, below = guide.read_text().split("\n")[:4]
    assert title.startswith("# ")
    assert summary.endswith(".")
    assert blank == below == ""
    assert guide.name == "README.md" or f"]({guide.name})" in (API / "README.md").read_text()


@pytest.mark.parametrize("route", ROUTES)
def test_the_page_on_resources_lists_every_route(route: str) -> None:
    path = re.sub(r"<id:\w+>", "{id}", route)
    assert f"`/{path}`" in RESOURCES


def test_the_page_on_authentication_has_the_scanners_pattern() -> None:
    assert tokens.SCANNER_PATTERN in (API / "authentication.md").read_text()


def test_the_page_on_errors_lists_the_own_answers_of_the_server_and_nginx() -> None:
    server = "".join(path.read_text() for path in (ROOT / "atatus_dash" / "server").glob("*.py"))
    nginx = (ROOT / "deploy" / "nginx.conf").read_text()
    said = re.findall(r'RefusedError\(HTTPStatus\.\w+, "([^"]+)"\)', server)
    said += re.findall(r'"Message":"([^"]+)"', nginx.replace("\\'", "'"))
    section = (API / "errors.md").read_text().partition("### Before a request is read")[2].partition("\n## ")[0]
    assert len(said) >= 20
    assert [sentence for sentence in said if f"`{sentence}`" not in section] == []


@pytest.mark.parametrize("event", Event)
def test_the_page_on_resources_lists_every_event(event: Event) -> None:
    assert f"`{event}`" in RESOURCES, f"docs/api/resources.md: add `{event}` to the row of its subject"


def test_event_names_are_a_subject_and_a_past_tense_verb() -> None:
    assert all(re.fullmatch(r"[a-z_]+\.([a-z]+_)*[a-z]*(ed|en|ft|nt|wn|reset)(_in|_out)?", event) for event in Event)


def test_the_page_for_contributors_names_existing_files() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    rooms = ("accounts/", "apikeys/", "atatus_dash/", "deploy/", "docs/", "tests/")
    paths = [path.rstrip(".") for path in re.findall(r"[`\s]([\w./-]+)[`\s]", page) if path.startswith(rooms)]
    assert len(paths) > 30
    assert [path for path in paths if not (ROOT / path).exists() and not (ROOT / "templates" / path).exists()] == []


def test_the_page_on_architecture_and_its_drawings_name_existing_modules() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    drawings = [ROOT / "docs" / path for path in re.findall(r"\((architecture/[\w-]+\.svg)\)", page)]
    assert sorted(drawings) == sorted((ROOT / "docs" / "architecture").iterdir())
    drawn = {
        name
        for drawing in drawings
        for name in re.findall(r'class="file"[^>]*>([\w/]+(?:\.py|/))<', drawing.read_text())
    }
    named = {name for name in re.findall(r"`([\w/]+(?:\.py|/))`", page) if "/" in name.rstrip("/")}
    parts = [ROOT, *(ROOT / app for app in ("atatus_dash", "apikeys", "accounts"))]
    missing = [name for name in drawn | named if not any((part / name).exists() for part in parts)]
    assert not missing


GUARD, GUARD_REFERENCE = ((ROOT / "docs" / page).read_text() for page in ("guard.md", "guard-reference.md"))


@pytest.mark.parametrize("contract", Contract)
def test_the_page_on_the_guard_describes_each_contract(contract: Contract) -> None:
    (row,) = re.findall(rf"^\| `/v2/verify/{{service}}/{contract}[`/].*$", GUARD_REFERENCE, re.MULTILINE)
    assert all(f"`{name}`" in row for name in NAMED_BY.get(contract, ()))


@pytest.mark.parametrize("gateway", GATEWAYS.values(), ids=lambda gateway: gateway.name)
def test_the_page_on_the_guard_says_where_each_gateways_files_go_and_what_reloads_them(gateway: Gateway) -> None:
    (row,) = re.findall(rf"^\| {gateway.title} \d.*$", GUARD, re.MULTILINE)
    folders = {str(Path(path).parent) for path in gateway.files.values()}
    assert all(Path(path).name in row for path in gateway.files.values())
    assert all(folder in row for folder in folders)
    assert gateway.reload in row
