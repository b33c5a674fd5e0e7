"""Examples of requests and responses, by operation. A test of the reference sends each request."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from .components import JSON, Schema

FILE = Path(__file__).with_name("examples.json")


@lru_cache(maxsize=1)
def recorded() -> dict[str, dict[str, Any]]:
    """The `request` and the `response` of each operation, where it has a body."""
    examples: dict[str, dict[str, Any]] = json.loads(FILE.read_text())
    return examples


def add_to(operation: Schema) -> None:
    """Add its examples to the description of an operation."""
    example = recorded().get(operation["operationId"], {})
    if "request" in example:
        operation["requestBody"]["content"][JSON]["example"] = example["request"]
    if "response" in example:
        [success] = [response for code, response in operation["responses"].items() if code.startswith("2")]
        success["content"][JSON]["example"] = example["response"]
