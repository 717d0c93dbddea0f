"""The repositories of the registry: the `_catalog` that Docker's registry introduced."""

from __future__ import annotations

from collections.abc import Sequence

from entrepot.server import lists
from entrepot.server.access import Access
from entrepot.server.requests import Request
from entrepot.server.responses import Response
from entrepot.server.routes import ListRepositories
from entrepot.storage.registry import Registry

__all__ = ["Catalog"]


class Catalog:
    """Answers for the list of repositories."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def get(self, route: ListRepositories, _request: Request, _access: Access) -> Response:
        """Answer with the names in byte order."""

        async def fetch(n: int, last: str) -> Sequence[str]:
            return await self._registry.repositories(n=n, last=last)

        return await lists.answer(
            route.page, fetch, path="/v2/_catalog", opening=b'{"repositories":[', closing=b"]}"
        )
