"""Which URLs from a peer are followed: one policy for redirects, Location, Link and token realms.

A registry, or who has taken its place, chooses these URLs, and we would send requests to them from inside a
network that it cannot reach itself, some of them with credentials. Therefore, at every hop:

1. http and https only;
2. never from https to http;
3. never inwards: from a public host to a private address, from either to this machine, from anywhere else to a
   link-local address, where clouds serve their credentials;
4. no credential once scheme, host or port is another (`same_origin`; who sends the request sees to it).

A literal address is judged when the URL is read. A name is judged when its address is known: `Reaches` learns
where each host is when a connection is made, and `Hop.check` refuses the connection before it exists, so that
a name that resolves differently the second time gains nothing. Through a proxy only literals can be judged.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from enum import IntEnum
from urllib.parse import quote, urljoin

from yarl import URL

from entrepot.errors import ForbiddenURL
from entrepot.wire.redact import redact_url

__all__ = [
    "Hop",
    "Reach",
    "Reaches",
    "is_loopback",
    "query",
    "reach_of_address",
    "same_origin",
    "with_parameters",
]

MAX_URL_CHARACTERS = 16 << 10


class Reach(IntEnum):
    """From how far away an address can be reached; the lower, the closer."""

    LINK_LOCAL = 1
    LOOPBACK = 2
    PRIVATE = 3
    PUBLIC = 4


_NAMES = {
    Reach.LINK_LOCAL: "a link-local address",
    Reach.LOOPBACK: "this machine",
    Reach.PRIVATE: "a private address",
}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_UNSPECIFIED_V4 = ipaddress.IPv4Network("0.0.0.0/8")


def reach_of_address(address: str) -> Reach | None:
    """Return the reach of a literal IP address in any notation that a resolver accepts; None for a name."""
    text = address.strip("[]").partition("%")[0]
    try:
        ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(text)
    except ValueError:
        try:
            # 127.1, 0x7f000001, 017700000001 and 2130706433 are all 127.0.0.1 to the C library
            ip = ipaddress.IPv4Address(socket.inet_aton(text))
        except (OSError, ValueError):
            return None
    return _reach(_unwrapped(ip))


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine by its spelling: `localhost`, `*.localhost`, 127/8, ::1."""
    name = host.strip("[]").rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost") or reach_of_address(host) is Reach.LOOPBACK


def same_origin(one: URL, other: URL) -> bool:
    """Tell whether scheme, host and port agree, default ports and the case of the host apart."""
    return _origin(one) == _origin(other)


def query(*parameters: tuple[str, str]) -> str:
    """Return the query of a URL of ours; `:` and `/` stay readable, as they may (RFC 3986, section 3.4)."""
    return "&".join(f"{quote(name, safe='')}={quote(value, safe=':/')}" for name, value in parameters)


def with_parameters(url: URL, *parameters: tuple[str, str]) -> URL:
    """Return the URL with parameters appended, and everything that it had before kept byte for byte.

    A registry may sign the query of a Location; it must get back exactly what it gave.
    """
    return URL(f"{url}{'&' if url.raw_query_string else '?'}{query(*parameters)}", encoded=True)


class Reaches:
    """What is known about how far away hosts are: by their spelling, or by a connection that was made."""

    def __init__(self) -> None:
        self._learned: dict[str, Reach] = {}

    def of(self, url: URL) -> Reach:
        """Return the reach of a URL's host; a name that was never connected to counts as public."""
        host = _host(url)
        if is_loopback(host):
            return Reach.LOOPBACK
        return reach_of_address(host) or self._learned.get(host, Reach.PUBLIC)

    def learn(self, url: URL, reach: Reach) -> None:
        """Note where a host was found."""
        self._learned[_host(url)] = reach


