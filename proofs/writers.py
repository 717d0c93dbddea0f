"""Clients that push small images and delete tags until the server dies, and note each acknowledgement."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus

from bench.images import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST

from proofs.chance import chance_of
from proofs.connection import Connection, Gone
from proofs.ledger import Ledger
from proofs.repository import Repository, UnservedError, WrongAnswerError, digest_of, require

__all__ = ["SHARED", "Writer", "writing"]

SHARED = "proof/shared"
"""A repository whose one tag all writers set."""

_TAGS = 4
_SIZES = (1, 200, 4_000, 20_000, 70_000)
"""Of layers, in bytes; the last ones are written in a thread of their own."""


class Writer:
    """One client, with a repository that nobody else writes.

    Args:
        address: Of the server.
        number: Which of the writers.
        ledger: Learns of every request before it is sent, and of every acknowledgement.
        chance: Decides what is pushed and deleted.
        layers: Sizes of layers to choose from, in bytes.

    Attributes:
        name: Of its repository.
        problems: Answers that contradict what was acknowledged before.
        refused: Requests that the server could not serve (5xx); the writer has stopped then.
    """

    def __init__(
        self,
        address: str,
        number: int,
        ledger: Ledger,
        chance: random.Random,
        *,
        layers: Sequence[int] = _SIZES,
    ) -> None:
        self.address = address
        self.name = f"proof/writer-{number}"
        self.problems: list[str] = []
        self.refused: list[str] = []
        self._ledger = ledger
        self._chance = chance
        self._layers = layers

    def run(self, ended: threading.Event) -> None:
        """Push and delete until told to stop or until the server is gone."""
        try:
            with Connection(self.address, timeout=30) as connection:
                while not ended.is_set():
                    self.step(connection)
        except UnservedError as error:
            self.refused.append(str(error))
        except Gone:
            return
        except WrongAnswerError as error:
            self.problems.append(f"{self.name}: {error}")
        except Exception as error:
            # a writer that dies quietly would leave a proof that proves less than it says
            self.problems.append(f"{self.name}: the writer itself failed: {error!r}")

    def step(self, connection: Connection) -> None:
        """Push an image, or delete a tag."""
        draw = self._chance.random()
        tag = f"t{self._chance.randrange(_TAGS)}"
        if draw < 0.2:
            self.delete_tag(connection, tag)
        elif draw < 0.35:
            self.push(connection, SHARED, "latest")
        else:
            self.push(connection, self.name, tag)

    def push(self, connection: Connection, name: str, tag: str) -> None:
        """Push an image of two blobs that nobody has ever pushed, blobs first, under one tag."""
        repository = Repository(connection, name)
        layer = self._chance.randbytes(self._chance.choice(self._layers))
        config = json.dumps({"os": "linux", "architecture": "amd64", "nonce": self._chance.random()}).encode()
        for data in (config, layer):
            self._push_blob(repository, data)
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)},
                "layers": [{"mediaType": OCI_LAYER, "digest": digest_of(layer), "size": len(layer)}],
            }
        ).encode()
        self._put_manifest(repository, tag, manifest)

    def delete_tag(self, connection: Connection, tag: str) -> None:
        """Delete a tag of our own, which must be there if the ledger says so and only then."""
        with self._ledger.repository(self.name) as ledger:
            possible = ledger.tag(tag).possible()
            write = ledger.tag(tag).begin(None)
        answer = Repository(connection, self.name).delete_manifest(tag)
        if answer.status == HTTPStatus.ACCEPTED:
            if possible == {None}:
                self.problems.append(f"{self.name}:{tag} was deleted although it was not there")
            self._ledger.acknowledge_write(self.name, write)
        elif answer.status == HTTPStatus.NOT_FOUND:
            if None not in possible:
                self.problems.append(f"{self.name}:{tag} is unknown although it is acknowledged")
            self._ledger.acknowledge_write(self.name, write)
        else:
            require(answer, HTTPStatus.ACCEPTED, f"DELETE of tag {tag}")

    def _push_blob(self, repository: Repository, data: bytes) -> None:
        digest = digest_of(data)
        with self._ledger.repository(repository.name) as ledger:
            ledger.unacknowledged[digest] = len(data)
        upload = repository.begin()
        answer = repository.complete(upload, digest, [data], length=len(data))
        require(answer, HTTPStatus.CREATED, f"PUT of blob {digest}")
        self._ledger.acknowledge_blob(repository.name, digest, size=len(data))

    def _put_manifest(self, repository: Repository, tag: str, raw: bytes) -> None:
        digest = digest_of(raw)
        with self._ledger.repository(repository.name) as ledger:
            write = ledger.tag(tag).begin(digest)
        answer = repository.put_manifest(tag, raw)
        require(answer, HTTPStatus.CREATED, f"PUT of manifest {digest}")
        self._ledger.acknowledge_write(repository.name, write, size=len(raw))


@contextmanager
def writing(address: str, ledger: Ledger, *, count: int, chance: random.Random) -> Iterator[list[Writer]]:
    """Have writers at work within the block; at its end, the server dead or not, wait for all of them."""
    ended = threading.Event()
    seeds = [chance.getrandbits(64) for _ in range(count)]
    writers = [Writer(address, number, ledger, chance_of(seed)) for number, seed in enumerate(seeds)]
    threads = [threading.Thread(target=writer.run, args=(ended,), name=writer.name) for writer in writers]
    for thread in threads:
        thread.start()
    try:
        yield writers
    finally:
        ended.set()
        for thread in threads:
            thread.join()
