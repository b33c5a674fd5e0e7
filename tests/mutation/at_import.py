"""A plugin that lets a module be the mutant MUTANT names, `path:number`, from its import on. None, if MUTANT is empty.

The tests get a copy of the database MIGRATED.
"""

import os
import shutil
from collections.abc import Generator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from .mutants import Module


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
    result = yield
    if fixturedef.argname == "django_db_modify_db_settings" and (migrated := os.environ.get("MIGRATED")):
        from django.conf import settings  # pytest wants to import its plugins itself

        shutil.copy(migrated, settings.DATABASES["default"]["TEST"]["NAME"])
    return result


def _mutate(path: str, number: int) -> None:
    module = Module(Path(path))
    code = module.code(module.mutants[number])
    get_code = SourceFileLoader.get_code

    def mutated(self: SourceFileLoader, name: str) -> CodeType | None:
        return code if self.path == path else get_code(self, name)

    setattr(SourceFileLoader, get_code.__name__, mutated)


if os.environ["MUTANT"]:
    path, _, number = os.environ["MUTANT"].rpartition(":")
    _mutate(path, int(number))
