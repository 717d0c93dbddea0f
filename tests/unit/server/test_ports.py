"""The port: held, told, and refused with the name of who has it."""

from __future__ import annotations

import os
import socket

import pytest

from entrepot.errors import ConfigError, StoreError
from entrepot.server.ports import Address, hold


def test_any_port():
    """Port 0 becomes a number that workers can share and nobody else can take."""
    with hold("127.0.0.1", 0) as address:
        assert address.host == "127.0.0.1"
        assert address.port > 0
        with socket.socket() as worker:
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            worker.bind(address)
            worker.listen()
            socket.create_connection(address).close()
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(address)


def test_port_in_use():
    """Who listens at a port is named, with its command."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(StoreError, match=f"127.0.0.1:{port} is in use by process {os.getpid()} .*python"),
            hold("127.0.0.1", port),
        ):
            pass


def test_port_shared_with_others():
    """A port whose listener would share it is in use all the same."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(StoreError, match="in use"), hold("127.0.0.1", taken.getsockname()[1]):
            pass


def test_port_just_left():
    """A port can be taken again at once, although the kernel remembers its connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        client = socket.create_connection(address)
        accepted, _ = server.accept()
        accepted.close()
        client.close()
    with hold(*address):
        pass


@pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid"])
def test_host_that_is_not_here(host):
    """An address that this machine does not have is refused by name."""
    with pytest.raises(ConfigError, match=host), hold(host, 0):
        pass


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (Address("127.0.0.1", 1), "http://127.0.0.1:1"),
        (Address("::1", 1), "http://[::1]:1"),
        (Address("0.0.0.0", 1), "http://localhost:1"),
        (Address("::", 1), "http://localhost:1"),
    ],
)
def test_url(address, url):
    """The address as one would type it."""
    assert address.url == url
