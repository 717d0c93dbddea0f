"""What a registry has acknowledged, and what it may therefore answer: the model that the oracle compares with.

A request that was not answered may have had its effect or not, and may have it until the server is dead. A tag is a
register: after any number of overlapping writes it has the value of one that no acknowledged write came wholly after.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["Ledger", "Register", "RepositoryLedger", "Write"]


@dataclass(slots=True)
class Write:
    """One request that sets a tag.

    Attributes:
        value: The digest; None for a deletion.
        began: When it was sent.
        ended: When it was acknowledged; None if it never was.
    """

    value: str | None
    began: float
    ended: float | None = None

    def acknowledge(self) -> None:
        """Note that the server has said that it is done."""
        self.ended = time.monotonic()


@dataclass
class Register:
    """One tag: the writes since it was last looked at."""

    writes: list[Write] = field(default_factory=lambda: [Write(None, 0.0, 0.0)])

    def begin(self, value: str | None) -> Write:
        """Note a write that is about to be sent."""
        write = Write(value, time.monotonic())
        self.writes.append(write)
        return write

    def possible(self) -> set[str | None]:
        """Return the values that the tag may have now: those of writes that no acknowledged one came after."""
        newest = max((write.began for write in self.writes if write.ended is not None), default=0.0)
        return {write.value for write in self.writes if write.ended is None or write.ended >= newest}

    def settle(self, value: str | None) -> None:
        """Note what it was found to be, when nothing was under way."""
        self.writes = [Write(value, 0.0, 0.0)]


@dataclass
class RepositoryLedger:
    """One repository.

    Attributes:
        blobs: Digests of acknowledged blobs since they were last verified, with their sizes.
        manifests: The same for manifests.
        unacknowledged: Blobs that were being pushed and not answered, with their sizes.
        verified: Blobs and manifests that were verified before, each with its size.
        tags: The register of every tag that was ever written.
    """

    blobs: dict[str, int] = field(default_factory=dict)
    manifests: dict[str, int] = field(default_factory=dict)
    unacknowledged: dict[str, int] = field(default_factory=dict)
    verified: tuple[dict[str, int], dict[str, int]] = field(default_factory=lambda: ({}, {}))
    tags: dict[str, Register] = field(default_factory=dict)

    def latest(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return blobs and manifests that were not verified yet."""
        return self.blobs, self.manifests

    def tag(self, name: str) -> Register:
        """Return the register of a tag."""
        return self.tags.setdefault(name, Register())


class Ledger:
    """Everything that was acknowledged to any writer. May be used by several threads.

    Attributes:
        acknowledged: How many requests.
        late: Repository and digest of what was acknowledged while this was closed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._repositories: dict[str, RepositoryLedger] = {}
        self._closed = False
        self.acknowledged = 0
        self.late: list[tuple[str, str]] = []

    @contextmanager
    def repository(self, name: str) -> Iterator[RepositoryLedger]:
        """Have the ledger of a repository alone for a moment."""
        with self._lock:
            yield self._repositories.setdefault(name, RepositoryLedger())

    def acknowledge_blob(self, name: str, digest: str, *, size: int) -> None:
        """Note that the server has said that it has a blob of this size."""
        with self._lock:
            if self._closed:
                self.late.append((name, digest))
                return
            repository = self._repositories[name]
            # the smallest blobs are pushed by several writers at once, so another may have noted it before
            repository.unacknowledged.pop(digest, None)
            repository.blobs[digest] = size
            self.acknowledged += 1

    def acknowledge_write(self, name: str, write: Write, *, size: int = 0) -> None:
        """Note that the server has said that a tag is set to a manifest of this size, or that there is none."""
        with self._lock:
            if self._closed:
                if write.value is not None:
                    self.late.append((name, write.value))
                return
            write.acknowledge()
            if write.value is not None:
                self._repositories[name].manifests[write.value] = size
            self.acknowledged += 1

    def close(self) -> None:
        """Count nothing as acknowledged from now on: whatever happens next may come before or after an answer."""
        with self._lock:
            self._closed = True

    def reopen(self) -> None:
        """Count again, and forget the answers that came too late."""
        with self._lock:
            self._closed = False
            self.late.clear()

    def repositories(self) -> dict[str, RepositoryLedger]:
        """Return everything; only while nobody writes."""
        return self._repositories

    def settle(self) -> None:
        """Put aside what has been verified; tags were settled one by one. Only while nobody writes."""
        for repository in self._repositories.values():
            for verified, latest in zip(repository.verified, repository.latest(), strict=True):
                verified.update(latest)
                latest.clear()
            repository.unacknowledged.clear()

    def recall(self) -> None:
        """Have everything verified again that was ever acknowledged. Only while nobody writes."""
        for repository in self._repositories.values():
            for verified, latest in zip(repository.verified, repository.latest(), strict=True):
                latest.update(verified)
