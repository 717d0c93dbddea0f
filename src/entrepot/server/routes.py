"""What a request can ask of the registry: one type per endpoint (distribution-spec, "Endpoints").

A route holds what was parsed from method, path and query, and says which permissions it needs. A type that
states none cannot be built, so an endpoint cannot be open by omission.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from entrepot.oci.digest import Digest
from entrepot.reference import RepositoryName, Tag
from entrepot.storage.content import UploadId

__all__ = [
    "Action",
    "AppendUpload",
    "BeginUpload",
    "CancelUpload",
    "CompleteUpload",
    "DeleteBlob",
    "DeleteManifest",
    "Discover",
    "GetBlob",
    "GetManifest",
    "GetUpload",
    "ListReferrers",
    "ListRepositories",
    "ListTags",
    "MountBlob",
    "Page",
    "Permission",
    "PushBlob",
    "PutManifest",
    "Route",
    "Support",
]


class Action(StrEnum):
    """What can be done to a repository, or with the registry as a whole."""

    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"
    LIST = "list"
    """See the names of repositories. Not of one repository but of the registry."""


class Permission(NamedTuple):
    """An action on a repository; on the registry as a whole when that is None."""

    repository: RepositoryName | None
    action: Action


class Page(NamedTuple):
    """Which part of a list: at most `n` entries (None: all there are) after `last`."""

    n: int | None = None
    last: str = ""


class Route(ABC):
    """What is asked."""

    __slots__ = ()

    @property
    @abstractmethod
    def permissions(self) -> frozenset[Permission]:
        """Return everything that whoever asks must be allowed to do."""


_NONE: Final[frozenset[Permission]] = frozenset()


@dataclass(frozen=True, slots=True)
class Support(Route):
    """end-1: is this a registry?"""

    @property
    def permissions(self) -> frozenset[Permission]:
        """Return none: who may do nothing else may still ask."""
        return _NONE


@dataclass(frozen=True, slots=True)
class Discover(Route):
    """Which extensions are there?"""

    @property
    def permissions(self) -> frozenset[Permission]:
        """Return none: the answer is in the documentation, too."""
        return _NONE


@dataclass(frozen=True, slots=True)
class ListRepositories(Route):
    """Which repositories are there?"""

    page: Page

    @property
    def permissions(self) -> frozenset[Permission]:
        """Return the right to see names."""
        return frozenset((Permission(None, Action.LIST),))


@dataclass(frozen=True, slots=True)
class _OfRepository(Route, ABC):
    """A route within one repository."""

    repository: RepositoryName


class _Pull(_OfRepository):
    """A route that reads."""

    __slots__ = ()

    @property
    def permissions(self) -> frozenset[Permission]:
        """Return the right to pull."""
        return frozenset((Permission(self.repository, Action.PULL),))


class _Push(_OfRepository):
    """A route that writes."""

    __slots__ = ()

    @property
    def permissions(self) -> frozenset[Permission]:
        """Return the right to push."""
        return frozenset((Permission(self.repository, Action.PUSH),))


class _Delete(_OfRepository):
    """A route that takes content away."""

    __slots__ = ()

    @property
    def permissions(self) -> frozenset[Permission]:
        """Return the right to delete."""
        return frozenset((Permission(self.repository, Action.DELETE),))


@dataclass(frozen=True, slots=True)
class GetBlob(_Pull):
    """end-2."""

    digest: Digest


@dataclass(frozen=True, slots=True)
class DeleteBlob(_Delete):
    """end-10."""

    digest: Digest


@dataclass(frozen=True, slots=True)
class GetManifest(_Pull):
    """end-3."""

    reference: Tag | Digest


@dataclass(frozen=True, slots=True)
class PutManifest(_Push):
    """end-7a, end-7b.

    Attributes:
        digest: What the bytes must hash to, when pushed by digest.
        tags: Those of the query, and the one of the path.
    """

    digest: Digest | None
    tags: tuple[Tag, ...]


@dataclass(frozen=True, slots=True)
class DeleteManifest(_Delete):
    """end-9: a tag alone, or a manifest with its tags."""

    reference: Tag | Digest


@dataclass(frozen=True, slots=True)
class BeginUpload(_Push):
    """end-4a, end-4c."""

    algorithm: str


@dataclass(frozen=True, slots=True)
class PushBlob(_Push):
    """end-4b: the whole blob in one POST."""

    digest: Digest


@dataclass(frozen=True, slots=True)
class MountBlob(_Push):
    """end-11.

    A mount that is not allowed or not possible is no error but an upload that has begun, so the right to pull
    from `source` is not among the permissions: the handler asks for it.

    Attributes:
        digest: Of the blob.
        source: The repository that has it; None to take it from any.
    """

    digest: Digest
    source: RepositoryName | None


@dataclass(frozen=True, slots=True)
class GetUpload(_Push):
    """end-13."""

    upload: UploadId


@dataclass(frozen=True, slots=True)
class AppendUpload(_Push):
    """end-5."""

    upload: UploadId


@dataclass(frozen=True, slots=True)
class CompleteUpload(_Push):
    """end-6."""

    upload: UploadId
    digest: Digest


@dataclass(frozen=True, slots=True)
class CancelUpload(_Push):
    """end-14."""

    upload: UploadId


@dataclass(frozen=True, slots=True)
class ListTags(_Pull):
    """end-8."""

    page: Page


@dataclass(frozen=True, slots=True)
class ListReferrers(_Pull):
    """end-12."""

    subject: Digest
    artifact_type: str | None
    page: Page
