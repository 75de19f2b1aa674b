"""Which hosts besides the connection's own may be requested. Links to results and redirects are a service's words: they
could lead into the network of the worker."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

import httpx

from sluice_provider.errors import AddressRefused

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

STANDARD_PORTS = {"http": 80, "https": 443}

NAME_PATTERN = r"[a-z0-9_*]([a-z0-9_*.-]*[a-z0-9_*])?"

LONGEST_NAME = 253
"""Characters of a host name (RFC 1035, 2.3.4)."""

NUMERIC_NAME = r"(.*\.)?(\d+|0x[0-9a-f]*)"
"""A name whose last part is a number: resolvers read it as an IPv4 address in an old form, as `127.1` (WHATWG URL)."""

NAT64 = ip_network("64:ff9b::/96")
"""Addresses of RFC 6052 that stand for IPv4 addresses."""


class ResultHosts(NamedTuple):
    """The connection's own address, and the hosts that its field `result_hosts` lists.

    A listed name permits that name, at public addresses only, as the owner of a name decides which address it has.
    An internal address is permitted by being listed itself, alone or in a network.

    :param own: the base URL of the connection
    :param names: patterns in lower case, in which `*` stands for any characters
    :param networks: an address alone is a network of one
    """

    own: httpx.URL
    names: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, own: str, listed: str) -> ResultHosts:
        """
        :param listed: names, patterns, addresses and networks (`10.0.0.0/8`), separated by commas or spaces
        :raises ValueError: with the entry that is none of these
        """
        names: list[str] = []
        networks: list[Network] = []
        for entry in re.split(r"[,\s]+", listed.strip().lower()):
            network = _network(entry)
            if network is not None:
                networks.append(network)
            elif re.fullmatch(NAME_PATTERN, entry):
                names.append(entry)
            elif entry:
                raise ValueError(entry)
        return cls(httpx.URL(own), tuple(names), tuple(networks))

    @property
    def is_empty(self) -> bool:
        """Whether only the connection's own host is permitted."""
        return not self.names and not self.networks

    def is_own(self, host: str, port: int | None) -> bool:
        """Whether this is the connection's own host, at its port or at a standard one."""
        ports = (self.own.port or STANDARD_PORTS.get(self.own.scheme), *STANDARD_PORTS.values())
        return host == _host(self.own) and port in ports

    def check(self, url: httpx.URL) -> None:
        """Check a URL before anything is sent to it, or looked up.

        :raises AddressRefused: it is not permitted
        """
        host = _host(url)
        if url.scheme not in STANDARD_PORTS:
            raise _refused(url, "only http and https are supported")
        if url.scheme == "http" and self.own.scheme == "https":
            raise _refused(url, "it is not encrypted (http), and the connection is (https)")
        if self.is_own(host, url.port or STANDARD_PORTS[url.scheme]):
            return
        address = _address(host)
        if address is not None:
            permitted = self._lists(address)
        else:
            is_name = len(host) <= LONGEST_NAME and not re.fullmatch(NUMERIC_NAME, host)
            permitted = is_name and any(_matches(host, each) for each in self.names)
        if not permitted:
            raise _refused(url, "it is neither the connection's own host and port nor listed in result_hosts", host)

    def permitted(self, host: str, addresses: Sequence[str]) -> list[str]:
        """Those of a host's addresses that may be connected to.

        :param host: has passed `check`
        :param addresses: that its name was resolved to
        :raises AddressRefused: there are addresses, and none is permitted
        """
        found = [each for each in addresses if (address := _address(each)) and self._allows(address)]
        if addresses and not found:
            reason = f"its name leads to {', '.join(addresses)}, which is not an address of the internet"
            raise _refused(httpx.URL(scheme=self.own.scheme, host=host), reason, addresses[0])
        return found

    def _allows(self, address: Address) -> bool:
        return self._lists(address) or (address.is_global and not address.is_multicast)

    def _lists(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def _refused(url: httpx.URL, reason: str, entry: str = "") -> AddressRefused:
    """The path is not shown, as it may grant access.

    :param entry: what to list in `result_hosts` if the service is right
    """
    host = _host(url)[:LONGEST_NAME]
    shown = f"[{host}]" if ":" in host else host
    port = f":{url.port}" if url.port else ""
    advice = (
        f"; if the results are kept there, add {entry[:LONGEST_NAME]} to result_hosts in the connection"
        if entry
        else ""
    )
    return AddressRefused(
        f"a link or redirect of the service leads to {url.scheme}://{shown}{port}, to which nothing was sent: "
        f"{reason}{advice}"
    )


def _host(url: httpx.URL) -> str:
    """In ASCII, as it is resolved; the dot at the end of an absolute name makes no difference."""
    return url.raw_host.decode("ascii").lower().rstrip(".")


def _matches(host: str, pattern: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), host) is not None


def _network(entry: str) -> Network | None:
    try:
        return ip_network(entry, strict=False)
    except ValueError:
        return None


def _address(host: str) -> Address | None:
    """The address that is reached in the end: IPv6 has several forms that stand for an IPv4 address."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
