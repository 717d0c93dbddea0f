"""Under which scheme, host and port clients reach the registry: what its absolute Locations begin with.

`http.public-url` says it once and for all. Without it, the request does: its Host, or what a proxy in front of us
reports (`Forwarded`, RFC 7239; else `X-Forwarded-Proto` and `-Host`), which is believed only of the proxies listed
in `http.trusted-proxies`. A request that names no host, or none that may stand in a URL, gets Locations without one:
RFC 9110 allows that, but some clients break on it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import TypeAlias

from entrepot.server.requests import Request

__all__ = ["Network", "Origins"]

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_FORWARDED_PAIR = re.compile(r'\s*([A-Za-z]+)\s*=\s*(?:"([^"\\]*)"|([^;,\s"]+))\s*')
_SCHEMES = frozenset({"http", "https"})


class Origins:
    """Knows under which origin a request has reached us.

    Args:
        public_url: Scheme, host and port for all requests; None to go by the request.
        trusted_proxies: Networks whose word about the client's request is believed.
    """

    def __init__(self, public_url: str | None, trusted_proxies: Sequence[Network]) -> None:
        self._public_url = public_url.rstrip("/") if public_url else None
        self._trusted = tuple(trusted_proxies)

    def of(self, request: Request) -> str:
        """Return `scheme://host[:port]`, or nothing when the request does not tell the host."""
        if self._public_url is not None:
            return self._public_url
        scheme, host = str(request.scope.get("scheme", "http")), request.text(b"host")
        if self._trusted and self._is_trusted(request):
            reported = _forwarded(request)
            scheme, host = reported.get("proto", scheme).lower(), reported.get("host", host or "")
        if not host or scheme not in _SCHEMES or not _HOST.fullmatch(host):
            return ""
        return f"{scheme}://{host}"

    def client(self, request: Request) -> str:
        """Return the address of the client, as the nearest proxy that is trusted saw it."""
        peer = _peer(request)
        if not self._trusted or not self._is_trusted(request):
            return peer
        return self._client_behind(_forwarded_for(request)) or peer

    def _client_behind(self, addresses: list[str]) -> str | None:
        """Go back from our proxy to the first address that is not a proxy of ours."""
        for address in reversed(addresses):
            if not self._contains(address):
                return address
        return addresses[0] if addresses else None

    def _is_trusted(self, request: Request) -> bool:
        return self._contains(_peer(request))

    def _contains(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._trusted)


def _peer(request: Request) -> str:
    client = request.scope.get("client")
    return str(client[0]) if client else ""


def _forwarded(request: Request) -> dict[str, str]:
    """Return what the nearest proxy says: `proto` and `host`, each if it is there."""
    forwarded = request.text(b"forwarded")
    if forwarded is not None:
        nearest = forwarded.rpartition(",")[2]
        return {name.lower(): quoted or bare for name, quoted, bare in _FORWARDED_PAIR.findall(nearest)}
    reported = {"proto": request.text(b"x-forwarded-proto"), "host": request.text(b"x-forwarded-host")}
    # Each proxy appends, so the last value is that of ours.
    return {name: value.rpartition(",")[2].strip() for name, value in reported.items() if value}


def _forwarded_for(request: Request) -> list[str]:
    """Return the addresses that proxies have reported, the client's first."""
    forwarded = request.text(b"forwarded")
    if forwarded is not None:
        pairs = (_FORWARDED_PAIR.findall(hop) for hop in forwarded.split(","))
        values = [quoted or bare for hop in pairs for name, quoted, bare in hop if name.lower() == "for"]
    else:
        values = (request.text(b"x-forwarded-for") or "").split(",")
    return [_without_port(value.strip()) for value in values if value.strip()]


def _without_port(value: str) -> str:
    if value.startswith("["):
        return value[1:].partition("]")[0]
    return value.partition(":")[0] if value.count(":") == 1 else value
