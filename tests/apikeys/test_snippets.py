"""Configurations of gateways with values filled in."""

import pytest

from apikeys.guard.snippets import addresses, fill


def test_placeholders_are_replaced() -> None:
    assert (
        fill("pass {{upstream}}/{{service}};", {"upstream": "http://a", "service": "svc_1"}) == "pass http://a/svc_1;"
    )


def test_a_placeholder_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        fill("{{unknown}}", {})


def test_an_optional_line_is_active_where_its_values_are_given() -> None:
    assert fill("a\n\t#? trust {{proxies}}\nb", {"proxies": "10.0.0.0/8"}) == "a\n\ttrust 10.0.0.0/8\nb"


def test_a_line_without_its_values_stays_a_comment_that_names_them() -> None:
    assert fill("a\n\t#? trust {{proxies}}\nb", {}) == "a\n\t# trust PROXIES\nb"


@pytest.mark.parametrize(
    ("url", "address", "host", "port"),
    [
        ("http://10.0.0.5:8000", "10.0.0.5:8000", "10.0.0.5", "8000"),
        ("http://guard", "guard:80", "guard", "80"),
        ("https://keys.example.com", "keys.example.com:443", "keys.example.com", "443"),
        ("http://[fd00::5]:8000", "[fd00::5]:8000", "fd00::5", "8000"),
    ],
)
def test_a_url_gives_its_address_host_and_port(url: str, address: str, host: str, port: str) -> None:
    values = addresses("guard", url)
    assert (values["guard"], values["guard_address"]) == (url, address)
    assert (values["guard_host"], values["guard_port"]) == (host, port)
    assert values.get("guard_tls") == (host if url.startswith("https:") else None)
