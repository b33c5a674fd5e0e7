"""nginx's log says what happened and where, and contains no keys or links."""

import re
import uuid
from pathlib import Path

from ..servers import ROOT, free_port, wait_for
from .conftest import WayIn
from .front import in_front_of, needs_nginx

pytestmark = needs_nginx

OPERATIONS = ROOT / "docs" / "operations.md"


def test_no_key_reaches_a_log(front: WayIn, key: str) -> None:
    marker = uuid.uuid4().hex
    front.ask(f"/v2?api_key={key}", X_Request_ID=marker)
    front.ask(f"/v2?api_key={key}", plain_http=True, Referer=f"https://localhost/v2?api_key={key}")
    front.ask(f"/v2?api_key={key}&filler=" + "a" * 20_000)
    wait_for(lambda: marker in front.logs(), "the access log")
    # Mail goes to the console by default, and names keys by their masks, which end after four characters.
    assert not re.search("atk_[0-9A-Za-z]{5}", front.logs())


def test_no_link_of_a_mail_reaches_a_log(front: WayIn) -> None:
    front.ask("/invitations/tokentoken/")
    front.ask("/auth/password/reset/key/1-tokentoken/")
    front.ask("/auth/login/?next=/invitations/tokentoken/", X_Request_ID="of-the-last-link")

    wait_for(lambda: "of-the-last-link" in front.log(), "the access log")
    assert '"GET /invitations/- HTTP' in front.logs()
    assert "tokentoken" not in front.logs()


def test_no_key_in_a_path_or_in_a_request_id_reaches_a_log(front: WayIn, key: str) -> None:
    front.ask(f"/v2/api-keys/{key}", X_Request_ID=key)
    front.ask(f"/v2/api-keys/{key}", X_Request_ID=key, plain_http=True)
    front.ask("/v2/last")

    wait_for(lambda: '"GET /v2/last' in front.logs(), "the access log")
    assert '"GET /v2/api-keys/- HTTP' in front.logs()
    assert not re.search("atk_[0-9A-Za-z]{5}", front.logs())


def test_the_log_has_the_node_its_status_and_its_time(front: WayIn) -> None:
    front.ask("/v2?filler=x", X_Request_ID="of-a-node")
    wait_for(lambda: "of-a-node" in front.log(), "the access log")
    (line,) = (line for line in front.log().splitlines() if "of-a-node" in line)
    assert re.search(rf' 401 \d+ [\d.]+ of-a-node "127\.0\.0\.1:{front.server.port}" "401" "\d+\.\d+"$', line)
    assert "filler" not in line


def test_the_log_shows_that_no_node_answered(front: WayIn, key: str, tmp_path: Path) -> None:
    with in_front_of(tmp_path, free_port(), free_port()) as alone:
        alone.ask(f"/v2?api_key={key}", X_Request_ID="of-none")
        alone.ask(f"/v2?api_key={key}", plain_http=True)
        wait_for(lambda: "of-none" in alone.log(), "the access log")
        (line,) = (line for line in alone.log().splitlines() if "of-none" in line)
        assert re.search(r' 503 \d+ [\d.]+ of-none "(127\.0\.0\.1:\d+, 127\.0\.0\.1:\d+)" "502, 502" ', line)
        assert "atk_" not in alone.logs()
        (pattern,) = re.findall(r"^sudo grep -E '(.+)' /var/log/nginx/", OPERATIONS.read_text(), re.MULTILINE)
        assert re.search(pattern, line)


def test_the_command_of_the_docs_finds_nothing_while_nodes_answer(front: WayIn) -> None:
    front.ask("/v2", X_Request_ID="of-an-answer")
    wait_for(lambda: "of-an-answer" in front.log(), "the access log")
    (pattern,) = re.findall(r"^sudo grep -E '(.+)' /var/log/nginx/", OPERATIONS.read_text(), re.MULTILINE)
    assert not re.search(pattern, front.log(), re.MULTILINE)
