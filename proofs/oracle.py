"""Whether a registry that was started again still has what it had acknowledged, and nothing that it should not have.

The invariants are numbered, and every complaint begins with its number:

I1  every blob and manifest that was acknowledged is there with the right bytes
I2  no manifest that is served lacks a blob
I3  every tag has a value that some order of the requests explains
I4  what was not acknowledged is either absent or complete
I5  every file of a blob is named by the catalog
I6  the lists of tags and of repositories agree with the manifests that are served
I7  the catalog is sound: integrity_check, foreign_key_check
I8  the registry answers again without anybody's help, within seconds
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from http import HTTPStatus
from pathlib import Path

from bench.images import digest_of

from proofs.connection import Connection
from proofs.ledger import Ledger, RepositoryLedger
from proofs.repository import Repository, catalog

__all__ = ["everything", "inspect_root", "look"]


def look(address: str, ledger: Ledger) -> list[str]:
    """Ask a running registry for everything that has changed since the last look; what is wrong."""
    problems: list[str] = []
    with Connection(address) as connection:
        known = set(catalog(connection))
        for name, expected in ledger.repositories().items():
            repository = Repository(connection, name)
            problems += (
                f"{name}: {problem}" for problem in _look_at(repository, expected, listed=name in known)
            )
        problems += (
            f"I6 a repository that nobody made: {name}" for name in known - set(ledger.repositories())
        )
    ledger.settle()
    return problems


def _look_at(repository: Repository, expected: RepositoryLedger, *, listed: bool) -> Iterator[str]:
    yield from _blobs(repository, expected)
    for digest, size in expected.manifests.items():
        answer = repository.manifest(digest)
        if (answer.status, answer.digest, answer.length) != (HTTPStatus.OK, digest, size):
            yield f"I1 acknowledged manifest {digest} of {size} bytes: {answer.status}, {answer.digest}"
    yield from _tags(repository, expected)
    if expected.manifests and not listed:
        yield "I6 it has manifests and is not in the catalog"


def _blobs(repository: Repository, expected: RepositoryLedger) -> Iterator[str]:
    for digest, size in expected.blobs.items():
        answer = repository.blob(digest)
        if (answer.status, answer.digest, answer.length) != (HTTPStatus.OK, digest, size):
            yield f"I1 acknowledged blob {digest} of {size} bytes: {answer.status}, {answer.digest}"
    for digest, size in expected.unacknowledged.items():
        answer = repository.blob(digest)
        complete = (answer.status, answer.digest, answer.length) == (HTTPStatus.OK, digest, size)
        if answer.status != HTTPStatus.NOT_FOUND and not complete:
            yield f"I4 unacknowledged blob {digest} of {size} bytes: {answer.status}, {answer.length} bytes"


def _tags(repository: Repository, expected: RepositoryLedger) -> Iterator[str]:
    present = []
    for tag, register in expected.tags.items():
        answer = repository.manifest(tag)
        value = answer.digest if answer.status == HTTPStatus.OK else None
        if value is None and answer.status != HTTPStatus.NOT_FOUND:
            yield f"I3 tag {tag}: {answer.status}"
        elif value not in (possible := register.possible()):
            yield f"I3 tag {tag} is {value}, and could be {sorted(map(str, possible))}"
        if value is not None:
            present.append(tag)
            yield from _closure(repository, tag, answer.body)
        register.settle(value)
    if (listed := repository.tags()) != sorted(present):
        yield f"I6 the tags listed are {listed}, those served {sorted(present)}"


def _closure(repository: Repository, tag: str, raw: bytes) -> Iterator[str]:
    document = json.loads(raw)
    for descriptor in (document["config"], *document["layers"]):
        answer = repository.blob(descriptor["digest"])
        if (answer.status, answer.digest) != (HTTPStatus.OK, descriptor["digest"]):
            yield f"I2 tag {tag} names blob {descriptor['digest']}: {answer.status}, {answer.digest}"


def inspect_root(root: Path) -> list[str]:
    """Look into the root of a registry that does not run; what is wrong. Nothing in it is touched."""
    with tempfile.TemporaryDirectory(dir=root.parent) as directory:
        copied = Path(directory)
        # a copy: opening it would repair what the registry has to be able to repair itself
        for file in root.glob("catalog.db*"):
            if not file.name.endswith("-shm"):
                shutil.copy(file, copied)
        if not (copied / "catalog.db").exists():
            return [f"I7 there is no catalog: {root}"]
        try:
            with closing(sqlite3.connect(copied / "catalog.db")) as database:
                return [*_soundness(database), *_unnamed_files(database, root)]
        except sqlite3.Error as error:
            return [f"I7 the catalog cannot be read: {error}"]


def _soundness(database: sqlite3.Connection) -> Iterator[str]:
    found = [row[0] for row in database.execute("PRAGMA integrity_check")]
    if found != ["ok"]:
        yield f"I7 integrity_check: {found[:5]}"
    violations = database.execute("PRAGMA foreign_key_check").fetchall()
    if violations:
        yield f"I7 foreign_key_check: {violations[:5]}"


def _unnamed_files(database: sqlite3.Connection, root: Path) -> Iterator[str]:
    """Yield files of blobs that neither a blob, nor garbage, nor an upload in progress answers for."""
    blobs = root / "blobs"
    located = {
        row[0] for row in database.execute("SELECT location FROM blob UNION SELECT location FROM garbage")
    }
    uploads = {row[0] for row in database.execute("SELECT id FROM upload")}
    for path in blobs.rglob("*"):
        location = str(path.relative_to(blobs))
        if path.is_file() and location not in located and path.suffix.removeprefix(".") not in uploads:
            yield f"I5 nothing names the file {location}"


def everything(root: Path) -> list[str]:
    """Read every blob's file of a registry that does not run, and compare it with its name; what is wrong."""
    problems = []
    for path in (root / "blobs").rglob("*.*"):
        digest = f"{path.parent.parent.name}:{path.name.partition('.')[0]}"
        if path.is_file() and digest_of(path.read_bytes()) != digest:
            problems.append(f"I1 other bytes than its name says: {path.name}")
    return problems
