"""The access log: one line of JSON per request on standard output.

    {"time":"2026-01-02T03:04:05.678Z","remote":"127.0.0.1","method":"GET","path":"/v2/a/tags/list","status":200,
     "received":0,"sent":31,"milliseconds":0.4,"agent":"curl/8.5.0","trace":"0af7651916cd43dd8448eb211c80319c"}

Lines are gathered, and written by a thread of their own every 100 ms or 64 KiB, so that a slow reader of the log does
not stop the registry; what it has not taken when 4 MiB are waiting is dropped, and counted in the log. Several
worker processes write to the same pipe: a write of at most 4,096 bytes is not torn apart there (`PIPE_BUF`), so
writes are of whole lines and no longer than that.

No secret gets in: of the query only the parameters that the registry knows are written, of the headers two.
"""

from __future__ import annotations

import asyncio
import os
import select
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from entrepot.server.requests import Request

__all__ = ["AccessLog", "Line"]

FLUSH_SECONDS: Final = 0.1
FLUSH_BYTES: Final = 64 * 1024
MAX_WAITING_BYTES: Final = 4 * 1024 * 1024
MAX_WRITE_BYTES: Final = 4_096
_MAX_PATH: Final = 1_024
_MAX_AGENT: Final = 256
_TRACEPARENT_BYTES: Final = 55
_SHOWN: Final = frozenset(
    {b"artifactType", b"digest", b"digest-algorithm", b"from", b"last", b"mount", b"n", b"ns", b"tag"}
)


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request, as it is logged."""

    time: str
    remote: str
    method: str
    path: str
    status: int
    received: int
    sent: int
    milliseconds: float
    agent: str = ""
    trace: str = ""
    aborted: bool = False


class AccessLog:
    """Writes a line for each request.

    Args:
        descriptor: The file to write to.
    """

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor
        self._lines: list[bytes] = []
        self._bytes = 0
        self._waiting = 0
        self._dropped = 0
        self._timer: asyncio.TimerHandle | None = None
        self._encoder = msgspec.json.Encoder()
        self._second = (0, "")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="access-log")

    def write(
        self, request: Request, remote: str, *, status: int, sent: int, seconds: float, aborted: bool = False
    ) -> None:
        """Note a request that has been answered."""
        scope, headers = request.scope, request.headers
        line = self._encoder.encode(
            Line(
                self._now(),
                remote,
                scope["method"],
                _path(scope["raw_path"], scope["query_string"]),
                status,
                request.received,
                sent,
                round(seconds * 1_000, 2),
                _text(headers.get(b"user-agent", b""), _MAX_AGENT),
                _trace(headers.get(b"traceparent", b"")),
                aborted,
            )
        )
        self._lines.append(line)
        self._bytes += len(line) + 1
        if self._bytes >= FLUSH_BYTES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Hand what was gathered to the thread that writes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, size = self._lines, self._bytes
        self._lines, self._bytes = [], 0
        if not lines:
            return
        if self._waiting + size > MAX_WAITING_BYTES:
            self._dropped += len(lines)
            return
        if self._dropped:
            lines.append(self._encoder.encode({"time": self._now(), "dropped": self._dropped}))
            self._dropped = 0
        self._waiting += size
        self._thread.submit(self._write, lines, size)

    def close(self) -> None:
        """Write what is left; returns when it is written."""
        self.flush()
        self._thread.shutdown()

    def _write(self, lines: list[bytes], size: int) -> None:
        try:
            for block in _blocks(lines):
                self._write_block(block)
        finally:
            self._waiting -= size

    def _write_block(self, block: bytes) -> None:
        while block:
            try:
                block = block[os.write(self._descriptor, block) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [])
            except OSError:
                return  # nobody reads the log any more, which is no reason not to serve

    def _now(self) -> str:
        now = time.time()
        second = int(now)
        if second != self._second[0]:
            self._second = (second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)))
        return f"{self._second[1]}.{int((now - second) * 1_000):03d}Z"


def _blocks(lines: list[bytes]) -> list[bytes]:
    """Join lines into blocks that a pipe takes in one piece."""
    blocks, block = [], bytearray()
    for line in lines:
        if block and len(block) + len(line) + 1 > MAX_WRITE_BYTES:
            blocks.append(bytes(block))
            block.clear()
        block += line
        block += b"\n"
    return [*blocks, bytes(block)]


def _path(raw_path: bytes, query: bytes) -> str:
    path = _text(raw_path, _MAX_PATH)
    return f"{path}?{_text(_shown(query), _MAX_PATH)}" if query else path


def _shown(query: bytes) -> bytes:
    """Return the query with the values of unknown parameters withheld."""
    pairs = (pair.partition(b"=") for pair in query.split(b"&"))
    return b"&".join(b"%b=%b" % (key, value if key in _SHOWN else b"-") for key, _, value in pairs)


def _text(value: bytes, most: int) -> str:
    return value[:most].decode("ascii", "backslashreplace")


def _trace(traceparent: bytes) -> str:
    """Return the trace id of a `traceparent` header (W3C Trace Context), nothing if it is malformed."""
    if len(traceparent) != _TRACEPARENT_BYTES or not traceparent[3:35].isalnum():
        return ""
    return traceparent[3:35].decode("ascii", "replace")
