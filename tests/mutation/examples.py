"""A plugin that lets Hypothesis try the same examples in every process, without shrinking or storing failures."""

import pytest
from hypothesis import Phase, settings


@pytest.hookimpl(trylast=True)
def pytest_sessionstart() -> None:
    phases = [Phase.explicit, Phase.generate]
    settings.register_profile("mutation", settings(), phases=phases, derandomize=True, database=None)
    settings.load_profile("mutation")
