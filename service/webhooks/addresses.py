"""Refuse private addresses: checked for each connection, for the very address that the socket connects to.

So a host name cannot resolve to a public address when it is checked and to a private one when it is used.
"""

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

import aiohttp

from service.sources.http_client import new_client_socket

_NAT64: Final = IPv6Network("64:ff9b::/96")
_UNICAST: Final = IPv6Network("2000::/3")
"""Global unicast addresses; `is_global` of Python includes others, some of which contain an IPv4 address."""
_DOCUMENTATION: Final = IPv6Network("3fff::/20")
"""RFC 9637; unknown to Python 3.11."""


def is_public(host: str) -> bool:
    """Return whether an IP address is on the public internet; also the IPv4 address that an IPv6 address contains."""
    address = ip_address(host)
    if isinstance(address, IPv6Address):
        contained = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            contained = IPv4Address(int(address) & 0xFFFFFFFF)
        if contained:
            address = contained
        elif address not in _UNICAST or address in _DOCUMENTATION:
            return False
    return address.is_global and not address.is_multicast


def new_public_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Return a socket for a connection to an address; raise `OSError` if it is not public."""
    *_, (host, *_) = address
    if not is_public(str(host)):
        raise OSError(errno.EACCES, "the address is not public; to allow it, set allow_private")
    return new_client_socket(address)
