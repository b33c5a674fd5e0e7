"""The pages of the reference: their list, their URLs, and what their templates show."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Any, NamedTuple

from django.http import Http404
from django.utils import timezone
from django.utils.http import urlencode

from accounts import ids
from accounts.context import REQUEST_ID
from apikeys.calls import Call, as_json

from .. import problems
from ..errors import PROBLEM, error_content
from ..problems import CATALOGUE, INVALID_FIELDS, ProblemType
from . import guides, operations, search
from .operations import Field, Operation, Reference, Resource

#: Statuses of errors that every operation can have.
_GENERAL = (408, 411, 413, 415, 431, 500, 503)

#: Ids and keys in examples. They are not the reader's own, unless the reference knows those.
_REPLACEABLE = re.compile(r"\b(?:[a-z]{3}_[0-9A-Za-z]{16}\b|atk_[0-9A-Za-z]*…?)")
_TIME = re.compile(r"\d{4}(-\d\d-\d\dT.+Z)")
_PARAMETER = re.compile(r"\{(\w+)\}")


class Named(NamedTuple):
    """An item of the reader's account, which examples name."""

    id: str
    name: str


@dataclass(frozen=True)
class Site:
    """Where the reference is shown, and to whom."""

    #: The path of the start page, and the suffix of other pages' paths.
    start: str
    end: str
    #: This server's address, such as `https://keys.example.com`.
    origin: str
    #: Items of the reader's account, by the first three letters of their ids.
    items: Mapping[str, Named] = field(default_factory=dict)

    def url(self, path: str = "") -> str:
        page, mark, fragment = path.partition("#")
        return f"{self.start}{self.end if not page else f'/{page}{self.end}'}{mark}{fragment}"

    def guide(self, name: str) -> str:
        return self.url(f"guides/{name}" if name else "")

    def with_own(self, example: Any) -> Any:
        """An example with ids and names of the account's items instead of invented ones."""
        if isinstance(example, Mapping):
            fields = {name: self.with_own(value) for name, value in example.items()}
            item = self._item(example.get("id"))
            return {**fields, "name": item.name} if item and "name" in fields else fields
        if isinstance(example, list):
            own = [self.with_own(value) for value in example]
            return [one for place, one in enumerate(own) if one not in own[:place]]  # several ids become one
        item = self._item(example)
        return item.id if item else example

    def _item(self, id: Any) -> Named | None:
        return self.items.get(id[:3]) if isinstance(id, str) and ids.is_id(id) else None


class Parameter(NamedTuple):
    """A field of *Try it*."""

    field: Field
    #: Where it goes: `path`, `query` or `header`.
    place: str
    value: str


class Described(NamedTuple):
    """An operation with examples for a reader."""

    operation: Operation
    call: Call
    #: Items of the reader's account that the call would change.
    changes: Sequence[Named]
    answer: str
    parameters: Sequence[Parameter]
    body: str
    #: The types of error by status, and the statuses of errors that are not about this operation.
    failures: Sequence[tuple[int, Sequence[ProblemType]]]
    general_failures: Sequence[int]


class Link(NamedTuple):
    label: str
    url: str
    is_current: bool
    method: str = ""
    below: Sequence["Link"] = ()


class Page(NamedTuple):
    template: str
    context: dict[str, Any]


@lru_cache(maxsize=1)
def reference() -> Reference:
    from ..schema.document import document  # here, because importing drf-spectacular takes 40 ms

    return operations.read(document())


def start(site: Site, typed: str = "") -> Page:
    """The start page, or what the search finds."""
    if typed:
        found = search.find(reference(), typed)
        return Page(
            "reference/search.html",
            {
                **_context(site, None, "Search"),
                "typed": typed,
                "found": [(one, site.url(one.path)) for one in found],
            },
        )
    described = [(one, site.url(one.slug)) for one in reference().resources]
    listed = [(one, site.guide(one.name)) for one in guides.all_guides()]
    return Page(
        "reference/start.html",
        {
            **_context(site, "", "Getting started"),
            "resources": described,
            "guides": listed,
            "first": _described(site, _first_operation()),
            "failures": [(accept, _failure(site, accept)) for accept in ("application/json", PROBLEM)],
        },
    )


def _first_operation() -> Operation:
    """The operation that works with every key."""
    operations = (one for resource in reference().resources for one in resource.operations)
    return next(one for one in operations if one.path == "/v2" and one.is_safe)


def _failure(site: Site, accept: str) -> str:
    """The body of an error for a client that accepts this media type."""
    _, body = error_content(
        INVALID_FIELDS,
        INVALID_FIELDS.status,
        "These fields are invalid: name.",
        {"name": ["This field is required."]},
        meta={"HTTP_ACCEPT": accept, REQUEST_ID: "9f86d081884c7d659a2feaa0c55ad015"},
        page=f"{site.origin}{problems.PAGE}",
    )
    return as_json(json.loads(body))


