"""What the registry's storage has to be told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from entrepot.errors import ConfigError

__all__ = ["LEAST_LEASE_SECONDS", "AllowMissing", "StorageSettings"]

LEAST_LEASE_SECONDS = 60


class AllowMissing(StrEnum):
    """What a manifest may reference although the repository does not have it.

    Subjects, and layers whose media type forbids pushing them, may be missing under each of these.
    """

    NONE = "none"
    MANIFESTS = "manifests"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    """Where the storage is, what it promises and what it takes.

    Attributes:
        root: The directory that holds everything.
        lease_seconds: For how long content that nothing references is kept after it was last seen by somebody
            who may push. A client that was told "there already" has at least half of it to use that answer.
        upload_idle_seconds: After how long without a request an upload is given up.
        max_manifest_bytes: The largest manifest that is taken.
        allow_missing: What a manifest may reference although it is not there.
        chunk_min_bytes: The least size of a chunk that clients are told; 0 for any.
        durable: Whether acknowledged writes survive a power cut. Off only to show that tests would notice.
        clock_offset_ms: Added to the catalog's clock; for tests that cannot wait.
    """

    root: Path
    lease_seconds: int = 86_400
    upload_idle_seconds: int = 86_400
    max_manifest_bytes: int = 4 * 1024 * 1024
    allow_missing: AllowMissing = AllowMissing.NONE
    chunk_min_bytes: int = 0
    durable: bool = True
    clock_offset_ms: int = 0

    def __post_init__(self) -> None:
        problems = []
        if self.lease_seconds < LEAST_LEASE_SECONDS:
            problems.append(
                f"a lease of less than {LEAST_LEASE_SECONDS} seconds loses pushes: {self.lease_seconds}"
            )
        if self.upload_idle_seconds < 1:
            problems.append(f"an upload must be allowed to idle for a second: {self.upload_idle_seconds}")
        if self.max_manifest_bytes < 1:
            problems.append(f"a manifest needs at least one byte: {self.max_manifest_bytes}")
        if problems:
            raise ConfigError(problems)
