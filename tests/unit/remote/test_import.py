from __future__ import annotations

import subprocess
import sys


def test_the_network_is_imported_when_it_is_used() -> None:
    """`import entrepot.remote` and `import entrepot.wire` do not pay for aiohttp."""
    program = (
        "import sys, entrepot.remote, entrepot.wire; print('aiohttp' in sys.modules, 'yarl' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False"]
