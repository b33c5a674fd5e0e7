"""With a Python that is too old, `manage.py` prints one sentence and no traceback."""

import ast
import subprocess
import sys

from .servers import ROOT

MANAGE = (ROOT / "manage.py").read_text()


def test_manage_py_can_be_read_by_an_old_python() -> None:
    ast.parse(MANAGE, feature_version=(3, 6))


def test_manage_py_says_which_python_it_needs() -> None:
    old = "import sys; sys.version_info = (3, 9, 18, 'final', 0); exec(open('manage.py').read())"
    said = subprocess.run([sys.executable, "-c", old, "check"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert said.stderr == "Atatus Dash needs Python 3.11 or newer; this is Python 3.9.\n"
