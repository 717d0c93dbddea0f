"""Memory does not grow with the size of a blob, nor much with the number of clients that do not read.

The figures are PSS: what each process of a tree has mapped, shared pages counted once, sampled every 20 ms.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from bench.images import OCI_CONFIG, OCI_MANIFEST
from bench.processes import poll
from bench.programs import beside_python
from bench.servers import Server

from proofs.claims import Claim, Control, Finding, Trial, at_most
from proofs.connection import Connection
from proofs.process import (
    MemoryWatch,
    command_memory,
    idle_memory,
    proportional_memory,
    wait_until_steady,
)
from proofs.repository import Repository, WrongAnswerError, digest_of, require, require_blob
from proofs.server import registry
from proofs.stream import MIB, Stream

__all__ = ["run"]

ALIKE_MIB = 16
OVER_IDLE_MIB = 150
CLIENT_MIB = 150
READER_MIB = 1.0
READER_BLOB_MIB = 100

_LAYER = "application/vnd.oci.image.layer.v1.tar"
_REPOSITORY = "proof/memory"
_TINY_BUFFER = 4096
_BUFFERING_CLIENT = "import hashlib, sys; data = open(sys.argv[1], 'rb').read(); hashlib.sha256(data)"


@dataclass(frozen=True)
class Sizes:
    """How much is moved: mebibytes of a small and a big blob, and how many readers stall."""

    small: int
    big: int
    readers: int


FULL = Sizes(small=256, big=2048, readers=500)
QUICK = Sizes(small=64, big=512, readers=200)
CONTROL = Sizes(small=64, big=512, readers=10)


def run(trial: Trial) -> Finding:
    """Measure the server and the client with a small and a big blob, then the stalled readers, then the control."""
    sizes = QUICK if trial.quick else FULL
    server = {size: _server_memory(trial, size) for size in (sizes.small, sizes.big)}
    client = {size: _client_memory(trial, size) for size in (sizes.small, sizes.big)}
    readers = _reader_memory(trial, sizes.readers)
    wrong = {size: _server_memory(trial, size, wrong="in_memory") for size in (CONTROL.small, CONTROL.big)}
    wrong_readers = _reader_memory(trial, CONTROL.readers, wrong="in_memory")
    wrong_client = {CONTROL.big: _buffering_client_memory(trial, CONTROL.big)}
    return Finding(
        claims=[
            *_server_claims(server, sizes),
            *_client_claims(client),
            _reader_claim(readers, sizes.readers),
        ],
        controls=[
            Control(
                "a registry that reads a whole body before it does anything, and sends it in one piece",
                [*_server_claims(wrong, CONTROL), _reader_claim(wrong_readers, CONTROL.readers)],
            ),
            Control("a program that reads a whole blob in the client's place", _client_claims(wrong_client)),
        ],
        samples={
            "server_mib": server,
            "client_mib": client,
            "readers_mib": readers,
            "control_server_mib": wrong,
            "control_readers_mib": wrong_readers,
            "control_client_mib": wrong_client,
        },
        conditions="a new server for each size; 2 workers; root on tmpfs; PSS over the process tree, every 20 ms",
    )


def _server_claims(found: dict[int, dict[str, float]], sizes: Sizes) -> list[Claim]:
    small, big = found[sizes.small], found[sizes.big]
    claims = []
    for way in ("up", "down"):
        apart = abs(big[way] - small[way])
        what = f"server, peak with {sizes.big} MiB {way} against {sizes.small} MiB, MiB apart"
        claims.append(at_most(what, apart, ALIKE_MIB))
        above = max(figures[way] - figures["idle"] for figures in found.values())
        claims.append(at_most(f"server, peak {way} over idle, MiB", above, OVER_IDLE_MIB))
    return claims


def _client_claims(found: dict[int, dict[str, float]]) -> list[Claim]:
    ways = next(iter(found.values()))
    return [
        at_most(f"client, peak of {way}, MiB", max(figures[way] for figures in found.values()), CLIENT_MIB)
        for way in ways
    ]


def _reader_claim(found: dict[str, float], readers: int) -> Claim:
    added = (found["peak"] - found["idle"]) / readers
    return at_most(f"server, each of {readers} readers that do not read, MiB", added, READER_MIB)


def _server_memory(trial: Trial, size: int, *, wrong: str | None = None) -> dict[str, float]:
    """Move one blob up and down; the peaks of the server at rest, up and down, in MiB."""
    place = trial.place(f"server-{size}-{wrong or 'right'}")
    blob = Stream(f"{trial.seed} server {size}", size * MIB)
    with registry(place, wrong=wrong, workers=1 if wrong else 2) as server:
        idle = idle_memory(server.pid)
        with Connection(server.address, timeout=600) as connection:
            repository = Repository(connection, _REPOSITORY)
            up = _peak(server.pid, lambda: _upload(repository, blob))
        with Connection(server.address, timeout=600) as connection:
            repository = Repository(connection, _REPOSITORY)
            down = _peak(server.pid, lambda: require_blob(repository, blob.digest))
    shutil.rmtree(place)
    return {"idle": _mib(idle), "up": _mib(up), "down": _mib(down)}


def _upload(repository: Repository, blob: Stream) -> None:
    """Push a blob as POST and one PUT. Its digest is known before, so that the server sees one long stream."""
    digest = blob.digest
    answer = repository.complete(repository.begin(), digest, blob.pieces(), length=blob.size)
    require(answer, HTTPStatus.CREATED, f"PUT of {blob.size} bytes")


def _peak(pid: int, work: Callable[[], None]) -> int:
    with MemoryWatch(pid) as watch:
        work()
    return watch.peak


def _client_memory(trial: Trial, size: int) -> dict[str, float]:
    """Copy an image with one big layer from a layout to the registry and pull it; the client's peaks in MiB."""
    place = trial.place(f"client-{size}")
    layout, store = place / "layout", place / "store"
    blob = Stream(f"{trial.seed} client {size}", size * MIB)
    digest = _write_layout(layout, blob)
    with registry(place) as server:
        reference = f"{server.address}/{_REPOSITORY}:big"
        peaks = {
            "copy": _command_peak(["copy", f"oci:{layout}:big", reference]),
            "pull": 0.0,
        }
        shutil.rmtree(layout)
        peaks["pull"] = _command_peak(["pull", "--all-platforms", "--store", str(store), reference])
        _require_pulled(store, digest, blob)
    shutil.rmtree(place)
    return peaks


