"""How much longer a request through nginx takes when nginx sends an authorization request first.

nginx runs `deploy/gateways/nginx/nginx.conf` over plain HTTP. The service behind it is nginx itself, which answers at
once. So the lines differ only by the authorization request.
"""

import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from apikeys.guard import snippets

from ..gateways.programs import CONFIGURATIONS, PROGRAMS
from . import load

NGINX = PROGRAMS["nginx"]
CONNECTIONS = (1, 4, 16)

#: The service. One connection must be able to take all requests of a run.
SERVICE = """
keepalive_requests 1000000;
server {{
    listen 127.0.0.1:{port};
    location / {{ return 200 "ok"; }}
}}
"""


@dataclass
class Route:
    """A route through nginx to the service. `asks` is the path and port of the authorization request, or None."""

    name: str
    port: int
    asks: tuple[str, int] | None
    #: Header lines of the requests, used in rotation.
    headers: Sequence[str]
    seconds: dict[int, list[float]] = field(default_factory=lambda: {number: [] for number in CONNECTIONS})

    @contextmanager
    def running(self, folder: Path) -> Iterator[None]:
        """nginx on `port`, with its service on the next one."""
        folder.mkdir()
        path, guard = self.asks or ("/", 1)
        text = snippets.fill(
            (CONFIGURATIONS / "nginx" / "nginx.conf").read_text(),
            {
                "host": "localhost",
                "certificate": "",
                "certificate_key": "",
                "service": "svc",
                **snippets.addresses("guard", f"http://127.0.0.1:{guard}"),
                **snippets.addresses("upstream", f"http://127.0.0.1:{self.port + 1}"),
            },
        )
        lines = [line for line in text.split("\n") if not line.strip().startswith(("ssl_", "listen [::]"))]
        replaced = {"listen 443 ssl http2;": f"listen 127.0.0.1:{self.port};", "/v2/verify/svc/auth-request": path}
        if self.asks is None:
            replaced["auth_request /_guard;"] = ""
        text = "\n".join(lines)
        for shipped, own in replaced.items():
            assert shipped in text, shipped
            text = text.replace(shipped, own)
        (folder / "nginx.conf").write_text(SERVICE.format(port=self.port + 1) + text)
        for name, frame in NGINX.frame(folder).items():
            (folder / name).write_text(frame)
        arguments = [argument.format(directory=folder) for argument in NGINX.arguments]
        process = subprocess.Popen([str(NGINX.path), *arguments])
        try:
            time.sleep(0.5)
            yield
        finally:
            process.terminate()
            process.wait(timeout=10)

    def run(self, connections: int, count: int) -> None:
        """Raises `load.RefusedError` and `OSError`."""
        requests = [
            f"GET /reports/daily HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n".encode() for header in self.headers
        ]
        self.seconds[connections] += load.send(self.port, requests, count, connections)

    def percentile(self, connections: int, percent: int) -> float:
        """In milliseconds."""
        return statistics.quantiles(self.seconds[connections], n=100)[percent - 1] * 1e3


def report(routes: Sequence[Route]) -> Iterator[str]:
    """Lines of a table. The first route has no authorization request, the second is the yardstick for the others."""
    titles = (f"{f'{number} open: p50':>15} {'p99':>8}" for number in CONNECTIONS)
    yield f"{'through nginx, ms, by connections':36} " + "  ".join(titles)
    for route in routes:
        times = (f"{route.percentile(number, 50):15.2f} {route.percentile(number, 99):8.2f}" for number in CONNECTIONS)
        yield f"{route.name:36} " + "  ".join(times)
    baseline, yardstick, *others = routes
    for route in others:
        ratios = (
            (route.percentile(number, 50) - baseline.percentile(number, 50))
            / (yardstick.percentile(number, 50) - baseline.percentile(number, 50))
            for number in CONNECTIONS
        )
        yield f"{route.name}: what it adds to p50, as part of what {yardstick.name} adds"
        yield f"{'':36} " + "  ".join(f"{ratio:13.2f} × {'':8}" for ratio in ratios)
