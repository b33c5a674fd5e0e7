"""Every block of docs/api is run in a shell against a running server, and its output is compared with the guide."""

import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..gateways.listener import Listener
from ..servers import ROOT, Installation, Server, install, serving, wait_for
from . import blocks, seed
from .terminal import KEYS_EXAMPLE, Terminal, terminal

pytestmark = pytest.mark.xdist_group("servers")

GUIDES = {page.stem: page for page in sorted((ROOT / "docs" / "api").glob("*.md"))}
WITH_BLOCKS = [name for name, page in GUIDES.items() if blocks.read(page)]
#: Tests that run some files of a guide, each with an account of its own.
OTHERS = ["readme", "maintenance", "losses", "github", "gitlab"]
#: Guides that use the files of another one.
READ_BEFORE = {"idempotency": "rate-limits"}

#: What somebody pushes. Texts that a shell, a form or JSON could misread.
COMMIT_MESSAGE = 'Say "hello" & $(touch hacked) `touch hacked`\n\n100% of it; a=b+c, @file, 日本語\n'


@dataclass
class Site:
    installation: Installation
    server: Server
    variables: dict[str, dict[str, str]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    for program in ("curl", "node"):
        if shutil.which(program) is None:
            if "REQUIRE_NODE" in os.environ:
                pytest.fail(f"{program} is not installed")
            pytest.skip(f"{program} is not installed")
    installation = install(tmp_path_factory.mktemp("guides"), ALLOW_HTTP="1")
    variables = installation.seed(seed.create, [*WITH_BLOCKS, *OTHERS])
    with serving(installation) as server:
        yield Site(installation, server, variables)


@pytest.fixture
def reader(site: Site, tmp_path: Path, account: str) -> Iterator[Terminal]:
    """Somebody who has an account and its keys, and reads a guide."""
    variables = {"API": f"{site.url}/v2", **site.variables[account]}
    with terminal(
        tmp_path, site.url, {} if account in ("quick-start", "readme") else variables, atk=variables["KEY"]
    ) as shell:
        yield shell


def save_files(guide: str, shell: Terminal) -> None:
    for block in blocks.read(GUIDES[guide]):
        if block.file:
            shell.save(block.file, block.text)


def both_workers_print_more(shell: Terminal) -> None:
    """A reader of the guide on rotation watches what the programs print."""
    logs = [log for name in ("python.log", "node.log") if (log := shell.directory / name).exists()]
    before = [len(log.read_text().splitlines()) for log in logs]
    for log, lines in zip(logs, before, strict=True):
        wait_for(lambda log=log, lines=lines: len(log.read_text().splitlines()) > lines + 2, log.name)


#: The output that a reader waits for before the next command.
WAITS: dict[str, Callable[[Terminal], None]] = {"rotation": both_workers_print_more}


@pytest.mark.parametrize("account", WITH_BLOCKS)
def test_every_block_works_as_pasted_and_prints_what_the_guide_says(account: str, reader: Terminal) -> None:
    if account in READ_BEFORE:
        save_files(READ_BEFORE[account], reader)
    output = ""
    for block in blocks.read(GUIDES[account]):
        where = f"{account}.md, line {block.line}"
        if block.file:
            reader.save(block.file, block.text)
        elif block.language in blocks.COMMANDS:
            if account in WAITS:
                WAITS[account](reader)
            status, output = reader.paste(block.text)
            assert status == 0, f"{where}: exit status {status}\n{output}"
        else:
            stated = block.text.replace(KEYS_EXAMPLE, reader.site)
            assert blocks.is_printed(block.language, stated, output), f"{where}: it prints\n{output}"


@pytest.mark.parametrize("account", ["readme"])
def test_the_first_calls_of_the_readme_work_as_pasted(account: str, reader: Terminal) -> None:
    found = blocks.read(ROOT / "README.md")
    (calls,) = [block.text for block in found if "export API=" in block.text]
    (stated,) = [block.text for block in found if block.language == "json"]
    status, output = reader.paste(calls.replace("http://127.0.0.1:8000", reader.site))
    whoami, projects, project = re.sub(r"\}\{", "}\n{", output).splitlines()
    assert status == 0
    assert blocks.is_printed("json", stated, whoami)
    assert projects.startswith('{"results":[{"id":"prj_')
    assert blocks.is_printed("json", '{"id": "prj_…", "name": "web", "created_at": "…"}', project)


@contextmanager
def maintenance(site: Site) -> Iterator[None]:
    site.installation.run("maintenance", "on", "--retry-after", "1")
    try:
        wait_for(lambda: site.server.get("/v2").status == 503, "maintenance")
        yield
    finally:
        site.installation.run("maintenance", "off")
    wait_for(lambda: site.server.get("/v2").status != 503, "its end")


@pytest.mark.parametrize("account", ["maintenance"])
def test_the_clients_wait_until_maintenance_is_over(account: str, reader: Terminal, site: Site) -> None:
    save_files("rate-limits", reader)
    logs = [reader.directory / name for name in ("python.log", "node.log")]
    for log in logs:
        log.touch()
    with maintenance(site):
        reader.paste("python3 four.py >python.log 2>&1 & node four.mjs >node.log 2>&1 &")
        wait_for(lambda: all("503: waiting 1 s\n" in log.read_text() for log in logs), "both clients to be refused")
    assert reader.paste("wait") == (0, "")
    for log in logs:
        *refused, one, two, three, four = log.read_text().splitlines()
        assert {*refused} == {"503: waiting 1 s"}
        assert [one, two, three, four] == ["1 200", "2 200", "3 200", "4 200"]


class Losses(Listener):
    """A network that loses the first response: the connection ends after the server has sent the response."""

    def __init__(self, server: Server) -> None:
        self.server, self.lost = server, 0
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self.server.port)) as server:
            threading.Thread(target=self.answer, args=(server, connection), daemon=True).start()
            while part := connection.recv(65536):
                server.sendall(part)

    def answer(self, server: socket.socket, connection: socket.socket) -> None:
        with suppress(OSError):
            while part := server.recv(65536):
                if not self.lost:
                    self.lost += 1
                    break
                connection.sendall(part)
            connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("account", ["losses"])
