"""A repository on a registry is a store: our client against our server, over a real socket."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from entrepot.reference import Reference
from entrepot.remote import Remote, RemoteOptions, UploadMode
from entrepot.remote.repository import RemoteRepository
from entrepot.testing import PROMISES, Elsewhere, check_store

_SERVES = re.compile(r" at http://(127\.0\.0\.1):([0-9]+)")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run `entrepot serve` on a free port, and give its host."""
    directory = tmp_path_factory.mktemp("registry")
    errors = directory / "errors"
    root = str(directory / "data")
    command = [sys.executable, "-m", "entrepot", "serve", "--root", root, "--listen", "127.0.0.1:0"]
    with (directory / "access.log").open("wb") as log, errors.open("wb") as err:
        process = subprocess.Popen(command, stdout=log, stderr=err)
    try:
        yield _host(process, errors)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def _host(process: subprocess.Popen[bytes], errors: Path) -> str:
    """Return where the registry listens, once it does."""
    deadline = time.monotonic() + 30
    while True:
        serves = _SERVES.search(errors.read_text())
        if serves is not None:
            with suppress(ConnectionRefusedError):
                socket.create_connection((serves[1], int(serves[2]))).close()
                return f"{serves[1]}:{serves[2]}"
        assert process.poll() is None, errors.read_text()
        assert time.monotonic() < deadline, errors.read_text()
        time.sleep(0.01)


@asynccontextmanager
async def open_remote(reference: str, mode: str) -> AsyncIterator[RemoteRepository]:
    options = RemoteOptions(upload=UploadMode(mode), chunk_bytes=1 << 20)
    async with Remote.connect(options, environ={}) as remote:
        yield remote.repository(Reference.parse(reference))


@pytest.mark.anyio
@pytest.mark.parametrize("mode", [str(mode) for mode in UploadMode])
async def test_a_remote_repository_keeps_every_promise_of_a_store(registry: str, mode: str) -> None:
    """Everything that store.py promises holds across the network, in each way to push."""
    reference = f"{registry}/check/{mode}"

    report = await check_store(
        partial(open_remote, reference, mode),
        elsewhere=Elsewhere(f"{__file__}:open_remote", [reference, mode]),
    )

    assert report.kept == tuple(promise.name for promise in PROMISES)
