"""A repository of the registry's own storage is a store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from entrepot.reference import RepositoryName
from entrepot.storage import Registry, Repository, StorageSettings, prepare
from entrepot.testing import PROMISES, Elsewhere, check_store


@asynccontextmanager
async def open_repository(root: str | Path) -> AsyncIterator[Repository]:
    """Open the root as a worker does, beside the others that have it open."""
    registry = await Registry.open(StorageSettings(root=Path(root)))
    try:
        yield registry.repository(RepositoryName("library/app"))
    finally:
        await registry.close()


@pytest.mark.anyio
async def test_the_registrys_storage_keeps_every_promise_of_a_store(tmp_path: Path) -> None:
    """Everything that store.py promises holds for a repository, cancellation and two workers included."""
    root = tmp_path / "root"
    elsewhere = Elsewhere(f"{__file__}:open_repository", [str(root)])
    with prepare(StorageSettings(root=root)):
        report = await check_store(partial(open_repository, root), elsewhere=elsewhere)

    assert report.kept == tuple(promise.name for promise in PROMISES)
