import pytest

from apikeys import networks


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.1.2.3", False),
        ("2001:db8::5", True),
        ("2001:db9::5", False),
        ("", False),
        ("not an address", False),
    ],
)
def test_an_address_is_within_the_networks_that_contain_it(address: str, allowed: bool) -> None:
    assert networks.is_within(address, ["10.0.0.0/8", "2001:db8::/32"]) is allowed


def test_a_mapped_network_is_its_ipv4_network() -> None:
    assert str(networks.parse_network("::ffff:10.0.0.0/104")) == "10.0.0.0/8"


def test_a_single_address_is_a_network_of_one() -> None:
    assert str(networks.parse_network(" 203.0.113.7 ")) == "203.0.113.7/32"


@pytest.mark.parametrize("text", ["", "10.0.0.0/33", "example.com", "10.0.0", "::/129"])
def test_an_invalid_network_is_refused_with_a_message(text: str) -> None:
    with pytest.raises(ValueError, match="is not a network"):
        networks.parse_network(text)


@pytest.mark.parametrize(
    ("wider", "narrower", "covered"),
    [
        ([], [], True),
        ([], ["10.0.0.0/8"], True),
        (["10.0.0.0/8"], [], False),
        (["10.0.0.0/8"], ["10.1.0.0/16"], True),
        (["10.0.0.0/8"], ["10.1.0.0/16", "2001:db8::/64"], False),
        (["10.0.0.0/8", "2001:db8::/32"], ["10.1.0.0/16", "2001:db8::/64"], True),
        (["10.1.0.0/16"], ["10.0.0.0/8"], False),
    ],
)
def test_networks_cover_those_inside_them(wider: list[str], narrower: list[str], covered: bool) -> None:
    assert networks.covers(wider, narrower) is covered


def test_failures_count_against_an_ipv4_address_or_the_64_of_an_ipv6_one() -> None:
    assert networks.source("203.0.113.7") == "203.0.113.7"
    assert networks.source("::ffff:203.0.113.7") == "203.0.113.7"
    assert networks.source("2001:db8::1") == networks.source("2001:db8::ffff:1")
    assert networks.source("2001:db8:0:1::1") != networks.source("2001:db8::1")
