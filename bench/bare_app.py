"""The least that an ASGI application can do: one answer, kept ready. The upper bound for any application."""

import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

_ANSWER = json.loads(Path(os.environ["BARE_APP_ANSWER"]).read_bytes())
_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(name.encode(), value.encode()) for name, value in _ANSWER["headers"].items()],
}
_BODY = {"type": "http.response.body", "body": _ANSWER["body"].encode()}


async def app(
    _scope: dict[str, Any],
    _receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Send the answer, whatever was asked."""
    await send(_START)
    await send(_BODY)
