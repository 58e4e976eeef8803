"""Which addresses tools may connect to. Decided on the address itself: a name can be spelled in any number of ways."""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Protocol

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_SPECIAL: tuple[Network, ...] = (
    IPv4Network("100.64.0.0/10"),  # carrier-grade NAT
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
    IPv6Network("100::/64"),
    IPv6Network("3fff::/20"),
    IPv6Network("5f00::/16"),
    IPv6Network("fec0::/10"),  # site-local
)
"""Of IANA's special-purpose registries, what `ipaddress` takes for global, or did in some Python since 3.11."""
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE = IPv6Network("::/96")


class Resolver(Protocol):
    """What turns a host's name into addresses."""

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """Addresses as text, the best first; none if there is no such host. Raises OSError."""
        ...


class SystemResolver:
    """The machine's own. It takes decimal, octal and hexadecimal spellings for the addresses that they are."""

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        return [str(address[0]) for *_, address in found]


def problem_of_address(text: str, allowed: Sequence[Network] = ()) -> str | None:
    """Why an address must not be connected to; None for a public one, and for one in an `allowed` network."""
    try:
        address = _embedded(ip_address(text.partition("%")[0]))
    except ValueError:
        return f"{text[:80]!r} is not an address"
    if any(address in network for network in allowed):
        return None
    if _is_public(address):
        return None
    return f"{address} is not a public address"


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks as `10.0.0.0/8` or single addresses. Raises ValueError."""
    return tuple(ip_network(text) for text in texts)


def _is_public(address: Address) -> bool:
    refused = address.is_multicast or address.is_reserved or address.is_unspecified or address.is_link_local
    if refused or any(address in network for network in _SPECIAL):
        return False
    return address.is_global


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for: the connection would end there."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    low = IPv4Address(int(address) & 0xFFFFFFFF)
    if any(address in network for network in _NAT64) or (address in _COMPATIBLE and int(address) > 1):
        return low
    return address
