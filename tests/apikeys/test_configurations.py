"""The gateways' configurations on a service's page: the files in deploy/gateways/, filled in."""

import re
from typing import Any

import pytest

from apikeys.guard import configurations, snippets
from apikeys.guard.configurations import FOLDER, GATEWAYS

GUARD = "http://10.0.0.5:8000"


@pytest.fixture(params=list(GATEWAYS.values()), ids=list(GATEWAYS))
def gateway(request: pytest.FixtureRequest) -> configurations.Gateway:
    gateway: configurations.Gateway = request.param
    return gateway


def filled(gateway: configurations.Gateway, **values: Any) -> dict[str, str]:
    values = {"service": "svc_1", "guard": GUARD, "upstream": "http://10.0.0.8:3000", **values}
    return {file.name: file.text for file in configurations.files(gateway, **values)}


def test_every_gateway_that_is_shipped_is_offered() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(GATEWAYS)


def test_every_file_of_a_gateway_is_offered(gateway: configurations.Gateway) -> None:
    assert {path.name for path in (FOLDER / gateway.name).iterdir()} == set(gateway.files)


def test_after_its_header_a_configuration_is_the_shipped_file(gateway: configurations.Gateway) -> None:
    """Then the tests of the gateways run the same files that people paste."""
    values = {
        "service": "svc_1",
        "host": "api.acme.test",
        **snippets.addresses("guard", GUARD),
        **snippets.addresses("upstream", "http://10.0.0.8:3000"),
    }
    example = {name: found.example for name, found in configurations.placeholders_of(gateway).items()}
    for name, text in filled(gateway, host="api.acme.test").items():
        shipped = snippets.fill((FOLDER / gateway.name / name).read_text(), {**example, **values})
        head = r"\A(?:(?:#|--)[^\n]*\n)*"  # the comments that a file begins with
        assert re.sub(head, "", text) == re.sub(head, "", shipped)


def test_only_the_listed_values_are_left_to_fill_in(gateway: configurations.Gateway) -> None:
    for values in ({}, {"host": "api.acme.test"}, {"upstream": ""}, {"guard": "https://keys.example.com"}):
        texts = filled(gateway, **values)
        assert "{{" not in "".join(texts.values())
        assert "braces" not in "".join(texts.values())


def test_the_configuration_begins_with_what_has_to_be_replaced() -> None:
    text = filled(GATEWAYS["nginx"])["nginx.conf"]
    assert text.split("\n\n")[0].split("\n")[2:] == [
        "# Goes to /etc/nginx/conf.d/. Replace these before you use it:",
        "#   api.example.com             the host name of your API",
        "#   /etc/ssl/api/fullchain.pem  the certificate of your API",
        "#   /etc/ssl/api/privkey.pem    its private key",
    ]
    assert configurations.examples(GATEWAYS["nginx"], upstream="http://a", host="api.acme.test") == [
        "/etc/ssl/api/fullchain.pem",
        "/etc/ssl/api/privkey.pem",
    ]


def test_an_upstream_that_nobody_entered_is_an_example_too(gateway: configurations.Gateway) -> None:
    text = "".join(filled(gateway, upstream="").values())

    assert {"http://service.internal:3000", "service.internal:3000"} <= {*configurations.examples(gateway)}
    assert "where your service listens" in text


def test_the_path_of_an_upstream_is_left_out(gateway: configurations.Gateway) -> None:
    """With a path, a gateway would send the service a path that the guard hasn't checked."""
    text = "".join(filled(gateway, upstream="http://10.0.0.8:3000/v1/").values())
    assert "/v1" not in text


def test_a_guard_or_a_service_behind_https_is_verified(gateway: configurations.Gateway) -> None:
    """`GUARD_URL` defaults to `PUBLIC_URL`."""
    text = "".join(filled(gateway, guard="https://keys.example.com", upstream="https://reports.internal").values())

    assert "https://keys.example.com" in text or "keys.example.com:443" in text
    assert "reports.internal" in text
    # Caddy and Traefik verify certificates without further settings.
    assert ("verify" in text or "trusted_ca" in text) or gateway.name in ("caddy", "traefik")
