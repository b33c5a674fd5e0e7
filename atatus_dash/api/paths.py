"""Paths of the API."""

#: Paths of older clients of Atatus, which read `message`.
LEGACY_PATHS = ("/api/", "/track/")


def is_api(path: str) -> bool:
    """Whether requests to the path come from programs, which get JSON and never a page."""
    return (path.startswith("/v2") and (len(path) == 3 or path[3] == "/")) or is_legacy(path)


def is_legacy(path: str) -> bool:
    return f"{path}/".startswith(LEGACY_PATHS)
