"""`check_store` itself: what it reports, and what it does when a store does not come back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest

from entrepot.layout import Layout
from entrepot.oci import Descriptor
from entrepot.store import OpenAt
from entrepot.testing import PROMISES, Elsewhere, StoreCheckFailed, check_store

pytestmark = pytest.mark.anyio

ALL = tuple(promise.name for promise in PROMISES)


@asynccontextmanager
async def open_layout(path: str | Path, kind: type[Layout] = Layout) -> AsyncIterator[Layout]:
    yield await kind.open(Path(path), create=True)


class Stuck(Layout):
    """Never returns from a write."""

    async def write_blob(self, descriptor: Descriptor, open_at: OpenAt) -> None:
        await anyio.sleep_forever()


def all_but(*names: str) -> list[str]:
    return [name for name in ALL if name not in names]


def test_every_promise_has_a_name_of_its_own() -> None:
    """The report would otherwise not say which one it is."""
    assert len(set(ALL)) == len(ALL)


async def test_what_was_not_checked_is_reported_as_such(tmp_path: Path) -> None:
    """What is skipped on request, and what needs another process that nobody can start."""
    report = await check_store(partial(open_layout, tmp_path), skip=all_but("blob-absent", "two-processes"))

    assert report.kept == ("blob-absent",)
    assert "two-processes" in report.skipped
    assert set(report.kept) | set(report.skipped) == set(ALL)


async def test_a_misspelt_promise_cannot_be_skipped(tmp_path: Path) -> None:
    """A promise that was renamed must not silently be checked, or not be checked, from then on."""
    with pytest.raises(ValueError, match="blob-absend"):
        await check_store(partial(open_layout, tmp_path), skip=["blob-absend"])


async def test_the_same_store_can_be_checked_again(tmp_path: Path) -> None:
    """Each run makes up content and names of its own, so that a store with a past can be checked."""
    for _ in range(2):
        await check_store(
            partial(open_layout, tmp_path), skip=all_but("blob-cancelled", "names-all-or-nothing")
        )


async def test_a_store_that_hangs_fails_and_the_rest_is_checked(tmp_path: Path) -> None:
    """The report says after how long, and goes on."""
    with pytest.raises(
        StoreCheckFailed, match=r"breaks 1 of 2 promises\n  blob-round-trip: .*\n    but .* 0.2 seconds"
    ) as caught:
        await check_store(
            partial(open_layout, tmp_path, Stuck),
            skip=all_but("blob-round-trip", "blob-absent"),
            seconds_each=0.2,
        )

    assert caught.value.report.kept == ("blob-absent",)
    assert caught.value.report.broken == ("blob-round-trip",)


async def test_another_process_that_sees_another_store_fails(tmp_path: Path) -> None:
    """The second process has to find what the first has written."""
    elsewhere = Elsewhere(f"{__file__}:open_layout", [str(tmp_path / "other")])
    with pytest.raises(StoreCheckFailed, match="the other process could not begin") as caught:
        await check_store(
            partial(open_layout, tmp_path / "one"),
            elsewhere=elsewhere,
            skip=all_but("two-processes", "killed-writer"),
        )

    assert caught.value.report.broken == ("two-processes",)


async def test_a_factory_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    """A mistake in the call is told from a defect of the store by its words."""
    elsewhere = Elsewhere("entrepot.layout:no_such_function", [])
    with pytest.raises(StoreCheckFailed, match="no_such_function"):
        await check_store(partial(open_layout, tmp_path), elsewhere=elsewhere, skip=all_but("two-processes"))
