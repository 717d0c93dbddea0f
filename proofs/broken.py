"""Registries with one thing wrong, for the controls: `python -m proofs.broken NAME --root DIR --listen HOST:PORT`.

Each is a factory that the runner imports by name in its workers, as it imports the real one. Nothing of the product
knows of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import os
from pathlib import Path

from entrepot.server.config import Settings, load
from entrepot.server.worker import PARENT_VARIABLE, SETTINGS_VARIABLE, Worker
from entrepot.storage import layout, uploads
from entrepot.storage.content import UploadId
from entrepot.storage.hashes import HashState, HashStates
from entrepot.storage.preparation import prepare
from entrepot.storage.settings import StorageSettings
from proofs.inmemory import InMemory

__all__ = ["WRONG", "in_memory", "not_durable", "rereading"]

WRONG = ("in_memory", "not_durable", "rereading")

_READ_BYTES = 2**20


def in_memory() -> InMemory:
    """Hold whole bodies, and keep everything in memory only."""
    return InMemory()


class _NotDurable(Settings, frozen=True):
    """Settings that leave out every fsync."""

    def for_storage(self) -> StorageSettings:
        """Return the storage's settings, not durable."""
        return dataclasses.replace(super().for_storage(), durable=False)


def not_durable() -> Worker:
    """Acknowledge what a power cut takes away."""
    return Worker(_NotDurable.from_json(os.environ[SETTINGS_VARIABLE]), parent=_parent())


class _RereadingStates(HashStates):
    """Hashes all that there is of an upload before each request, as one must who cannot do without a state.

    Args:
        directory: Has the files of the uploads.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory

    def take(self, upload: UploadId, algorithm: str) -> HashState:
        """Return a state of the whole file, which whoever asks has locked."""
        state = super().take(upload, algorithm)
        with (self._directory / upload).open("rb") as file:
            while piece := file.read(_READ_BYTES):
                state.update(piece)
        return state

    def give_back(self, upload: UploadId, state: HashState) -> None:
        """Forget the state: the next request may come to another worker."""


def rereading() -> Worker:
    """Read an upload from its beginning again for every PATCH."""
    settings = Settings.from_json(os.environ[SETTINGS_VARIABLE])
    directory = settings.for_storage().root / layout.UPLOADS
    # `Uploads` makes its states itself; nothing but this worker of the control sees the other ones
    vars(uploads)["HashStates"] = lambda: _RereadingStates(directory)
    return Worker(settings, parent=_parent())


def _parent() -> int | None:
    parent = os.environ.get(PARENT_VARIABLE)
    return int(parent) if parent else None


def main() -> None:
    """Run one of them until it is told to stop, under the same runner as the real one."""
    parser = argparse.ArgumentParser(prog="python -m proofs.broken", description=__doc__)
    parser.add_argument("name", choices=WRONG)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    overrides = {
        "storage.root": str(options.root),
        "http.listen": options.listen,
        "server.workers": options.workers,
    }
    settings = load(None, os.environ, overrides=overrides)
    with prepare(settings.for_storage()):
        os.environ[SETTINGS_VARIABLE] = settings.to_json()
        os.environ[PARENT_VARIABLE] = str(os.getpid())
        _run(f"proofs.broken:{options.name}", settings)


def _run(target: str, settings: Settings) -> None:
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces, Loops
    from granian.log import LogLevels

    multiprocessing.set_start_method("spawn", force=True)
    host, port = settings.address
    Granian(
        target,
        factory=True,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        workers=settings.server.workers,
        loop=Loops.auto,
        http=HTTPModes.http1,
        websockets=False,
        backpressure=settings.http.max_connections,
        respawn_failed_workers=True,
        log_level=LogLevels.warning,
    ).serve()


if __name__ == "__main__":
    main()
