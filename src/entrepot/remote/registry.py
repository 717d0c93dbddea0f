"""A registry as a whole: whether it is one, and which repositories it has."""

from __future__ import annotations

from collections.abc import AsyncIterator

from entrepot.errors import Unsupported
from entrepot.reference import RepositoryName
from entrepot.remote.authorizer import Scope
from entrepot.remote.listings import repositories_of
from entrepot.remote.message import Request
from entrepot.remote.pages import pages
from entrepot.remote.repository import RemoteRepository
from entrepot.remote.transport import Transport

__all__ = ["RemoteRegistry"]


class RemoteRegistry:
    """A registry.

    Args:
        transport: The conversation with it.
    """

    def __init__(self, transport: Transport) -> None:
        self.host = transport.peer
        self._transport = transport

    def repository(self, name: RepositoryName) -> RemoteRepository:
        """Return one of its repositories; whether it exists shows when it is used."""
        return RemoteRepository(self._transport, name)

    async def ping(self) -> None:
        """Ask whether it speaks the specification and lets us in (end-1).

        Raises:
            Unauthorized: It wants to know who asks.
            Unsupported: It does not speak the specification.
        """
        request = Request(
            method="GET", to="/v2/", subject=self.host, phase="is it a registry?", absent=Unsupported
        )
        async with self._transport.exchange(request):
            pass

    async def repositories(self) -> AsyncIterator[RepositoryName]:
        """Yield the names of its repositories, in its order, each once.

        The catalog is Docker's, not the specification's, and many registries do not show it.

        Raises:
            Unsupported: It has no catalog.
            Denied: It shows it to others only.
            ProtocolViolation: Its list is none, or has no end.
        """
        request = Request(
            method="GET",
            to="/v2/_catalog",
            subject=self.host,
            phase="which repositories?",
            absent=Unsupported,
            scopes=(Scope(None),),
        )
        seen: set[RepositoryName] = set()
        async for _, content in pages(self._transport, request):
            for name in repositories_of(content, peer=self.host):
                if name not in seen:
                    seen.add(name)
                    yield name
