"""The IP address by which clients are counted and limited."""

from contextlib import suppress
from ipaddress import IPv6Address, IPv6Network, ip_address
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
    peer = ip_address(address) if address else None  # a Unix socket has none
    if isinstance(peer, IPv6Address) and peer.ipv4_mapped:
        peer = peer.ipv4_mapped
    if peer is None or any(peer in network for network in http.proxies):
        address = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
        with suppress(ValueError):
            peer = ip_address(address)
    if isinstance(peer, IPv6Address) and address:
        return str(IPv6Network((peer, _PREFIX), strict=False))
    return address