def test_the_clients_create_one_item_each_when_an_answer_is_lost(account: str, reader: Terminal, site: Site) -> None:
    for guide in ("rate-limits", "idempotency"):
        save_files(guide, reader)
    networks = [Losses(site.server), Losses(site.server)]
    python, node = (f"API=http://127.0.0.1:{network.port}/v2" for network in networks)
    reader.paste(f"{python} python3 create.py >python.log & {node} node create.mjs >node.log & wait")
    for network in networks:
        network.stop()
        assert network.lost == 1
    assert (reader.directory / "python.log").read_text() == "no response: waiting 2 s\nFrom Python\n"
    assert (reader.directory / "node.log").read_text() == "no response: waiting 2 s\nFrom JavaScript\n"
    found = site.server.get("/v2/projects", site.variables[account]["KEY"]).json["results"]
    assert sorted(row["name"] for row in found) == ["From JavaScript", "From Python", "web"]


def deployments(site: Site, variables: dict[str, str]) -> list[dict[str, Any]]:
    """The project's deployments, without the fields that the server adds."""
    answer = site.server.get(f"/v2/projects/{variables['PROJECT']}/deployments", variables["KEY"])
    added = ("id", "created_at")
    return [{name: field for name, field in row.items() if name not in added} for row in answer.json["results"]]


def run_as_runner(command: list[str], directory: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=directory, env={"PATH": os.environ["PATH"], **environment}, capture_output=True, text=True
    )


@pytest.mark.parametrize("account", ["github"])
def test_the_workflow_of_github_records_a_deployment(account: str, reader: Terminal, site: Site) -> None:
    """The steps run as in GitHub's runner: as a file, with `bash -e`, and with expressions replaced in `env` only."""
    save_files("deployments", reader)
    variables = site.variables[account]
    contexts = {
        "vars.ATATUS_API": f"{site.url}/v2",
        "vars.ATATUS_PROJECT_ID": variables["PROJECT"],
        "secrets.ATATUS_API_KEY": variables["KEY"],
        "github.event.head_commit.message": COMMIT_MESSAGE,
    }
    runner = {"CI": "true", "GITHUB_SHA": "9fceb02d0ae598e95dc970b74767f19372d61af8", "GITHUB_ACTOR": "octocat"}
    runner |= {"GITHUB_RUN_ID": "1658821493", "GITHUB_RUN_ATTEMPT": "1"}
    workflow = yaml.safe_load((reader.directory / ".github/workflows/deployment.yml").read_text())
    assert workflow[True] == {"push": {"branches": ["main"]}}  # YAML 1.1 reads the name "on" as true
    (job,) = workflow["jobs"].values()
    (step,) = job["steps"]
    assert "${{" not in step["run"]

    def run() -> subprocess.CompletedProcess[str]:
        env = {
            name: re.sub(r"\$\{\{ (.+?) \}\}", lambda found: contexts[found[1]], text)
            for name, text in step["env"].items()
        }
        reader.save("step.sh", step["run"])
        return run_as_runner(["bash", "-e", "step.sh"], reader.directory, {**runner, **env})

    for _ in range(2):  # as with --retry
        done = run()
        assert done.returncode == 0, done.stderr
    assert deployments(site, variables) == [
        {
            "revision": runner["GITHUB_SHA"],
            "release_stage": "production",
            "changes": COMMIT_MESSAGE.strip(),
            "user": "octocat",
        }
    ]
    contexts["secrets.ATATUS_API_KEY"] = ""
    refused = run()
    assert refused.returncode != 0
    assert "API key is required!" in refused.stdout
    assert not (reader.directory / "hacked").exists()


