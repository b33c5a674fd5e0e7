"""The docs are held to the settings, routes and events that there are."""

import re
from pathlib import Path

import pytest

from accounts.audit import Event
from apikeys import tokens

from .api.test_matrix import ROUTES

ROOT = Path(__file__).resolve().parent.parent
README, API, GUIDE = ((ROOT / path).read_text() for path in ("README.md", "docs/api.md", "docs/guide.md"))
VARIABLES = set(re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', (ROOT / "atatus_dash" / "settings.py").read_text()))


@pytest.mark.parametrize("name", sorted(VARIABLES | {"ACCOUNT_OWNER_PASSWORD"}))
def test_the_readme_tells_every_variable(name):
    assert f"`{name}`" in README


def test_the_readme_shows_pictures_that_are_there():
    for path in re.findall(r"\]\((docs/[^)#]+|deploy/[^)]+|[a-z_]+/[^)#]+\.py)\)", README):
        assert (ROOT / path).exists(), path


def test_every_picture_that_is_drawn_is_shown_and_there():
    shown = set(re.findall(r"\((?:docs/)?screenshots/([^)]+)\)", README + GUIDE))

    assert shown == {path.name for path in (ROOT / "docs" / "screenshots").iterdir()}


@pytest.mark.parametrize("route", ROUTES)
def test_the_api_page_tells_every_route(route):
    path = re.sub(r"<id:\w+>", "{id}", route)
    assert f"`/{path}`" in API


def test_the_api_page_tells_the_scanners_pattern():
    assert tokens.SCANNER_PATTERN in API


@pytest.mark.parametrize("event", Event)
def test_the_api_page_tells_every_event(event):
    assert f"`{event}`" in API


def test_event_names_are_a_subject_and_a_past_tense_verb():
    assert all(re.fullmatch(r"[a-z_]+\.([a-z]+_)*[a-z]*(ed|en|ft|nt|wn|reset)(_in|_out)?", event) for event in Event)
