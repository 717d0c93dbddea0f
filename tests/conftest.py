"""What every test may use."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio: the server's and the client's libraries run on nothing else."""
    return "asyncio"
