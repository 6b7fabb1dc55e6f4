"""Networks and who is exempt by them. Pure: knows neither Django nor Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: Who is not limited: those a callable of the request says, or those of these networks.
Exempt = Callable[..., Any] | tuple[Network, ...]


def as_networks(networks: Iterable[str | Network]) -> tuple[Network, ...]:
    """Networks of CIDRs and addresses; ValueError that names the one which is neither."""
    return tuple([_as_network(each) for each in networks])


def _as_network(network: Any) -> Network:
    if isinstance(network, str | IPv4Network | IPv6Network):
        try:
            return ip_network(network, strict=False)
        except ValueError:
            pass
    raise ValueError(
        f"{network!r} is no network. Give networks and addresses such as "
        "'10.0.0.0/8', '2001:db8::/32' or '192.0.2.7'."
    )


def is_in(address: Address | None, networks: Sequence[Network]) -> bool:
    """Is the address in one of the networks?"""
    return address is not None and any(address in network for network in networks)


def as_exempt(exempt: Any) -> Exempt | None:
    """
    A callable that takes the request as it is, and a list of networks read; None: nobody.

    TypeError for anything else, ValueError for a network that can't be read.
    """
    if exempt is None or callable(exempt):
        found: Exempt | None = exempt
        return found
    if isinstance(exempt, str) or not isinstance(exempt, Iterable):
        raise TypeError(
            f"exempt={exempt!r}: give a callable that takes the request, or a list of networks "
            "such as ['10.0.0.0/8']."
        )
    try:
        return as_networks(exempt)
    except ValueError as error:
        raise ValueError(f"exempt: {error}") from error
