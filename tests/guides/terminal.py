"""A shell in which the blocks of a guide are pasted."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

#: The server of all guides.
KEYS_EXAMPLE = "https://keys.example.com"

_ID = re.compile(r"\b([a-z]{3})_[0-9A-Za-z]{16,}\b")


@dataclass
class Terminal:
    process: subprocess.Popen[bytes]
    directory: Path
    site: str
    #: What a reader inserts for `prj_…`, `atk_…` and so on: the last id or key of that kind that was printed.
    seen: dict[str, str] = field(default_factory=dict)
    blocks: int = 0

    def filled(self, text: str) -> str:
        """The text with this server's address, and the ids and keys that were printed before."""
        text = text.replace(KEYS_EXAMPLE, self.site)
        return re.sub(r"\b([a-z]{3})_…", lambda found: self.seen[found[1]], text)

    def save(self, name: str, text: str) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.filled(text))

    def paste(self, commands: str, *, seconds: float = 30) -> tuple[int, str]:
        """Run the commands in the shell. Returns the exit status of the last one, and what they print."""
        self.blocks += 1
        script, printed, status = (self.directory / f".{self.blocks}.{name}" for name in ("sh", "out", "status"))
        script.write_text(self.filled(commands))
        assert self.process.stdin
        self.process.stdin.write(
            f". ./{script.name} >{printed.name} 2>&1 </dev/null; echo $? >{status.name}\n".encode()
        )
        self.process.stdin.flush()
        deadline = time.monotonic() + seconds
        while not (status.exists() and status.read_text().endswith("\n")):
            assert time.monotonic() < deadline, f"waited {seconds} s for {commands}\n{printed.read_text()}"
            assert self.process.poll() is None, f"the shell ended at {commands}\n{printed.read_text()}"
            time.sleep(0.01)
        output = printed.read_text()
        self.seen |= {found[1]: found[0] for found in _ID.finditer(output)}
        return int(status.read_text()), output


@contextmanager
def terminal(directory: Path, site: str, variables: Mapping[str, str], **seen: str) -> Iterator[Terminal]:
    """A shell in the directory, with the variables and curl, Node and Python with httpx."""
    (directory / ".curlrc").write_text("no-progress-meter\n")  # curl shows no progress bar in a terminal
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(directory),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",  # as in a terminal
        **variables,
    }
    command = ["bash", "--noprofile", "--norc"]
    with subprocess.Popen(
        command, cwd=directory, env=environment, stdin=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            yield Terminal(process, directory, site, seen)
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # including processes in the background
