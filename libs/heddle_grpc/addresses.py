"""Addresses of the forms `host:port` and `unix:/path`, lists of them for clients, and which of them are loopback."""

import ipaddress

from heddle_core.errors import CannotServe

_FORM = "write it as host:port, [ipv6]:port or unix:/path"


def split(address: str) -> tuple[str, int]:
    """Host and port of `host:port`. Raises CannotServe for other forms."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise CannotServe(f"address {address}", "it has no host and port", _FORM)
    bare = host.removeprefix("[").removesuffix("]")
    if ":" in bare and not host.startswith("["):
        raise CannotServe(f"address {address}", "an IPv6 host needs brackets", _FORM)
    return bare, int(port)


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach `address`. A name other than `localhost` is taken as reachable."""
    if address.startswith("unix:"):
        return True
    if address.startswith("dns:"):
        return False
    kind, listed, several = address.partition(":")
    if kind in ("ipv4", "ipv6") and listed:  # a client's list of replicas, as gRPC names it
        return all(is_loopback(each) for each in several.split(","))
    host, _ = split(address)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
