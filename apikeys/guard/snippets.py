"""Fills values into gateways' configurations. Pure.

The files in `deploy/gateways/` have placeholders such as `{{service}}`. A line that begins with `#? ` is optional: it
becomes active if all of its placeholders have values, and stays a comment otherwise.
"""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

_PLACEHOLDER = re.compile(r"\{\{([a-z_]+)\}\}")
_OPTIONAL = re.compile(r"^(\s*)#\? ?(.*)$")


def addresses(name: str, url: str) -> dict[str, str]:
    """The values from a URL: itself as `name`, its scheme, address, host and port, and for https the host for TLS."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = str(parts.port or (443 if parts.scheme == "https" else 80))
    values = {
        name: f"{parts.scheme}://{parts.netloc}",
        f"{name}_scheme": parts.scheme,
        f"{name}_address": f"{host}:{port}",
        f"{name}_host": parts.hostname,
        f"{name}_port": port,
    }
    if parts.scheme == "https":
        values[f"{name}_tls"] = parts.hostname
    return values


def fill(text: str, values: Mapping[str, str]) -> str:
    """The configuration with every placeholder replaced. Raises `KeyError` for a placeholder without a value."""
    return "\n".join(_line(line, values) for line in text.split("\n"))


def _line(line: str, values: Mapping[str, str]) -> str:
    if optional := _OPTIONAL.match(line):
        indent, content = optional.groups()
        if set(_PLACEHOLDER.findall(content)) <= values.keys():
            line = indent + content
        else:
            return f"{indent}# {_PLACEHOLDER.sub(lambda found: found[1].upper(), content)}"
    return _PLACEHOLDER.sub(lambda found: values[found[1]], line)
