"""Reads an OpenAPI 3.1 description into what the pages of the reference show. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

Node = Mapping[str, Any]

METHODS = ("get", "post", "put", "patch", "delete")
SAFE = ("GET", "HEAD", "OPTIONS")
JSON = "application/json"
#: How deep objects in objects are described.
MAX_DEPTH = 4

_FORMATS = {"date-time": "time", "date": "date", "email": "e-mail", "uri": "URL"}


@dataclass(frozen=True)
class Field:
    """A field of a body, or a parameter. `fields` are those of an object, or of a list's objects."""

    name: str
    type: str
    is_required: bool
    description: str
    values: Sequence[str] = ()
    limits: Sequence[str] = ()
    #: As JSON.
    default: str = ""
    example: Any = None
    fields: Sequence["Field"] = ()

    @property
    def choices(self) -> Sequence[str]:
        """Every value that it can have, if there are few."""
        return self.values or (("true", "false") if self.type == "boolean" else ())

    @property
    def unnamed_values(self) -> Sequence[str]:
        """The values, unless the description names all of them."""
        return () if all(f"`{value}`" in self.description for value in self.values) else self.values


@dataclass(frozen=True)
class Answer:
    """A successful response. Without a body, `example` is None."""

    status: int
    description: str
    has_body: bool
    fields: Sequence[Field] = ()
    headers: Sequence[Field] = ()
    example: Any = None

    @property
    def phrase(self) -> str:
        return HTTPStatus(self.status).phrase


@dataclass(frozen=True)
class Operation:
    id: str
    method: str
    #: Whether the other methods of the path do the same.
    takes_any_method: bool
    path: str
    title: str
    description: str
    #: The permission that the key needs: `read`, `write`, or empty if any is enough.
    permission: str
    needs_administrator: bool
    needs_key: bool
    in_path: Sequence[Field]
    in_query: Sequence[Field]
    in_headers: Sequence[Field]
    body: Sequence[Field]
    body_example: Any
    answers: Sequence[Answer]
    #: The statuses of errors.
    failures: Sequence[int]

    @property
    def shown_method(self) -> str:
        return "ANY" if self.takes_any_method else self.method

    @property
    def is_safe(self) -> bool:
        return self.method in SAFE

    @property
    def slug(self) -> str:
        """The operation's anchor on the page of its resource."""
        return self.id.replace("_", "-")

    @property
    def answer(self) -> Answer:
        """The usual success."""
        return self.answers[0]


@dataclass(frozen=True)
class Resource:
    slug: str
    title: str
    description: str
    operations: Sequence[Operation]


@dataclass(frozen=True, eq=False)
class Reference:
    """A reference is equal only to itself, so that it can be the key of a cache."""

    title: str
    version: str
    description: str
    resources: Sequence[Resource] = field(default_factory=tuple)

    def resource(self, slug: str) -> Resource | None:
        return next((one for one in self.resources if one.slug == slug), None)


def read(document: Node) -> Reference:
    """The reference of an OpenAPI description. A resource is a tag, in the order of the description's list of tags."""
    return _Reader(document).reference()


