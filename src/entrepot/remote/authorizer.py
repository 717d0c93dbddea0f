"""The place where credentials come in. The transport knows none; it asks.

The flow that turns a challenge and credentials into a token is a pure generator (`entrepot.auth`). Its driver
is an `Authorizer`: it gets the challenge and a way to send requests, and gives back a header. The transport
sees to the rest: that the header goes to the registry's own origin and nowhere else, that a realm is a URL
which may be followed, that each token request is recorded, that one request is challenged once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from entrepot.reference import RepositoryName

__all__ = ["AuthRequest", "AuthResponse", "Authorizer", "Scope", "SendAuthRequest"]

Access: TypeAlias = Literal["pull", "push", "delete"]


@dataclass(frozen=True, slots=True)
class Scope:
    """What a request needs on one repository, or, without one, on the registry's catalog.

    Written `repository:team/app:pull,push` and `registry:catalog:*`.
    """

    repository: RepositoryName | None
    actions: tuple[Access, ...] = ()

    def __str__(self) -> str:
        if self.repository is None:
            return "registry:catalog:*"
        return f"repository:{self.repository}:{','.join(self.actions)}"


@dataclass(frozen=True, slots=True)
class AuthRequest:
    """A request to a token service.

    Attributes:
        url: Absolute; held against the URL policy before it is used.
        method: GET, or POST with a form.
        headers: May hold credentials; never recorded.
        form: The body of a POST, already encoded; never recorded.
        phase: What it is for, in words, for the record.
    """

    url: str
    method: Literal["GET", "POST"] = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    form: bytes | None = None
    phase: str = "get a token"


@dataclass(frozen=True, slots=True)
class AuthResponse:
    """What the token service answered; `body` is bounded and never recorded."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


SendAuthRequest: TypeAlias = Callable[[AuthRequest], Awaitable[AuthResponse]]


class Authorizer(Protocol):
    """Says who asks, for one registry."""

    async def authorization(self, scopes: Sequence[Scope]) -> str | None:
        """Return the value of `Authorization` to send at once, without being asked; None to send none."""

    async def answer(
        self, challenges: Sequence[str], scopes: Sequence[Scope], send: SendAuthRequest
    ) -> str | None:
        """Answer a 401.

        Args:
            challenges: The values of its `WWW-Authenticate` fields; there may be none.
            scopes: What the request needs.
            send: Sends a request to a token service.

        Returns:
            The value of `Authorization` to try again with; None to give up.
        """