@dataclass(slots=True)
class Hop:
    """One step of the way: what is about to be connected to, and where the URL came from.

    Attributes:
        url: What is about to be requested.
        reach: Of the peer that gave us the URL; None when it was the user.
        reaches: What is known about hosts.
        peer: The registry at whose behest this happens.
        refused: The address that `check` refused.
    """

    url: URL
    reach: Reach | None
    reaches: Reaches
    peer: str
    refused: str | None = None

    def follow(self, text: str, *, given_as: str) -> Hop:
        """Return the hop to a URL, relative or absolute, that the peer of this one gave.

        Raises:
            ForbiddenURL: The policy refuses it; names the URL, its secrets withheld.
        """
        refuse = self._refusal(text, given_as)
        if (
            not text
            or len(text) > MAX_URL_CHARACTERS
            or not (text.isascii() and text.isprintable())
            or " " in text
        ):
            raise refuse("it is not a URL")
        try:
            url = URL(urljoin(str(self.url), text).partition("#")[0], encoded=True)
            port = url.port
        except ValueError:
            raise refuse("it is not a URL") from None
        if url.scheme not in {"http", "https"}:
            raise refuse("only http and https are followed")
        if not url.raw_host or port is None:
            raise refuse("it has no host")
        if self.url.scheme == "https" and url.scheme == "http":
            raise refuse("it leads from https to http")
        if same_host(self.url, url):
            return Hop(_without_user(url), self.reach, self.reaches, self.peer)
        giver, target = self.reaches.of(self.url), self.reaches.of(url)
        if not _may(giver, target):
            raise refuse(f"it leads to {_NAMES[target]}")
        return Hop(_without_user(url), giver, self.reaches, self.peer)

    def check(self, address: str) -> None:
        """Judge the address that is about to be connected to, and learn from it.

        Raises:
            OSError: The policy refuses it; `refused` then says which.
        """
        reach = reach_of_address(address)
        if reach is None:
            return
        if not _may(self.reach, reach):
            self.refused = address
            raise PermissionError(f"refused to connect to {_NAMES[reach]}: {address}")
        self.reaches.learn(self.url, reach)

    def refusal(self) -> ForbiddenURL:
        """Return the error that says why `check` refused."""
        reach = reach_of_address(self.refused or "") or Reach.LINK_LOCAL
        return self._refusal(str(self.url), "URL")(f"its host is at {_NAMES[reach]}, {self.refused}")

    def _refusal(self, text: str, given_as: str) -> _Refusal:
        return _Refusal(self.peer, redact_url(text[:300]), given_as)


@dataclass(frozen=True, slots=True)
class _Refusal:
    peer: str
    shown: str
    given_as: str

    def __call__(self, why: str) -> ForbiddenURL:
        return ForbiddenURL(
            f"{self.given_as} from {self.peer} is not followed, {why}: {self.shown}", peer=self.peer
        )


def same_host(one: URL, other: URL) -> bool:
    """Tell whether two URLs lead to one host, whatever the port."""
    return _host(one) == _host(other)


def _may(giver: Reach | None, target: Reach) -> bool:
    """Tell whether a peer at `giver` may send us to `target`."""
    if giver is None or target is Reach.PUBLIC:
        return True
    return giver is not Reach.LINK_LOCAL and target is not Reach.LINK_LOCAL and giver <= target


def _reach(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Reach:
    if ip.is_loopback or ip.is_unspecified or (ip.version == 4 and ip in _UNSPECIFIED_V4):
        return Reach.LOOPBACK  # connecting to 0.0.0.0 reaches this machine
    if ip.is_link_local:
        return Reach.LINK_LOCAL
    return Reach.PUBLIC if ip.is_global and not ip.is_multicast else Reach.PRIVATE


def _unwrapped(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the IPv4 address that an IPv6 one stands for: mapped, 6to4, Teredo, NAT64."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else ip)


def _host(url: URL) -> str:
    return (url.raw_host or "").rstrip(".").lower()


def _origin(url: URL) -> tuple[str, str, int | None]:
    return url.scheme, _host(url), url.port


def _without_user(url: URL) -> URL:
    """Drop user information: a peer does not get to choose credentials."""
    if url.raw_user is None and url.raw_password is None:
        return url
    text = str(url)
    scheme, _, rest = text.partition("://")
    authority, slash, path = rest.partition("/")
    return URL(f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}", encoded=True)
