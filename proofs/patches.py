"""An upload in a thousand PATCHes over a thousand connections and two workers is read back once, not each time."""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict, dataclass
from http import HTTPStatus

from bench.servers import Server

from proofs.claims import Claim, Control, Finding, Trial, at_least, at_most
from proofs.connection import Connection
from proofs.process import bytes_read, bytes_written
from proofs.repository import Repository, Upload, require, require_blob
from proofs.server import connections_to_each_worker, registry
from proofs.stream import MIB, Stream

__all__ = ["run"]

READ_FACTOR = 2.3
TIME_FACTOR = 3.0
LEAST_SHARE = 0.1

_FULL = 1024
_QUICK = 128
_CONTROL = 128
_CHUNK_BYTES = MIB
_REPOSITORY = "proof/patches"


@dataclass(frozen=True)
class Push:
    """What one upload cost.

    Attributes:
        seconds: From the POST to the 201.
        read: Bytes that the server's processes have read by read and its kin.
        shares: The part of all written bytes that each process has written.
    """

    seconds: float
    read: int
    shares: list[float]


def run(trial: Trial) -> Finding:
    """Push the same amount over one connection and over one for each PATCH; then on a server that reads again."""
    count = _QUICK if trial.quick else _FULL
    place = trial.place("right")
    with registry(place) as server:
        _warm_up(server)
        one = _push(server, Stream(f"{trial.seed} one", count * _CHUNK_BYTES), reconnecting=False)
        many = _push(server, Stream(f"{trial.seed} many", count * _CHUNK_BYTES), reconnecting=True)
    shutil.rmtree(place)
    wrong_place = trial.place("wrong")
    with registry(wrong_place, wrong="rereading") as server:
        _warm_up(server)
        wrong = _push(server, Stream(f"{trial.seed} wrong", _CONTROL * _CHUNK_BYTES), reconnecting=True)
    return Finding(
        claims=[
            _read_claim(many, count),
            at_most(
                f"{count} connections, seconds as a multiple of one connection's",
                many.seconds / one.seconds,
                TIME_FACTOR,
            ),
            at_least("each worker has written a part of it", min(many.shares), LEAST_SHARE),
        ],
        controls=[
            Control(
                "a registry that hashes from the first byte again for each PATCH",
                [_read_claim(wrong, _CONTROL)],
            )
        ],
        samples={
            "one_connection": asdict(one),
            "a_connection_each": asdict(many),
            "control": asdict(wrong),
        },
        conditions=f"{count} PATCHes of 1 MiB, an empty PUT; 2 workers; root on tmpfs; rchar over the process tree",
    )


def _read_claim(push: Push, count: int) -> Claim:
    return at_most(
        "bytes read, as a multiple of the blob's size", push.read / (count * _CHUNK_BYTES), READ_FACTOR
    )


def _push(server: Server, blob: Stream, *, reconnecting: bool) -> Push:
    """Upload in chunks, and check the bytes afterwards, outside of what is measured."""
    digest = blob.digest
    read, written = bytes_read(server.pid), bytes_written(server.pid)
    started = time.perf_counter()
    with Connection(server.address, timeout=120) as connection:
        upload = Repository(connection, _REPOSITORY).begin()
        if not reconnecting:
            _patch_all(connection, upload, blob)
        else:
            _patch_each(server, upload, blob)
    with Connection(server.address, timeout=600) as connection:
        answer = Repository(connection, _REPOSITORY).complete(upload, digest)
    seconds = time.perf_counter() - started
    require(answer, HTTPStatus.CREATED, f"PUT after {blob.size} bytes")
    cost = Push(round(seconds, 3), bytes_read(server.pid) - read, _shares(written, bytes_written(server.pid)))
    _require_stored(server, blob)
    return cost


def _patch_all(connection: Connection, upload: Upload, blob: Stream) -> None:
    repository, start = Repository(connection, _REPOSITORY), 0
    for chunk in blob.pieces():
        _require_accepted(repository, upload, chunk, start)
        start += len(chunk)


def _patch_each(server: Server, upload: Upload, blob: Stream) -> None:
    start = 0
    for chunk in blob.pieces():
        with Connection(server.address, timeout=120) as connection:
            _require_accepted(Repository(connection, _REPOSITORY), upload, chunk, start)
        start += len(chunk)


def _require_accepted(repository: Repository, upload: Upload, chunk: memoryview, start: int) -> None:
    answer = repository.patch(upload, chunk, start=start)
    require(answer, HTTPStatus.ACCEPTED, f"PATCH at {start}")


def _shares(before: dict[int, int], after: dict[int, int]) -> list[float]:
    """Return what part of the bytes each of the two busiest processes has written."""
    written = sorted(count - before.get(process, 0) for process, count in after.items())
    return [round(count / sum(written), 3) for count in written[-2:]]


def _warm_up(server: Server) -> None:
    """Wait until both workers take connections, and have them do once what will be measured."""
    for connection in connections_to_each_worker(server).values():
        with connection:
            Repository(connection, _REPOSITORY).push_blob(b"warm")


def _require_stored(server: Server, blob: Stream) -> None:
    with Connection(server.address, timeout=600) as connection:
        require_blob(Repository(connection, _REPOSITORY), blob.digest)
