"""The OCI layout directory is a store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from entrepot.layout import Layout
from entrepot.testing import PROMISES, Elsewhere, check_store


@asynccontextmanager
async def open_layout(path: str | Path) -> AsyncIterator[Layout]:
    yield await Layout.open(Path(path), create=True)


@pytest.mark.anyio
async def test_a_layout_keeps_every_promise_of_a_store(tmp_path: Path) -> None:
    """Everything that store.py promises holds for a layout, cancellation and two processes included."""
    elsewhere = Elsewhere(f"{__file__}:open_layout", [str(tmp_path / "layout")])

    report = await check_store(partial(open_layout, tmp_path / "layout"), elsewhere=elsewhere)

    assert report.kept == tuple(promise.name for promise in PROMISES)
