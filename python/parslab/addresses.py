"""The addresses of this host, and which of them workers of other hosts can be told to come to.

Asked by executor descriptions (what the user wrote is turned into an IP address before anything is submitted) and by
the DataFlowKernel process (which addresses managers shall try).  Nothing here sends a packet.
"""

from __future__ import annotations

import ipaddress
import socket

from parslab.errors import ConfigurationError

__all__ = [
    "address_by_hostname",
    "address_by_interface",
    "address_by_route",
    "candidate_addresses",
    "interfaces",
    "is_loopback",
    "own_address",
]


def interfaces() -> dict[str, list[str]]:
    """The IP addresses of this host by network interface, IPv4 first."""
    import psutil

    found = {}
    for name, addresses in psutil.net_if_addrs().items():
        texts = [a.address for a in addresses if a.family in (socket.AF_INET, socket.AF_INET6)]
        # psutil lists them in no promised order, and link-local IPv6 addresses mean nothing without their interface.
        usable = [text for text in texts if "%" not in text and not ipaddress.ip_address(text).is_link_local]
        if usable:
            found[name] = sorted(usable, key=lambda text: ":" in text)
    return found


def is_loopback(address: str) -> bool:
    """Whether only processes of this host can reach ``address``."""
    return ipaddress.ip_address(address).is_loopback


def address_by_interface(name: str) -> str:
    """The IP address of a network interface of this host, such as ``"ib0"`` (Parsl: same name).

    Raises
    ------
    ConfigurationError
        There is no such interface, or it has no address.

    Examples
    --------
    >>> from parslab.addresses import address_by_interface, interfaces
    >>> address_by_interface(next(iter(interfaces()))) in sum(interfaces().values(), [])
    True
    """
    known = interfaces()
    if name not in known:
        raise ConfigurationError(f"This host has no network interface {name!r} with an address: it has {_list(known)}.")
    return known[name][0]


def address_by_hostname() -> str:
    """The IP address that this host's name stands for (Parsl: same name).

    Raises
    ------
    ConfigurationError
        The name stands for no address.
    """
    name = socket.gethostname()
    try:
        return _looked_up(name)
    except OSError as error:
        raise ConfigurationError(
            f"The name of this host, {name}, stands for no address ({error}): give the address itself, or an interface."
        ) from error


def address_by_route() -> str:
    """The IP address of the interface that traffic to other networks leaves by (Parsl: same name).

    Raises
    ------
    ConfigurationError
        There is no such route.
    """
    for family, far in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((far, 9))  # a datagram socket sends nothing: the system only chooses the route
                return str(probe.getsockname()[0])
            except OSError:
                continue
    raise ConfigurationError("This host has no route to other networks: give the address itself, or an interface.")


def candidate_addresses() -> list[str]:
    """Where workers of other hosts may find this one, likeliest first; loopback last.

    First the address that traffic to other networks leaves by, then the one that this host's name stands for, then
    those of the other interfaces.
    """
    own = [address for addresses in interfaces().values() for address in addresses]
    likely = []
    for way in (address_by_route, address_by_hostname):
        try:
            likely.append(way())
        except ConfigurationError:
            continue
    # A host name may stand for another host's address, or for one that no interface has (behind a router).
    ordered = dict.fromkeys([*(address for address in likely if address in own), *own])
    return sorted(ordered, key=is_loopback)


def own_address(text: str, owner: str) -> str:
    """The IP address of this host that ``text`` means: an address, an interface or a host name.

    Parameters
    ----------
    text
        What the user wrote.
    owner
        Whose option it is, for the error.

    Raises
    ------
    ConfigurationError
        It is none of this host's.
    """
    known = interfaces()
    if text in known:
        return known[text][0]
    try:
        address = str(ipaddress.ip_address(text))
    except ValueError:
        try:
            address = _looked_up(text)
        except OSError:
            raise ConfigurationError(
                f"{owner}: address must be an IP address, a host name or one of this host's interfaces "
                f"({', '.join(sorted(known))}), not {text!r}."
            ) from None
    if address not in {own for addresses in known.values() for own in addresses}:
        meant = f" (which stands for {address})" if address != text else ""
        raise ConfigurationError(
            f"{owner}: address {text}{meant} is none of this host's, so nothing can listen there; it has "
            f"{_list(known)}."
        )
    return address


def _looked_up(name: str) -> str:
    found = [str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    return min(found, key=lambda address: (is_loopback(address), ":" in address))


def _list(known: dict[str, list[str]]) -> str:
    return ", ".join(f"{name} ({addresses[0]})" for name, addresses in sorted(known.items())) or "none"
