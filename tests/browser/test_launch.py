"""How Chromium is started."""

import re
from pathlib import Path

import playwright

from .launch import DISABLED_BY_PLAYWRIGHT


def test_what_playwright_disables_in_chromium_stays_disabled() -> None:
    """A newer Playwright may have a longer list, of which `launch.py` would undo the new part."""
    driver = (Path(playwright.__file__).parent / "driver/package/lib/coreBundle.js").read_text()
    (listed,) = re.findall(r"\bdisabledFeatures = \[(.*?)\]", driver, re.DOTALL)
    assert re.findall(r'^\s*"(\w+)"', listed, re.MULTILINE) == DISABLED_BY_PLAYWRIGHT
