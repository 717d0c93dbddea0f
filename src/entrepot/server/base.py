"""What clients ask first: whether this is a registry, and what it can do beyond the specification (end-1)."""

from __future__ import annotations

from typing import Final

import msgspec

from entrepot.server.access import Access
from entrepot.server.requests import Request
from entrepot.server.responses import Response, json_response
from entrepot.server.routes import Route

__all__ = ["discover", "support"]

_EXTENSIONS: Final = msgspec.json.encode(
    {
        "extensions": [
            {
                "name": "_oci",
                "url": "https://github.com/opencontainers/distribution-spec/tree/main/extensions",
                "description": "which extensions there are",
                "endpoints": ["_oci/ext/discover"],
            },
            {
                "name": "_catalog",
                "url": "https://github.com/opencontainers/distribution-spec/tree/main/extensions",
                "description": "the names of all repositories, in byte order, paged by n and last",
                "endpoints": ["_catalog"],
            },
        ]
    }
)


async def support(_route: Route, _request: Request, _access: Access) -> Response:
    """Answer that this is a registry. Clients send it first, and read the challenge if there is one."""
    return json_response(b"{}")


async def discover(_route: Route, _request: Request, _access: Access) -> Response:
    """Name the extensions."""
    return json_response(_EXTENSIONS)
