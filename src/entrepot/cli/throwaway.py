"""A registry of one's own for a while: a process that is started, waited for and stopped."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from entrepot.errors import StoreError

__all__ = ["ThrowawayRegistry"]

_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.05


class ThrowawayRegistry:
    """Runs `entrepot serve` on a free port of this machine. A context manager; has answered when it is entered.

    Args:
        root: Where the registry keeps everything.
        keep: Leave it running unless something goes wrong.
    """

    def __init__(self, root: Path, *, keep: bool = False) -> None:
        self.root = root
        self._keep = keep
        self._log = root.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def host(self) -> str:
        """Return `host:port`, as references name it."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Return the number of the process that ends the registry when it is ended."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        self.port = _free_port()
        command = [sys.executable, "-m", "entrepot", "serve", "--root", str(self.root), "--listen", self.host]
        with self._log.open("wb") as log:
            # a session of its own: Ctrl-C is for us, and we end it
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait(self._process)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        if error is not None or not self._keep:
            self._stop()
        else:
            # it outlives us, so nobody is to miss that we have not waited for it
            self._process.returncode = 0

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until it listens.

        Raises:
            StoreError: It ended, or took too long.
        """
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise StoreError(f"the registry did not start: {self._last_words()}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(_POLL_SECONDS)
        raise StoreError(f"the registry did not listen within {_START_SECONDS:.0f} s: {self._last_words()}")

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return next((line for line in reversed(lines) if line.strip()), "it said nothing")

    def _stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port
