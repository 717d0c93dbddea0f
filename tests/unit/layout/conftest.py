"""Layouts to look into."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from entrepot.layout import Layout


@pytest.fixture
async def layout(tmp_path: Path) -> Layout:
    """An empty layout."""
    return await Layout.open(tmp_path / "layout", create=True)


def read_index(layout: Layout) -> dict[str, Any]:
    return json.loads((layout.path / "index.json").read_bytes())


def write_index(layout: Layout, *entries: Any, **fields: Any) -> None:
    """Write index.json as another program would."""
    document = {"schemaVersion": 2, "manifests": list(entries), **fields}
    (layout.path / "index.json").write_text(json.dumps(document))


def temporary_files(layout: Layout) -> list[str]:
    return sorted(path.name for path in (layout.path / "ingest").glob("*"))
