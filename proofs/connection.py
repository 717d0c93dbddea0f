"""HTTP by hand: a request is sent in as many steps as the proof wants, and may be left unfinished."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import socket
import struct
import termios
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from bench.processes import poll

__all__ = ["Answer", "Connection", "Gone"]

_READ_BYTES = 2**20
_NO_LINGER = struct.pack("ii", 1, 0)

Gone = (OSError, http.client.HTTPException)
"""What is raised when a server dies in the middle of a conversation."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; names of headers are in lower case.

    Attributes:
        digest: Of the body, which is not kept when it was only hashed.
        length: Of the body in bytes.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    digest: str
    length: int


class Connection:
    """One connection to a server at `host:port`.

    Args:
        address: Of the server.
        receive_buffer: How many bytes the kernel may take for us before we read; None for its own choice.
        timeout: In seconds, for each step.
    """

    def __init__(self, address: str, *, receive_buffer: int | None = None, timeout: float = 60) -> None:
        host, port = address.rsplit(":", 1)
        self.address = address
        self._method = "GET"
        self._socket = socket.socket()
        self._socket.settimeout(timeout)
        if receive_buffer is not None:
            # before connecting: the window is agreed on then
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self._socket.connect((host, int(port)))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """Our end's port, by which the server's end can be found."""
        return int(self._socket.getsockname()[1])

    def request(
        self,
        method: str,
        target: str,
        *,
        body: bytes | memoryview = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a whole request and read the whole answer."""
        self.send_head(method, target, length=len(body), headers=headers)
        if body:
            self.send(body)
        return self.answer()

    def send_head(
        self,
        method: str,
        target: str,
        *,
        length: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send a request up to its body, of which `length` bytes are announced."""
        self._method = method
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.address}"]
        if length or method not in {"GET", "HEAD", "DELETE"}:
            lines.append(f"Content-Length: {length or 0}")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    def send(self, data: bytes | memoryview) -> None:
        """Send bytes of a body."""
        self._socket.sendall(data)

    def send_all(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Send a body, piece by piece."""
        for piece in pieces:
            self._socket.sendall(piece)

    def answer(self, *, keep_body: bool = True) -> Answer:
        """Read an answer to its end; with `keep_body` off, its body is hashed and dropped."""
        response = http.client.HTTPResponse(self._socket, method=self._method)
        try:
            response.begin()
            kept, seen, length = bytearray(), hashlib.sha256(), 0
            buffer = memoryview(bytearray(_READ_BYTES if not keep_body else 64 * 1024))
            while count := response.readinto(buffer):
                seen.update(buffer[:count])
                length += count
                if keep_body:
                    kept += buffer[:count]
            if response.length:
                raise http.client.IncompleteRead(bytes(kept[:64]), response.length)
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, bytes(kept), f"sha256:{seen.hexdigest()}", length)
        finally:
            response.close()

    def answers_begin(self, wanted: bytes) -> bool:
        """Whether the answer's first bytes have come, without taking them; the reader has read nothing then."""
        try:
            return self._socket.recv(len(wanted), socket.MSG_PEEK | socket.MSG_DONTWAIT) == wanted
        except BlockingIOError:
            return False

    def wait_until_delivered(self, *, seconds: float) -> bool:
        """Wait until the peer's kernel has acknowledged everything that was sent."""
        return poll(lambda: self._unsent() == 0, seconds=seconds)

    def reset(self) -> None:
        """Break the connection off with a reset, as a crashed host or a firewall would."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._socket.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _unsent(self) -> int:
        count: int = struct.unpack("i", fcntl.ioctl(self._socket, termios.TIOCOUTQ, b"\0" * 4))[0]
        return count