@pytest.mark.parametrize("account", ["gitlab"])
def test_the_job_of_gitlab_records_a_deployment(account: str, reader: Terminal, site: Site) -> None:
    """The script runs as in GitLab's runner without bash: line by line, in one `sh` that stops at a failure."""
    save_files("deployments", reader)
    variables = site.variables[account]
    runner = {
        "CI": "true",
        "CI_COMMIT_SHA": "9fceb02d0ae598e95dc970b74767f19372d61af8",
        "CI_JOB_ID": "8012",
        "CI_COMMIT_MESSAGE": COMMIT_MESSAGE,
        "GITLAB_USER_LOGIN": "tanuki",
        "ATATUS_API": f"{site.url}/v2",
        "ATATUS_PROJECT_ID": variables["PROJECT"],
        "ATATUS_API_KEY": variables["KEY"],
    }
    (job,) = yaml.safe_load((reader.directory / ".gitlab-ci.yml").read_text()).values()
    command = ["sh", "-e", "-c", "\n".join(job["script"])]

    for _ in range(2):  # as with --retry
        done = run_as_runner(command, reader.directory, runner)
        assert done.returncode == 0, done.stderr
    assert deployments(site, variables) == [
        {
            "revision": runner["CI_COMMIT_SHA"],
            "release_stage": "production",
            "changes": COMMIT_MESSAGE.strip(),
            "user": "tanuki",
        }
    ]
    refused = run_as_runner(command, reader.directory, {**runner, "ATATUS_API_KEY": ""})
    assert refused.returncode != 0
    assert "API key is required!" in refused.stdout
    assert not (reader.directory / "hacked").exists()


#: Files that no command of their guide runs, with the test that does.
RUN_BY_TESTS = {
    ".github/workflows/deployment.yml": test_the_workflow_of_github_records_a_deployment,
    ".gitlab-ci.yml": test_the_job_of_gitlab_records_a_deployment,
}


@pytest.mark.parametrize("guide", WITH_BLOCKS)
def test_no_block_is_left_out(guide: str) -> None:
    """A block has commands, a file that a command or another file uses, or the output of the commands before it."""
    found = blocks.read(GUIDES[guide])
    for position, block in enumerate(found):
        where = f"{guide}.md, line {block.line}"
        assert block.language in blocks.COMMANDS | blocks.FILES | blocks.OUTPUTS, where
        assert bool(block.file) == (block.language in blocks.FILES), f"{where}: name the file in the first line"
        if block.language in blocks.OUTPUTS:
            assert blocks.COMMANDS & {before.language for before in found[:position]}, f"{where}: what prints it?"
        elif block.file:
            assert block.file in RUN_BY_TESTS or is_used(block.file, found), f"{where}: nothing runs it"


def is_used(file: str, found: list[blocks.Block]) -> bool:
    """Whether the file is used: a command names it, or another used file imports it."""
    imported = re.compile(rf'^from {Path(file).stem} import |from "\./{file}"', re.MULTILINE)
    return any(file in block.text for block in found if block.language in blocks.COMMANDS) or any(
        is_used(block.file, found) for block in found if block.file and imported.search(block.text)
    )


def test_an_output_that_differs_is_noticed() -> None:
    stated = '{"id": "prj_…", "limits": [1, true]}'
    assert blocks.is_printed("json", stated, '{"id":"prj_1","limits":[1,true]}')
    for other in ('{"id":"key_1","limits":[1,true]}', '{"id":"prj_1","limits":[1,1]}', '{"id":"prj_1"}', "", "[]"):
        assert not blocks.is_printed("json", stated, other)
        assert not blocks.is_printed("json", '{"id": "prj_…", "…": "…", "limits": [1, true]}', other)
    assert not blocks.is_printed("json", stated, '{"id":"prj_1","name":"web","limits":[1,true]}')
    assert blocks.is_printed("json", '{"id": "prj_…", "…": "…"}', '{"id":"prj_1","name":"web","limits":[1,true]}')
    stated = "HTTP/1.1 201 Created\n…\nLocation: …\n"
    assert blocks.is_printed("text", stated, "HTTP/1.1 201 Created\nServer: x\nLocation: /v2\n")
    assert not blocks.is_printed("text", stated, "HTTP/1.1 200 OK\nServer: x\nLocation: /v2\n")
