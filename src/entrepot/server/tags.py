"""The tags of a repository (distribution-spec, "Listing Tags")."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from entrepot.server import lists
from entrepot.server.access import Access
from entrepot.server.requests import Request
from entrepot.server.responses import Response
from entrepot.server.routes import ListTags
from entrepot.storage.registry import Registry

__all__ = ["Tags"]


class Tags:
    """Answers for lists of tags."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def get(self, route: ListTags, _request: Request, _access: Access) -> Response:
        """Answer with the tags in byte order."""
        repository = self._registry.repository(route.repository)

        async def fetch(n: int, last: str) -> Sequence[str]:
            return await repository.list_tags(n=n, last=last)

        opening = b'{"name":' + msgspec.json.encode(str(route.repository)) + b',"tags":['
        path = f"/v2/{route.repository}/tags/list"
        return await lists.answer(route.page, fetch, path=path, opening=opening, closing=b"]}")
