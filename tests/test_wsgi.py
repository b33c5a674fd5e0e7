"""What a worker does once, when it loads the application."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = "import gc, atatus_dash.wsgi; print(gc.get_freeze_count(), len(gc.get_objects()))"


def test_what_is_loaded_at_the_start_is_not_collected_again_and_again() -> None:
    """A full collection would walk all of it, 30 ms each time, and anybody could cause one by what they send."""
    environment = {**os.environ, "SECRET_KEY": "x", "DATABASE_URL": "sqlite:///:memory:"}
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=root, env=environment, capture_output=True, check=True)
    frozen, walked = map(int, done.stdout.split())
    assert frozen > 50_000
    assert walked < 10_000
