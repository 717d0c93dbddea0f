"""Load on a server, from generators that are faster than it: wrk for requests, sendfile for uploads."""

import hashlib
import http.client
import os
import re
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from bench.images import ALL_MANIFESTS, request, upload_target
from bench.processes import output_of
from bench.programs import program

MIB = 2**20
CONNECTIONS = 16
WARM_UP_SECONDS = 1


class WrongAnswerError(Exception):
    """A server under load did not do what was asked: its figure means nothing."""


@dataclass(frozen=True)
class RequestRate:
    """What wrk counted, the warm-up's requests included in the count but not in the rate."""

    per_second: float
    requests: int


def manifest_rate(address: str, target: str, *, seconds: int) -> RequestRate:
    """GET one manifest over 16 connections, as fast as the server answers; every answer must be a 200."""
    warm_up, _ = _wrk(address, target, seconds=WARM_UP_SECONDS)
    requests, per_second = _wrk(address, target, seconds=seconds)
    return RequestRate(per_second, warm_up + requests)


def _wrk(address: str, target: str, *, seconds: int) -> tuple[int, float]:
    command = [program("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-H", f"Accept: {ALL_MANIFESTS}"]
    report = output_of([*command, f"http://{address}{target}"], seconds=seconds + 30)
    if "Non-2xx" in report or "Socket errors" in report:
        raise WrongAnswerError(report)
    requests = re.search(r"(\d+) requests in", report)
    per_second = re.search(r"Requests/sec:\s+([\d.]+)", report)
    if requests is None or per_second is None:
        raise WrongAnswerError(report)
    return int(requests.group(1)), float(per_second.group(1))


@dataclass(frozen=True)
class BigBlob:
    """A file on tmpfs that is uploaded again and again, never twice with the same bytes."""

    path: Path
    size: int

    @classmethod
    def create(cls, path: Path, size: int) -> "BigBlob":
        """Fill the file with what no server can compress or guess."""
        with path.open("wb") as file:
            for _ in range(size // MIB):
                file.write(os.urandom(MIB))
        return cls(path, size)

    def renew(self) -> str:
        """Change the first bytes; the new digest."""
        with self.path.open("r+b") as file:
            file.write(os.urandom(32))
        with self.path.open("rb") as file:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def upload_rate(address: str, repository: str, blob: BigBlob) -> float:
    """Upload the blob as POST and one PUT: MiB per second, from the POST to the 201."""
    digest = blob.renew()
    started = time.perf_counter()
    target = upload_target(address, repository, digest)
    status_line = _put_file(address, target, blob)
    elapsed = time.perf_counter() - started
    if b" 201 " not in status_line:
        raise WrongAnswerError(f"PUT {target} on {address}: {status_line!r}")
    _check_stored(address, repository, digest, blob.size)
    return blob.size / MIB / elapsed


def sink_rate(blob: BigBlob) -> float:
    """Send the blob to a reader that throws it away: MiB per second, the most that we can generate."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reader = threading.Thread(target=_swallow, args=(listener,))
        reader.start()
        started = time.perf_counter()
        _put_file(f"127.0.0.1:{listener.getsockname()[1]}", "/", blob)
        elapsed = time.perf_counter() - started
        reader.join()
    return blob.size / MIB / elapsed


def _put_file(address: str, target: str, blob: BigBlob) -> bytes:
    """PUT a file without copying it through this process; the answer's first line."""
    host, port = address.split(":")
    head = f"PUT {target} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {blob.size}\r\n"
    head += "Content-Type: application/octet-stream\r\nConnection: close\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=120) as connection, blob.path.open("rb") as file:
        connection.sendall(head.encode())
        connection.sendfile(file)
        with connection.makefile("rb") as answer:
            return answer.readline()


def _swallow(listener: socket.socket) -> None:
    """Read one request to its declared end, keep nothing, answer 201."""
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as received:
        length = 0
        while (line := received.readline()) != b"\r\n":
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        buffer = memoryview(bytearray(MIB))
        while length > 0:
            length -= received.readinto(buffer[: min(length, MIB)])
        connection.sendall(b"HTTP/1.1 201 Created\r\n\r\n")


def _check_stored(address: str, repository: str, digest: str, size: int) -> None:
    status, headers, _ = request(address, "HEAD", f"/v2/{repository}/blobs/{digest}")
    if status != http.client.OK or int(headers["content-length"]) != size:
        raise WrongAnswerError(f"{address} acknowledged {digest} and answers HEAD with {status} {headers}")
