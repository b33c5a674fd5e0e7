"""Which paths programs ask at."""

#: Where clients ask that know older addresses of Atatus. They read `message`.
LEGACY_PATHS = ("/api/", "/track/")


def is_api(path: str) -> bool:
    """Whether a program asks here, which never gets a page."""
    return (path.startswith("/v2") and (len(path) == 3 or path[3] == "/")) or is_legacy(path)


def is_legacy(path: str) -> bool:
    return f"{path}/".startswith(LEGACY_PATHS)
