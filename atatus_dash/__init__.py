import tomllib
from pathlib import Path

#: The version of the release, as in its tag and in CHANGELOG.md.
VERSION: str = tomllib.loads((Path(__file__).resolve().parent.parent / "pyproject.toml").read_text())["project"][
    "version"
]
