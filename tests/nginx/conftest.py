"""One installation with its server, and nginx in front, for all tests here."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from ..servers import Installation, Server, free_port, install, serving
from .front import Front, in_front_of


@dataclass
class WayIn(Front):
    """nginx, with the server behind it."""

    server: Server
    installation: Installation

    def logs(self) -> str:
        return super().logs() + self.server.log.read_text()


@pytest.fixture(scope="session")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WayIn]:
    directory = tmp_path_factory.mktemp("nginx")
    https_port = free_port()
    installation = install(
        directory,
        ALLOWED_HOSTS="localhost",
        PUBLIC_URL=f"https://localhost:{https_port}",
        TRUSTED_PROXIES="127.0.0.1/32",
        FAILED_AUTH_LIMIT="1000/minute",
    )
    with (
        serving(installation, ALLOWED_HOSTS="localhost 127.0.0.1") as server,
        in_front_of(directory, server.port, https_port=https_port) as nginx,
    ):
        yield WayIn(**vars(nginx), server=server, installation=installation)


@pytest.fixture(scope="session")
def key(front: WayIn) -> str:
    return front.installation.key("Behind nginx", "read_write", "--rate-limit", "1000000/minute")
