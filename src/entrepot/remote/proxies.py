"""Proxies by environment: `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`, also in lower case, which then counts.

    NO_PROXY    ::= "*" | entry ( "," entry )*
    entry       ::= host [ ":" port ] | IP address [ ":" port ] | network "/" length

`example.com` means that host and all below it, `.example.com` and `*.example.com` only those below it. This
machine is never reached through a proxy. Neither netrc nor the system's settings are read.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from yarl import URL

from entrepot.errors import ConfigError
from entrepot.remote.urls import is_loopback
from entrepot.wire.redact import redact_url

__all__ = ["Proxies"]


@dataclass(frozen=True, slots=True)
class Proxies:
    """Which proxy a URL is fetched through.

    Attributes:
        http: For http URLs.
        https: For https URLs.
        exempt: The entries of `NO_PROXY`.
    """

    http: URL | None = None
    https: URL | None = None
    exempt: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read the variables.

        `HTTP_PROXY` is ignored where `REQUEST_METHOD` is set: in a CGI program it is the client's `Proxy` header.

        Raises:
            ConfigError: A proxy is not an http or https URL.
        """
        http = environ.get("http_proxy") or (
            "" if "REQUEST_METHOD" in environ else environ.get("HTTP_PROXY", "")
        )
        https = environ.get("https_proxy") or environ.get("HTTPS_PROXY", "")
        exempt = environ.get("no_proxy") or environ.get("NO_PROXY", "")
        return cls(
            http=_proxy("HTTP_PROXY", http),
            https=_proxy("HTTPS_PROXY", https),
            exempt=tuple(entry.strip().lower() for entry in exempt.split(",") if entry.strip()),
        )

    def for_url(self, url: URL) -> URL | None:
        """Return the proxy for a URL, or None to connect to it directly."""
        proxy = self.https if url.scheme == "https" else self.http
        if proxy is None:
            return None
        host = (url.raw_host or "").rstrip(".").lower()
        if is_loopback(host) or any(_matches(entry, host, url.port) for entry in self.exempt):
            return None
        return proxy


def _proxy(variable: str, text: str) -> URL | None:
    if not text:
        return None
    try:
        url = URL(text if "://" in text else f"http://{text}", encoded=True)
        usable = url.scheme in {"http", "https"} and bool(url.raw_host)
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError([f"{variable} is not the http or https URL of a proxy: {redact_url(text)}"])
    return url


def _matches(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        return _in_network(entry, host)
    name, entry_port = _split_port(entry)
    if entry_port and entry_port != str(port):
        return False
    if name.startswith(("*.", ".")):
        return host.endswith(name.removeprefix("*"))
    return host == name or (host.endswith(f".{name}") and not _is_address(host))


def _in_network(entry: str, host: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _split_port(entry: str) -> tuple[str, str]:
    if entry.startswith("["):
        name, _, port = entry[1:].partition("]")
        return name, port.removeprefix(":")
    if entry.count(":") > 1:
        return entry, ""
    name, _, port = entry.partition(":")
    return name.rstrip("."), port
