"""The IP address by which clients are counted and limited, and whether a request comes from a trusted proxy."""

from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

from aiohttp import web

from service.settings import HttpSettings

_PREFIX: Final = 64
"""Bits of an IPv6 address that identify a client, which is free to choose the rest."""


def client_address(request: web.Request, http: HttpSettings) -> str:
    """Return the IP address (IPv6: the network) of a client.

    Behind a trusted proxy it is that of X-Forwarded-For; empty if the proxy sends none.
    """
    address = request.remote or ""
    peer = _peer(request)
    if _is_proxy(peer, http):
        address = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
        with suppress(ValueError):
            peer = ip_address(address)
    if isinstance(peer, IPv6Address) and address:
        return str(IPv6Network((peer, _PREFIX), strict=False))
    return address


def from_proxy(request: web.BaseRequest, http: HttpSettings) -> bool:
    """Return whether a request comes from a trusted proxy, whose headers are believed."""
    return _is_proxy(_peer(request), http)


def _peer(request: web.BaseRequest) -> IPv4Address | IPv6Address | None:
    """Return the address of the other end of the connection; a Unix socket has none."""
    peer = ip_address(request.remote) if request.remote else None
    return peer.ipv4_mapped or peer if isinstance(peer, IPv6Address) else peer


def _is_proxy(peer: IPv4Address | IPv6Address | None, http: HttpSettings) -> bool:
    return peer is None or any(peer in network for network in http.proxies)
