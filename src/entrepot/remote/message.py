"""What is sent to a registry, before it is known how: a request, and its body as something to be opened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Self

from entrepot.errors import NameUnknown, RegistryError
from entrepot.remote.authorizer import Scope
from entrepot.remote.urls import Hop
from entrepot.wire.exchange import Cause

__all__ = ["Body", "Request"]


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a request.

    Attributes:
        size: In bytes. Exactly so many are sent, or the request fails.
        open: Opens it, from its beginning, each time that it is sent.
    """

    size: int
    open: Callable[[], AbstractAsyncContextManager[AsyncIterator[bytes]]]

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Return a body that is in memory."""

        @asynccontextmanager
        async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
            yield _once(content)

        return cls(len(content), opened)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request that is meant; redirects, retries and challenges make more than one exchange of it.

    Attributes:
        method: As on the wire.
        to: A path on the registry, or a URL that a peer has given.
        subject: What it is about, in words, for errors: `127.0.0.1:5000/demo/app:v1`.
        phase: What it is for, in words, for the record. One that ends with `?` is answered by the status.
        headers: Besides those that every request has.
        body: If there is one.
        expect: The statuses that are no error.
        absent: What a 404 means.
        manifest: Whether it pushes a manifest; then what is missing is what the manifest references.
        scopes: What it needs.
        repeatable: Whether it may be sent again when it is not known what became of it.
        cause: Why it is sent.
        parent: The exchange that caused it.
    """

    method: str
    to: str | Hop
    subject: str
    phase: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: Body | None = None
    expect: frozenset[int] = frozenset({200})
    absent: type[RegistryError] = NameUnknown
    manifest: bool = False
    scopes: tuple[Scope, ...] = ()
    repeatable: bool = True
    cause: Cause = Cause.INITIAL
    parent: int | None = None


async def _once(content: bytes) -> AsyncIterator[bytes]:
    if content:
        yield content
