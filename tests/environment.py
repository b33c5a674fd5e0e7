"""The environment of the tests, loaded before the settings are. CI sets DATABASE_URL and REDIS_URL to real services."""

import gc
import os
import re
from collections.abc import Generator

import pytest

from atatus_dash.variables import VARIABLES

SERVICES = ("DATABASE_URL", "REDIS_URL")

for variable in VARIABLES:
    if variable.name not in SERVICES:
        os.environ.pop(variable.name, None)
    os.environ.pop(f"{variable.name}_FILE", None)
os.environ.update(
    {
        "DJANGO_SETTINGS_MODULE": "atatus_dash.settings",
        "SECRET_KEY": "only-for-tests-" + "0123456789" * 4,
        "DEBUG": "0",
        "ALLOW_HTTP": "0",
        "ALLOWED_HOSTS": "testserver localhost 127.0.0.1",
        "EMAIL_URL": "memorymail://",
    }
)
os.environ.setdefault("DATABASE_URL", "sqlite:///:memory:")

# pytest-django gives every worker a database of its own. So must Redis: tests clear their limits and caches.
if worker := re.fullmatch(r"gw([0-9]+)", os.environ.get("PYTEST_XDIST_WORKER", "")):
    url = os.environ.get("REDIS_URL", "")
    if base := re.fullmatch(r"(rediss?://[^/]+)/([0-9]+)", url):
        os.environ["REDIS_URL"] = f"{base[1]}/{int(base[2]) + int(worker[1])}"


@pytest.hookimpl(tryfirst=True, optionalhook=True)  # before xdist's own; not called without xdist
def pytest_xdist_auto_num_workers() -> int | None:
    """Two for each core, but at most 12, because Redis has 16 databases. None if xdist's variable says how many.

    Tests of the groups `gateways` and `servers` mostly wait. They occupy two processes and leave the cores to the
    others.
    """
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores * 2, 12)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while tests are collected, and later rarely and not among the objects that every test needs.

    It took a sixth of the collection's time, and an eighth of the suite's.
    """
    gc.disable()
    collected = yield
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    gc.enable()
    return collected
