"""Python runs this when it starts a server of the tests, which have it in their PYTHONPATH.

DRF imports these two packages if it can, for something that the server doesn't use. They are requirements of our tools,
so no installation has them. Importing them takes a twelfth of a start.
"""

import sys
from typing import Any

modules: dict[str, Any] = sys.modules
modules |= dict.fromkeys(("pygments", "requests"))  # with None, importing it raises ModuleNotFoundError
