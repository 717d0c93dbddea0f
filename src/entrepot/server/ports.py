"""The address to listen at: free, held, and if not free, by whom it is taken.

Every worker binds the port for itself with SO_REUSEPORT, which would also let a second registry bind it and take half
of the requests. So the main process first binds without that option, to be told when somebody is there, and then keeps
a socket of its own bound, which never listens: port 0 becomes a number that everybody can be told, and stays ours
while workers come and go.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from entrepot.errors import ConfigError, StoreError

__all__ = ["Address", "hold"]

_LISTENING = "0A"  # TCP_LISTEN in /proc/net/tcp


class Address(NamedTuple):
    """Where a registry listens: an IP address and a port."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Return where clients reach it; the wildcard address is reached as localhost, among others."""
        host = {"0.0.0.0": "localhost", "::": "localhost"}.get(self.host, self.host)  # noqa: S104 - only compared
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


@contextmanager
def hold(host: str, port: int) -> Iterator[Address]:
    """Keep an address for this process and its workers.

    Raises:
        ConfigError: The host has no address, or not on this machine, or the port may not be used.
        StoreError: Somebody listens there already; says who, if that can be found out.
    """
    family, address = _resolve(host, port)
    with _bound(family, address, socket.SO_REUSEADDR) as probe:
        number: int = probe.getsockname()[1]
    with _bound(family, (address[0], number), socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        yield Address(str(address[0]), number)


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigError([f"http.listen: {error.strerror or error}: {host!r}"]) from None
    family, _, _, _, address = found[0]
    return family, (str(address[0]), port)


def _bound(family: socket.AddressFamily, address: tuple[str, int], *options: int) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in options:
            bound.setsockopt(socket.SOL_SOCKET, option, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind(address)
    except OSError as error:
        bound.close()
        where = f"{address[0]}:{address[1]}"
        if error.errno == errno.EADDRINUSE:
            raise StoreError(
                f"{where} is in use by {_holder(address[1]) or 'another program'}",
                hint="stop it, or give --listen HOST:PORT; port 0 takes any that is free",
            ) from None
        raise ConfigError([f"http.listen: {error.strerror}: {where}"]) from None
    return bound


def _holder(port: int) -> str | None:
    """Return the process that listens at a port, None if it is another user's or cannot be found."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for process in Path("/proc").glob("[0-9]*"):
        if sockets.intersection(_descriptors(process)):
            command = (
                (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
            )
            return f"process {process.name} ({command[:200]})"
    return None


def _descriptors(process: Path) -> Iterator[str]:
    """Yield what a process has open, as far as we may look and it does not close it meanwhile."""
    try:
        for descriptor in (process / "fd").iterdir():
            with suppress(FileNotFoundError):
                yield str(descriptor.readlink())
    except OSError:
        return


def _listening(port: int) -> Iterator[str]:
    """Yield the inodes of sockets that listen at a port, whatever the address."""
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        try:
            lines = table.read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]