class _Reader:
    def __init__(self, document: Node) -> None:
        self.document = document

    def reference(self) -> Reference:
        described = {tag["name"]: tag for tag in self.document.get("tags", ())}
        by_tag: dict[str, list[Operation]] = {name: [] for name in described}
        for path, item in self.document["paths"].items():
            # Methods of a path with the same summary are one operation, which accepts any method.
            by_summary: dict[str, list[str]] = {}
            for method in METHODS:
                if method in item:
                    by_summary.setdefault(item[method].get("summary", method), []).append(method)
            for method, *others in by_summary.values():
                operation = self.operation(method.upper(), path, item, item[method], takes_any_method=bool(others))
                by_tag.setdefault(item[method]["tags"][0], []).append(operation)
        info = self.document["info"]
        return Reference(
            title=info["title"],
            version=info["version"],
            description=info.get("description", ""),
            resources=tuple(
                Resource(
                    slug=name.lower().replace(" ", "-"),
                    title=name,
                    description=described.get(name, {}).get("description", ""),
                    operations=tuple(operations),
                )
                for name, operations in by_tag.items()
                if operations
            ),
        )

    def operation(self, method: str, path: str, item: Node, node: Node, *, takes_any_method: bool) -> Operation:
        parameters = [self.resolved(one) for one in (*item.get("parameters", ()), *node.get("parameters", ()))]
        body = self.resolved(node.get("requestBody", {})).get("content", {}).get(JSON, {})
        responses = {int(code): self.resolved(one) for code, one in node["responses"].items() if code.isdigit()}
        return Operation(
            id=node["operationId"],
            method=method,
            takes_any_method=takes_any_method,
            path=path,
            title=node.get("summary") or f"{method} {path}",
            description=node.get("description", ""),
            permission=str(node.get("x-key-permission") or ""),
            needs_administrator=bool(node.get("x-administrators-only")),
            needs_key=bool(node.get("security", self.document.get("security", [{"key": []}]))),
            in_path=self.parameters(parameters, "path"),
            in_query=self.parameters(parameters, "query"),
            in_headers=self.parameters(parameters, "header"),
            body=self.fields(body.get("schema", {}), without="readOnly"),
            body_example=self.example(body, without="readOnly", is_whole=False) or None if body else None,
            answers=tuple(self.answer(code, one) for code, one in responses.items() if code < HTTPStatus.BAD_REQUEST),
            failures=tuple(sorted(code for code in responses if code >= HTTPStatus.BAD_REQUEST)),
        )

    def answer(self, code: int, response: Node) -> Answer:
        content = response.get("content", {})
        media: Node = content.get(JSON) or next(iter(content.values()), {})
        return Answer(
            status=code,
            description=response.get("description", ""),
            has_body=bool(content),
            fields=self.fields(media.get("schema", {}), without="writeOnly"),
            headers=tuple(
                self.field(name, header.get("schema", {}), {**header, "required": False})
                for name, one in response.get("headers", {}).items()
                for header in [self.resolved(one)]
            ),
            example=self.example(media, without="writeOnly") if media else None,
        )

    def parameters(self, parameters: Sequence[Node], place: str) -> tuple[Field, ...]:
        return tuple(
            self.field(one["name"], one.get("schema", {}), one) for one in parameters if one.get("in") == place
        )

    def fields(self, schema: Node, *, without: str, depth: int = 0) -> tuple[Field, ...]:
        """The fields of an object, of the objects in a list, or of every alternative."""
        shape = self.resolved(schema)
        if "items" in shape:
            shape = self.resolved(shape["items"])
        if depth >= MAX_DEPTH:
            return ()
        shapes = [self.resolved(one) for one in _choices(shape)] or [shape]
        properties = {name: one for each in shapes for name, one in each.get("properties", {}).items()}
        return tuple(
            self.field(
                name,
                one,
                {"required": all(name in each.get("required", ()) for each in shapes)},
                without=without,
                depth=depth,
            )
            for name, one in properties.items()
            if not self.resolved(one).get(without)
        )

    def field(self, name: str, schema: Node, described: Node, *, without: str = "readOnly", depth: int = 0) -> Field:
        """`described` says more about the field than its schema: a parameter, or whether it is required."""
        shape = self.resolved(schema)
        items = self.resolved(shape.get("items", {}))
        description = described.get("description") or shape.get("description") or items.get("description", "")
        values = [_text(one) for one in (shape.get("enum") or items.get("enum") or ()) if one is not None]
        return Field(
            name=name,
            type=self.type(shape),
            is_required=bool(described.get("required", False)),
            description=description,
            values=tuple(values),
            limits=(*_limits(shape), *(f"each {limit}" for limit in _limits(items))),
            default=json.dumps(shape["default"], ensure_ascii=False) if "default" in shape else "",
            example=described.get("example", self.example({"schema": shape}, without=without)),
            fields=self.fields(shape, without=without, depth=depth + 1),
        )

    def type(self, shape: Node) -> str:
        if "anyOf" in shape or "oneOf" in shape:
            return " or ".join(dict.fromkeys(self.type(self.resolved(one)) for one in _choices(shape)))
        types = shape.get("type", "object" if "properties" in shape else "string" if "format" in shape else "")
        names = [types] if isinstance(types, str) else list(types)
        return " or ".join(self.name_of_type(name, shape) for name in names if name) or "any"

    def name_of_type(self, name: str, shape: Node) -> str:
        if name == "array":
            items = self.type(self.resolved(shape.get("items", {})))
            return "list" if items == "any" else f"list of {_plural(items)}"
        if name == "string":
            return _FORMATS.get(shape.get("format", ""), "string")
        return name

    def resolved(self, node: Node) -> Node:
        """The node without references: `$ref` and `allOf` are merged, and so is a single choice besides null."""
        if "$ref" in node:
            target: Any = self.document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            return {**self.resolved(target), **{name: one for name, one in node.items() if name != "$ref"}}
        if "allOf" in node:
            merged: dict[str, Any] = {}
            for one in node["allOf"]:
                merged |= self.resolved(one)
            return {**merged, **{name: one for name, one in node.items() if name != "allOf"}}
        for word in ("anyOf", "oneOf"):
            if word in node:
                resolved = [self.resolved(one) for one in node[word]]
                # A form sends an empty string instead of null.
                filled = [one for one in resolved if one.get("type") != "null" and one.get("maxLength") != 0]
                # An empty schema allows anything, and is not shown.
                choices = [one for one in filled if one.keys() - {"description"}]
                if len(choices) == 1:
                    types = choices[0].get("type", "object")
                    types = [types] if isinstance(types, str) else list(types)
                    is_nullable = len(filled) < len(resolved)
                    own = {name: one for name, one in node.items() if name != word}
                    return {**choices[0], "type": [*types, "null"] if is_nullable else types, **own}
        return node

    def example(self, media: Node, *, without: str, is_whole: bool = True, depth: int = 0) -> Any:
        """The example of a media type, or else one made from its schema, with all fields or only the required ones."""
        for examples in (media, self.resolved(media.get("schema", {}))):
            if "example" in examples:
                return examples["example"]
            found: Any = examples.get("examples")
            if found:
                first = next(iter(found.values())) if isinstance(found, Mapping) else found[0]
                return self.resolved(first)["value"] if isinstance(found, Mapping) else first
        shape = self.resolved(media.get("schema", {}))
        for word in ("const", "default"):
            if word in shape:
                return shape[word]
        if shape.get("enum"):
            return next((one for one in shape["enum"] if one not in ("", None)), None)
        if "properties" in shape:
            required = shape.get("required", ())
            fields = {name: one for name, one in shape["properties"].items() if not self.resolved(one).get(without)}
            shown = [name for name in fields if is_whole or name in required]
            return {name: self.example({"schema": fields[name]}, without=without, depth=depth + 1) for name in shown}
        if choices := _choices(shape):
            return self.example({"schema": choices[0]}, without=without, depth=depth + 1)
        if "items" in shape:
            return [self.example({"schema": shape["items"]}, without=without, depth=depth + 1)]
        return _plain_example(shape)


