"""Names and addresses of this machine itself."""

from __future__ import annotations

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether a host is `localhost` or a loopback address. Other names are not, whatever they lead to."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
