"""
The address a request comes from, as far as it can be believed.

``X-Forwarded-For`` is a list that every proxy appends to, so only its right end
was written by proxies we know, and everything left of the first stranger may be
invented. It is walked from the right, and not at all unless ``REMOTE_ADDR`` is
one of ``TRUSTED_PROXIES``.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Network, ip_address

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.http import HttpRequest

from ..conf import conf
from .networks import Address, Network, as_networks, is_in

logger = logging.getLogger("redis_atomic.rate_limits")

#: The word in TRUSTED_PROXIES for a proxy that connects through a unix socket.
UNIX = "unix"

#: The longest address with zone id, brackets and port has about 80 characters.
LONGEST_ADDRESS = 100

#: Addresses that are remembered as read: reading one takes longer than all else about it.
REMEMBERED = 4096

_warned: set[str] = set()


def client_address(request: HttpRequest) -> Address | None:
    """
    The client's address, an IPv4-mapped one unmapped; None where there is none.

    An entry of X-Forwarded-For that is no address ends the walk at the proxy
    that reported it: garbage never makes a fresh client.
    """
    return parse_address(_client_text(request))


def client_subscriber(request: HttpRequest) -> str:
    """The text that the client's address counts under, "" where there is none."""
    text = _client_text(request)
    return _subscriber_at(text) if len(text) <= LONGEST_ADDRESS else ""


def _client_text(request: HttpRequest) -> str:
    """The client's address as whoever told it has written it, perhaps badly."""
    trusted = tuple(conf.TRUSTED_PROXIES)
    client: str = request.META.get("REMOTE_ADDR") or ""
    if not (trusted and _is_trusted(parse_address(client), client, trusted)):
        _warn_about_a_hidden_proxy(request, client)
        return client
    for entry in reversed(request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")):
        address = parse_address(entry)
        if address is None:
            break
        client = entry
        if not _is_trusted(address, entry, trusted):
            break
    return client


def parse_address(text: str) -> Address | None:
    """
    The address in ``text``, or None.

    Accepts what proxies and gateways write: ``192.0.2.1``, ``192.0.2.1:8080``,
    ``2001:db8::1``, ``[2001:db8::1]:443``, ``fe80::1%eth0``, ``::ffff:192.0.2.1``.
    """
    text = text.strip()
    return _parsed(text) if len(text) <= LONGEST_ADDRESS else None


@lru_cache(maxsize=REMEMBERED)
def _parsed(text: str) -> Address | None:
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    # The same client, whether the server's socket is IPv4 or takes both.
    return getattr(address, "ipv4_mapped", None) or address


def subscriber(address: Address) -> str:
    """
    The text an address counts under: itself, or the network of an IPv6 one.

    One subscriber is given a whole IPv6 network (IPV6_PREFIX bits, usually 64)
    and may use a new address of it for every request.
    """
    if isinstance(address, IPv4Address):
        return str(address)
    bits = conf.IPV6_PREFIX
    if type(bits) is not int or not 1 <= bits <= 128:
        raise ImproperlyConfigured(
            "REDIS_ATOMIC['IPV6_PREFIX'] must be a number of bits from 1 to 128."
        )
    return str(IPv6Network((int(address), bits), strict=False))


@lru_cache(maxsize=REMEMBERED)
def _subscriber_at(text: str) -> str:
    address = parse_address(text)
    return "" if address is None else subscriber(address)


def _forget(*, setting: str, **kwargs: object) -> None:
    if setting == "REDIS_ATOMIC":
        _subscriber_at.cache_clear()


setting_changed.connect(_forget, dispatch_uid="redis_atomic.addresses")


@lru_cache(maxsize=128)
def _networks(trusted: tuple[str, ...]) -> tuple[Network, ...]:
    try:
        return as_networks([each for each in trusted if each != UNIX])
    except ValueError as error:
        raise ImproperlyConfigured(f"REDIS_ATOMIC['TRUSTED_PROXIES']: {error}") from error


def _is_trusted(address: Address | None, text: str, trusted: tuple[str, ...]) -> bool:
    if address is None:
        return not text.strip() and UNIX in trusted
    return is_in(address, _networks(trusted))


def _warn_about_a_hidden_proxy(request: HttpRequest, text: str) -> None:
    if "HTTP_X_FORWARDED_FOR" not in request.META:
        return
    address = parse_address(text)
    if address is not None and address.is_private:
        warn_once(
            "hidden proxy",
            "Requests come through a proxy at %s that is not trusted: all clients behind it share "
            "one rate limit. Add its network to REDIS_ATOMIC['TRUSTED_PROXIES'].",
            address,
        )


def warn_about_no_address(request: HttpRequest) -> None:
    """Tell once that clients cannot be told apart."""
    warn_once(
        "no address",
        "A request has no usable address (REMOTE_ADDR is %r): all such clients share one rate "
        "limit. Behind a proxy on a unix socket add 'unix' to REDIS_ATOMIC['TRUSTED_PROXIES'].",
        request.META.get("REMOTE_ADDR"),
    )


def warn_once(what: str, message: str, *args: object) -> None:
    """Log a warning the first time in this process."""
    if what not in _warned:
        _warned.add(what)
        logger.warning(message, *args)
