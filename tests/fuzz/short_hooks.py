"""The hooks of the short run: almost all bodies are JSON.

`tests/api/test_forms.py` shows for every method that reads a body that both kinds of forms, valid or not, are read as
the same JSON is. So the bodies would be the same three times. Forms of projects and of their deployments stay.
"""

from typing import Any

import schemathesis

from tests.fuzz import hooks  # noqa: F401  # registers them


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    for path, item in raw_schema["paths"].items():
        for operation in item.values():
            if "requestBody" in operation and not path.startswith("/v2/projects"):
                content = operation["requestBody"]["content"]
                operation["requestBody"]["content"] = {"application/json": content["application/json"]}
