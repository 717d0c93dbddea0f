"""Where the client's side of the network is put together: one transport for each registry, closed together."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

from entrepot.errors import InvalidReference
from entrepot.reference import Reference
from entrepot.remote.options import RemoteOptions
from entrepot.wire.record import Recorder

if TYPE_CHECKING:
    from entrepot.remote.authorizer import Authorizer
    from entrepot.remote.registry import RemoteRegistry
    from entrepot.remote.repository import RemoteRepository
    from entrepot.remote.retry import Retries
    from entrepot.remote.transport import Transport

__all__ = ["Remote"]

AuthorizerFor: TypeAlias = "Callable[[str], Authorizer | None]"
"""Returns who knows the credentials for a registry, by its host."""


class Remote:
    """Gives out registries and their repositories. Made by `Remote.connect`.

    Args:
        options: How registries are reached, the same for all.
        recorder: Each exchange is recorded there.
        environ: Where the settings of proxies are read.
        authorizer_for: Finds credentials; without it nothing is ever authorised.
        retries: How patiently requests are repeated.
        on_warning: Called once for each warning, with the registry and its words.
    """

    def __init__(
        self,
        options: RemoteOptions | None = None,
        *,
        recorder: Recorder | None = None,
        environ: Mapping[str, str] | None = None,
        authorizer_for: AuthorizerFor | None = None,
        retries: Retries | None = None,
        on_warning: Callable[[str, str], object] | None = None,
    ) -> None:
        self.options = options or RemoteOptions()
        self.recorder = recorder or Recorder()
        self._environ = os.environ if environ is None else environ
        self._authorizer_for = authorizer_for
        self._retries = retries
        self._on_warning = on_warning
        self._transports: dict[str, Transport] = {}
        self._repositories: dict[str, RemoteRepository] = {}

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        options: RemoteOptions | None = None,
        *,
        recorder: Recorder | None = None,
        environ: Mapping[str, str] | None = None,
        authorizer_for: AuthorizerFor | None = None,
        retries: Retries | None = None,
        on_warning: Callable[[str, str], object] | None = None,
    ) -> AsyncIterator[Remote]:
        """Give a `Remote`, and close its connections on leaving. Nothing is sent before something is asked for."""
        remote = cls(
            options,
            recorder=recorder,
            environ=environ,
            authorizer_for=authorizer_for,
            retries=retries,
            on_warning=on_warning,
        )
        try:
            yield remote
        finally:
            await remote.close()

    def repository(self, reference: Reference) -> RemoteRepository:
        """Return the repository of a reference; the same one each time."""
        known = self._repositories.get(reference.name)
        if known is None:
            known = self._registry(reference).repository(reference.repository)
            self._repositories[reference.name] = known
        return known

    def registry(self, host: str) -> RemoteRegistry:
        """Return a registry by its host, as references name it.

        Raises:
            InvalidReference: It is no host.
        """
        # of two components neither is taken for a host, unless the first is one
        reference = Reference.parse(f"{host}/any/any")
        if reference.repository != "any/any":
            hint = "a host has a dot or a port, or is localhost"
            raise InvalidReference(f"not the host of a registry: {host!r}", text=host, hint=hint)
        return self._registry(reference)

    async def close(self) -> None:
        """Cancel uploads that were begun and never used, and close every connection."""
        try:
            for repository in self._repositories.values():
                await repository.abandon()
        finally:
            for transport in self._transports.values():
                await transport.close()

    def _registry(self, reference: Reference) -> RemoteRegistry:
        from entrepot.remote.registry import RemoteRegistry

        return RemoteRegistry(self._transport(reference))

    def _transport(self, reference: Reference) -> Transport:
        # aiohttp takes 0.4 s to import, which `entrepot --help` and a copy between layouts need not pay for
        from entrepot.remote.notices import Notices
        from entrepot.remote.proxies import Proxies
        from entrepot.remote.transport import Transport

        known = self._transports.get(reference.registry)
        if known is None:
            authorizer = self._authorizer_for(reference.registry) if self._authorizer_for else None
            known = Transport(
                reference.registry,
                reference.api_host,
                options=self.options,
                recorder=self.recorder,
                authorizer=authorizer,
                proxies=Proxies.from_environment(self._environ),
                retries=self._retries,
                notices=Notices(reference.registry, self._on_warning),
            )
            self._transports[reference.registry] = known
        return known
