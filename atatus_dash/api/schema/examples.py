"""Puts examples into the description. They are recorded by a test, which compares them with what the API answers."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from .components import JSON, REFUSALS, Schema

#: The server's address in examples.json.
SERVER = "https://keys.example.com"


@cache
def load() -> Any:
    return orjson.loads(Path(__file__).with_name("examples.json").read_bytes())


def add_to(operation: Schema, path: str) -> None:
    """Add the recorded request and response of an operation."""
    example = load()["operations"].get(operation["operationId"])
    if example is None:
        return
    segments = dict(zip(path.split("/"), example["path"].split("/"), strict=True))
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            parameter["example"] = segments[f"{{{parameter['name']}}}"]
    if "request" in example:
        operation["requestBody"]["content"][JSON]["example"] = example["request"]
    if "response" in example:
        operation["responses"][str(example["status"])]["content"][JSON]["example"] = example["response"]


def of_refusals() -> dict[str, Schema]:
    """The components of the API's errors, each with an example of each type of problem."""
    return {name: _with_examples(status, response) for status, (name, response) in REFUSALS.items()}


def _with_examples(status: int, response: Schema) -> Schema:
    types = {name: refusal for name, refusal in load()["refusals"].items() if refusal["status"] == status}
    content = {
        media_type: {**schema, **_examples(types, media_type)} for media_type, schema in response["content"].items()
    }
    return {**response, "content": content}


def _examples(types: Mapping[str, Any], media_type: str) -> Schema:
    examples = {name: {"value": refusal[media_type]} for name, refusal in types.items()}
    return {"examples": examples} if examples else {}