def _command_peak(arguments: list[str]) -> float:
    return _mib(command_memory([beside_python("entrepot"), *arguments]))


def _buffering_client_memory(trial: Trial, size: int) -> dict[str, float]:
    """Measure, in the client's place, a program that reads its blob before it does anything with it."""
    file = trial.directory / "blob"
    with file.open("wb") as output:
        for piece in Stream(f"{trial.seed} control", size * MIB).pieces():
            output.write(piece)
    peak = command_memory([sys.executable, "-c", _BUFFERING_CLIENT, str(file)])
    file.unlink()
    return {"reading": _mib(peak)}


def _write_layout(directory: Path, blob: Stream) -> str:
    """Write a layout that holds an image of one layer, without holding it; the digest of its manifest."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    with (blobs / blob.digest.removeprefix("sha256:")).open("wb") as file:
        for piece in blob.pieces():
            file.write(piece)
    config = json.dumps(
        {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [blob.digest]}}
    ).encode()
    layer = {"mediaType": _LAYER, "digest": blob.digest, "size": blob.size}
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _describe(OCI_CONFIG, config),
        "layers": [layer],
    }
    manifest = json.dumps(document).encode()
    for data in (config, manifest):
        (blobs / digest_of(data).removeprefix("sha256:")).write_bytes(data)
    name = {"org.opencontainers.image.ref.name": "big"}
    entry = {**_describe(OCI_MANIFEST, manifest), "annotations": name}
    (directory / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return digest_of(manifest)


def _describe(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


def _require_pulled(store: Path, manifest: str, blob: Stream) -> None:
    for digest in (manifest, blob.digest):
        path = store / "blobs" / "sha256" / digest.removeprefix("sha256:")
        if not path.exists():
            raise WrongAnswerError(f"pulled, and not in the image store: {path}")


def _reader_memory(trial: Trial, readers: int, *, wrong: str | None = None) -> dict[str, float]:
    """Let clients ask for a blob and never read; the server's memory before and its peak, in MiB."""
    place = trial.place(f"readers-{wrong or 'right'}")
    blob = Stream(f"{trial.seed} readers", READER_BLOB_MIB * MIB)
    with registry(place, wrong=wrong, workers=1 if wrong else 2) as server:
        with Connection(server.address, timeout=600) as connection:
            repository = Repository(connection, _REPOSITORY)
            _upload(repository, blob)
            require_blob(repository, blob.digest)
        idle = idle_memory(server.pid)
        with contextlib.ExitStack() as open_connections, MemoryWatch(server.pid) as watch:
            stalled = [
                open_connections.enter_context(Connection(server.address, receive_buffer=_TINY_BUFFER))
                for _ in range(readers)
            ]
            _ask(stalled, f"/v2/{_REPOSITORY}/blobs/{blob.digest}")
            _let_settle(server)
    shutil.rmtree(place)
    return {"idle": _mib(idle), "peak": _mib(watch.peak)}


def _ask(stalled: list[Connection], target: str) -> None:
    """Ask for a blob on each connection and see each answer begin, without reading any of it."""
    for connection in stalled:
        connection.send_head("GET", target)
    waiting = list(stalled)

    def all_answered() -> bool:
        waiting[:] = [one for one in waiting if not one.answers_begin(b"HTTP/1.1 200")]
        return not waiting

    if not poll(all_answered, seconds=60):
        raise WrongAnswerError(f"{len(waiting)} of {len(stalled)} readers got no answer in 60 s")


def _let_settle(server: Server) -> None:
    """Wait until the server's memory has not risen for two seconds."""
    wait_until_steady(lambda: proportional_memory(server.pid), tolerance=MIB, quiet_seconds=2, seconds=60)


def _mib(count: float) -> float:
    return round(count / MIB, 2)
