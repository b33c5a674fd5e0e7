import tomllib
from pathlib import Path

#: Of the release, as its tag and CHANGELOG.md name it.
VERSION: str = tomllib.loads((Path(__file__).resolve().parent.parent / "pyproject.toml").read_text())["project"][
    "version"
]
