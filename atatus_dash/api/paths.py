"""Which paths programs ask at."""

#: Where clients ask that know older addresses of Atatus. They read `message`.
OLD_PATHS = ("/api/", "/track/")


def is_api(path: str) -> bool:
    """Whether a program asks here, which never gets a page."""
    return (path.startswith("/v2") and (len(path) == 3 or path[3] == "/")) or is_old(path)


def is_old(path: str) -> bool:
    return f"{path}/".startswith(OLD_PATHS)
