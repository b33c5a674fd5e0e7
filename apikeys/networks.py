"""Networks that keys may be used from, and addresses. Pure.

IPv4-mapped IPv6 addresses (`::ffff:10.1.2.3`, RFC 4291 §2.5.5.2) count as IPv4 addresses.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


#: The most networks that a key may have: each of them is compared with a request's address.
MAXIMUM = 50


def parse_network(text: str) -> Network:
    """Read a CIDR such as `10.0.0.0/8`, or one address. Raises `ValueError` with a message for people."""
    try:
        network = ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(f"“{text}” is not a network. Write it as 203.0.113.0/24 or 2001:db8::/32.") from None
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped and network.prefixlen >= 96:
        return IPv4Network((network.network_address.ipv4_mapped, network.prefixlen - 96))
    return network


@lru_cache(maxsize=4096)
def parse_address(text: str) -> Address:
    """Read an address. Raises `ValueError`."""
    address = ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


def without_interface(address: str) -> str:
    """A link-local address without the `%` and interface after it, which databases refuse."""
    return address.partition("%")[0]


def client_address(forwarded_for: str, trusted: Iterable[Network]) -> str:
    """The last hop of an `X-Forwarded-For` that is not trusted, or the first hop.

    A client can forge everything before it. Raises `ValueError` for a hop that is not an address.
    """
    client = ""
    for hop in reversed(forwarded_for.split(",")):
        client = without_interface(hop.strip())
        address = parse_address(client)
        if not any(address in network for network in trusted):
            break
    return client


@lru_cache(maxsize=4096)
def _parse_all(texts: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(parse_network(text) for text in texts)


def is_within(address: str, networks: Iterable[str]) -> bool:
    """Whether the address is in one of the networks. An invalid address is in none."""
    try:
        parsed = parse_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in _parse_all(tuple(networks)))


def covers(wider: Iterable[str], narrower: Iterable[str]) -> bool:
    """Whether every network of `narrower` is inside one of `wider`. An empty list means everywhere."""
    wide, narrow = _parse_all(tuple(wider)), _parse_all(tuple(narrower))
    if not wide:
        return True
    return bool(narrow) and all(any(_is_inside(inner, outer) for outer in wide) for inner in narrow)


def _is_inside(inner: Network, outer: Network) -> bool:
    if isinstance(inner, IPv4Network) and isinstance(outer, IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, IPv6Network) and isinstance(outer, IPv6Network):
        return inner.subnet_of(outer)
    return False


@lru_cache(maxsize=4096)
def source(address: str) -> str:
    """The source of a request: its IPv4 address, or the /64 of its IPv6 address, which is usually one household."""
    try:
        parsed = parse_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)
