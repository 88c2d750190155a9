"""Finds the addresses of this host, and those at which workers of other hosts may reach it.

Executor descriptions turn what the user wrote into an IP address before anything is submitted.  The DataFlowKernel
process asks which addresses managers try.  Nothing here sends a packet.
"""

from __future__ import annotations

import ipaddress
import socket

from parslab.errors import ConfigurationError

__all__ = [
    "address_by_hostname",
    "address_by_interface",
    "address_by_query",
    "address_by_route",
    "candidate_addresses",
    "get_all_addresses",
    "get_any_address",
    "interfaces",
    "is_loopback",
    "own_address",
    "tcp_url",
]


def interfaces() -> dict[str, list[str]]:
    """Return the IP addresses of this host by network interface, IPv4 first."""
    import psutil  # here, because most runs need no address and the import takes time

    found = {}
    for name, addresses in psutil.net_if_addrs().items():
        texts = [a.address for a in addresses if a.family in (socket.AF_INET, socket.AF_INET6)]
        # psutil promises no order, and a link-local IPv6 address is useless without its interface.
        usable = [text for text in texts if "%" not in text and not ipaddress.ip_address(text).is_link_local]
        if usable:
            found[name] = sorted(usable, key=lambda text: ":" in text)
    return found


def is_loopback(address: str) -> bool:
    """Return whether only processes of this host can reach ``address``."""
    return ipaddress.ip_address(address).is_loopback


def address_by_interface(name: str) -> str:
    """Return the IP address of a network interface of this host, such as ``"ib0"`` (Parsl: same name).

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
    """Return the IP address to which the name of this host resolves (Parsl: same name).

    Raises
    ------
    ConfigurationError
        The name does not resolve.
    """
    name = socket.gethostname()
    try:
        return _resolved(name)
    except OSError as error:
        raise ConfigurationError(
            f"The name of this host, {name}, does not resolve to an address ({error}): give the address itself, or an "
            "interface."
        ) from error


def address_by_route() -> str:
    """Return the IP address of the interface that routes to other networks (Parsl: same name).

    Raises
    ------
    ConfigurationError
        There is no such route.
    """
    # These two addresses are reserved for documentation, so they route like any address outside of this site.
    for family, remote in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((remote, 9))  # for datagrams this only chooses a route, and sends nothing
                return str(probe.getsockname()[0])
            except OSError:
                continue
    raise ConfigurationError("This host has no route to other networks: give the address itself, or an interface.")


def address_by_query(timeout: float = 30) -> str:
    """The address that routes to other networks; Parsl asks a web site for it, and parslab sends nothing.

    Parameters
    ----------
    timeout
        Ignored.
    """
    return address_by_route()


def get_all_addresses() -> set[str]:
    """All addresses of this host (Parsl: same name)."""
    return {address for addresses in interfaces().values() for address in addresses}


def get_any_address() -> str:
    """An address of this host that others may reach, or else a loopback address (Parsl: same name)."""
    return candidate_addresses()[0]


def tcp_url(address: str, port: int | str | None = None) -> str:
    """The URL of a TCP port for ZeroMQ (Parsl: same name).

    Examples
    --------
    >>> tcp_url("::1", 5000)
    'tcp://[::1]:5000'
    """
    host = f"[{address}]" if ":" in address and not address.startswith("[") else address
    return f"tcp://{host}" if port is None else f"tcp://{host}:{port}"


def candidate_addresses() -> list[str]:
    """Return the addresses at which workers of other hosts may reach this host, the most likely first.

    The order is: the address of the route to other networks, the address of this host's name, the addresses of the
    other interfaces, and the loopback address.
    """
    own = [address for addresses in interfaces().values() for address in addresses]
    likely = []
    for way in (address_by_route, address_by_hostname):
        try:
            likely.append(way())
        except ConfigurationError:
            continue
    # A host name may resolve to an address of another host, or to one that no interface has (behind a router).
    ordered = dict.fromkeys([*(address for address in likely if address in own), *own])
    return sorted(ordered, key=is_loopback)


def own_address(text: str, owner: str) -> str:
    """Return the IP address of this host for ``text``, which is an address, an interface or a host name.

    Parameters
    ----------
    text
        The text that the user wrote.
    owner
        The class whose option it is, for the error.

    Raises
    ------
    ConfigurationError
        This host does not have such an address.
    """
    known = interfaces()
    if text in known:
        return known[text][0]
    try:
        address = str(ipaddress.ip_address(text))
    except ValueError:
        try:
            address = _resolved(text)
        except OSError:
            raise ConfigurationError(
                f"{owner}: address must be an IP address, a host name or one of this host's interfaces "
                f"({', '.join(sorted(known))}), not {text!r}."
            ) from None
    if address not in {own for addresses in known.values() for own in addresses}:
        resolved = f" (which resolves to {address})" if address != text else ""
        raise ConfigurationError(
            f"{owner}: address {text}{resolved} is none of this host's, so nothing can listen there; it has "
            f"{_list(known)}."
        )
    return address


def _resolved(name: str) -> str:
    found = [str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    # Debian maps the host name to 127.0.1.1, so another address is better where there is one.
    return min(found, key=lambda address: (is_loopback(address), ":" in address))


def _list(known: dict[str, list[str]]) -> str:
    return ", ".join(f"{name} ({addresses[0]})" for name, addresses in sorted(known.items())) or "none"
