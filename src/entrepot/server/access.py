"""Who may do what: the one question that is put for every route before its handler sees it.

For now there is one rule. Nobody says who they are, and everybody has the rights that `auth.anonymous` gives:
`pull` to read everything, `push` to write and delete, too. Unwritten, it is `push`, and the settings see to it that
the registry then listens on this machine alone. `registry.read-only` and `registry.delete` apply to everybody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from entrepot.errors import Denied, RegistryError, Unsupported
from entrepot.reference import RepositoryName
from entrepot.server.requests import Request
from entrepot.server.routes import Action, Permission, Route

__all__ = ["Access", "Anonymous", "Authoriser"]

_WORDS: Final = {
    Action.PULL: "pull from",
    Action.PUSH: "push to",
    Action.DELETE: "delete from",
    Action.LIST: "list the repositories of",
}
_READING: Final = frozenset({Action.PULL, Action.LIST})


@dataclass(frozen=True, slots=True)
class Access:
    """What somebody may do, whatever they ask for."""

    actions: frozenset[Action]

    def allows(self, permission: Permission) -> bool:
        """Tell whether they may do this."""
        return permission.action in self.actions

    def may_push(self, repository: RepositoryName) -> bool:
        """Tell whether they may push, so that an answer about content is a promise to keep it for them."""
        return Action.PUSH in self.actions


class Authoriser(Protocol):
    """Decides, by a route's permissions, whether it is answered."""

    def authorise(self, route: Route, request: Request) -> Access:
        """Return what whoever sent the request may do, if that is enough for the route.

        Raises:
            Unauthorized: Nobody has said who asks.
            Denied: They may not.
            Unsupported: Nobody may.
        """


class Anonymous:
    """Gives everybody the same rights.

    Args:
        may_push: Everybody may write and delete, too.
        read_only: Nobody may.
        delete: Content may be deleted.
    """

    def __init__(self, *, may_push: bool, read_only: bool, delete: bool) -> None:
        self._switched_off = frozenset(
            ([Action.PUSH, Action.DELETE] if read_only else []) + ([] if delete else [Action.DELETE])
        )
        granted = frozenset(Action) if may_push else _READING
        self._access = Access(granted - self._switched_off)

    def authorise(self, route: Route, request: Request) -> Access:
        """Return what whoever sent the request may do, if that is enough for the route.

        Raises:
            Unsupported: The registry is switched not to do this, for anybody.
            Denied: They may not.
        """
        access = self._access
        for permission in route.permissions:
            if not access.allows(permission):
                raise self._refusal(permission)
        return access

    def _refusal(self, permission: Permission) -> RegistryError:
        what = _WORDS[permission.action]
        if permission.action in self._switched_off:
            return Unsupported(f"nobody may {what} this registry, by its configuration")
        return Denied(f"anonymous clients may not {what} {permission.repository or 'this registry'}")