def errors(site: Site) -> Page:
    """Every type of error."""
    return Page("reference/errors.html", {**_context(site, "errors", "Error types"), "problems": CATALOGUE})


def guide(site: Site, name: str) -> Page:
    """A guide for callers. Raises `Http404`."""
    found = next((one for one in guides.all_guides() if one.name == name), None)
    if found is None:
        raise Http404
    from .markdown import in_html  # here, for the reason that it gives

    html = in_html(found.text, site.origin, site.guide)
    context = _context(site, f"guides/{name}", found.title)
    # Only the quick start sets them.
    variables = "$API" in found.text and "export API=" not in found.text
    return Page("reference/guide.html", {**context, "guide": found, "html": html, "variables": variables})


def resource(site: Site, slug: str) -> Page:
    """A resource and its operations. Raises `Http404`."""
    found = reference().resource(slug)
    if found is None:
        raise Http404
    described = [_described(site, one) for one in found.operations]
    return Page(
        "reference/resource.html", {**_context(site, slug, found.title), "resource": found, "described": described}
    )


def all_paths() -> Iterator[str]:
    """The paths of all pages, below the start page."""
    yield from ("", "errors")
    yield from (f"guides/{one.name}" for one in guides.all_guides())
    yield from (one.slug for one in reference().resources)


def next_year(body: Any, today: date) -> Any:
    """The body with its times in the next year: an expiry has to be in the future, whenever the page is read."""
    if isinstance(body, Mapping):
        return {name: next_year(value, today) for name, value in body.items()}
    if isinstance(body, list):
        return [next_year(value, today) for value in body]
    return _TIME.sub(rf"{today.year + 1}\1", body) if isinstance(body, str) else body


def _described(site: Site, operation: Operation) -> Described:
    values = {one.name: str(site.with_own(one.example)) for one in operation.in_path}
    path = _PARAMETER.sub(lambda found: values[found[1]], operation.path)
    body = next_year(site.with_own(operation.body_example), timezone.now().date())
    return Described(
        operation,
        call=_call(site, operation, path, body),
        changes=[] if operation.is_safe else _named_in(site, path, body),
        answer=as_json(site.with_own(operation.answer.example)) if operation.answer.example else "",
        parameters=[
            *(Parameter(one, "path", values[one.name]) for one in operation.in_path),
            *(Parameter(one, "query", "") for one in operation.in_query),
            *(Parameter(one, "header", "") for one in operation.in_headers),
        ],
        body="" if body is None else as_json(body),
        failures=[
            (status, [one for one in CATALOGUE if status in one.statuses and _is_possible(one, operation)])
            for status in operation.failures
            if status not in _GENERAL
        ],
        general_failures=[status for status in operation.failures if status in _GENERAL],
    )


def _call(site: Site, operation: Operation, path: str, body: Any) -> Call:
    """The call with only what it requires. The reader has to replace ids and keys that are not their own."""
    query = {one.name: site.with_own(one.example) for one in operation.in_query if one.is_required}
    own = {item.id for item in site.items.values()}
    named = dict.fromkeys(_REPLACEABLE.findall(f"{path} {as_json([*query.values(), body])}"))
    return Call(
        operation.method,
        f"{site.origin}{path}{f'?{urlencode(query)}' if query else ''}",
        key=None if operation.needs_key else "",
        body=body,
        headers={one.name: str(one.example) for one in operation.in_headers if one.is_required},
        has_answer=operation.answer.has_body,
        to_replace=[one for one in named if one not in own],
    )


def _named_in(site: Site, path: str, body: Any) -> list[Named]:
    """The reader's items in the path, or in the `ids` of the body: a call would change these."""
    texts = (path, *(body.get("ids", ()) if isinstance(body, Mapping) else ()))
    return [item for item in site.items.values() if any(item.id in text for text in texts)]


def _is_possible(problem: ProblemType, operation: Operation) -> bool:
    return problem.needs_key in {None, operation.needs_key} and not (problem.is_of_changes and operation.is_safe)


def _context(site: Site, current: str | None, title: str) -> dict[str, Any]:
    return {
        "site": site,
        "title": title,
        "contents": _contents(site, current),
        "start": site.url(),
        "errors": site.url("errors"),
        "quick_start": site.guide("quick-start"),
        "description": f"{site.origin}/v2/openapi.json",
    }


def _contents(site: Site, current: str | None) -> list[tuple[str, list[Link]]]:
    def link(label: str, path: str, below: Sequence[Link] = ()) -> Link:
        return Link(label, site.url(path), path == current, below=below)

    def below(one: Resource) -> list[Link]:
        """The operations of the page that is open."""
        if one.slug != current:
            return []
        return [Link(it.title, f"#{it.slug}", False, it.shown_method) for it in one.operations]

    return [
        ("Start", [link("Getting started", ""), link("Error types", "errors")]),
        ("Resources", [link(one.title, one.slug, below(one)) for one in reference().resources]),
        ("Guides", [link(one.title, f"guides/{one.name}") for one in guides.all_guides()]),
    ]
