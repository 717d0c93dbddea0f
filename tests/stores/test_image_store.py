"""The local image store is a store whose names are full references."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from entrepot.layout import ImageStore, Layout
from entrepot.reference import RefName
from entrepot.testing import PROMISES, Elsewhere, check_store


@asynccontextmanager
async def open_image_store(path: str | Path) -> AsyncIterator[Layout]:
    store = await ImageStore.open(Path(path))
    async with store.in_use() as images:
        yield images


def full_reference(text: str) -> RefName:
    return RefName(f"registry.example:5000/team/app:{text}")


@pytest.mark.anyio
async def test_the_image_store_keeps_every_promise_of_a_store(tmp_path: Path) -> None:
    """Everything that store.py promises holds for the image store while it is in use."""
    elsewhere = Elsewhere(f"{__file__}:open_image_store", [str(tmp_path / "images")])

    report = await check_store(
        partial(open_image_store, tmp_path / "images"), make_name=full_reference, elsewhere=elsewhere
    )

    assert report.kept == tuple(promise.name for promise in PROMISES)