def _choices(shape: Node) -> Sequence[Node]:
    choices: Sequence[Node] = shape.get("anyOf") or shape.get("oneOf") or ()
    return choices


def _plain_example(shape: Node) -> Any:
    types = shape.get("type", "string")
    first = types if isinstance(types, str) else types[0]
    if first == "string":
        formats = {"date-time": "2026-11-24T15:00:12Z", "date": "2026-11-24", "email": "dev@example.com"}
        return formats.get(shape.get("format", ""), "text")
    return {"boolean": True, "integer": shape.get("minimum", 1), "number": 1.0, "array": [], "object": {}}.get(first)


def _limits(shape: Node) -> Iterator[str]:
    smallest, largest = shape.get("minLength"), shape.get("maxLength")
    if largest is not None:
        yield (
            f"up to {largest:,} characters"
            if not smallest or smallest == 1
            else f"{smallest} to {largest:,} characters"
        )
    elif smallest and smallest > 1:
        yield f"at least {smallest} characters"
    if "maxItems" in shape:
        yield (
            f"{shape['minItems']} to {shape['maxItems']:,} items"
            if shape.get("minItems")
            else f"up to {shape['maxItems']:,} items"
        )
    elif shape.get("minItems"):
        yield f"at least {shape['minItems']} items"
    if "minimum" in shape and "maximum" in shape:
        yield f"{shape['minimum']:,} to {shape['maximum']:,}"
    elif "minimum" in shape:
        yield f"at least {shape['minimum']:,}"
    elif "maximum" in shape:
        yield f"at most {shape['maximum']:,}"


def _plural(name: str) -> str:
    first, *others = name.split(" ")
    return " ".join([{"any": "values"}.get(first, f"{first}s"), *others])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
