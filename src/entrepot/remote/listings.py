"""The bodies of lists: tags of a repository, repositories of a registry."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from entrepot.errors import NameInvalid, ProtocolViolation, TagInvalid
from entrepot.reference import RepositoryName, Tag

__all__ = ["repositories_of", "tags_of"]

_T = TypeVar("_T")


class _Tags(msgspec.Struct):
    """A page of tags; Go's encoder writes an empty list as null."""

    tags: list[str] | None = None


class _Catalog(msgspec.Struct):
    """A page of the catalog."""

    repositories: list[str] | None = None


def tags_of(content: bytes, *, peer: str) -> list[Tag]:
    """Return the tags on a page.

    Raises:
        ProtocolViolation: It is no page of tags, or lists what cannot be one.
    """
    try:
        return [Tag(text) for text in _decoded(content, _Tags, peer).tags or ()]
    except TagInvalid as error:
        raise ProtocolViolation(f"{peer} lists something that is {error.message}", peer=peer) from None


def repositories_of(content: bytes, *, peer: str) -> list[RepositoryName]:
    """Return the repositories on a page.

    Raises:
        ProtocolViolation: It is no page of a catalog, or lists what cannot be a repository.
    """
    try:
        return [RepositoryName(text) for text in _decoded(content, _Catalog, peer).repositories or ()]
    except NameInvalid as error:
        raise ProtocolViolation(f"{peer} lists something that is {error.message}", peer=peer) from None


def _decoded(content: bytes, kind: type[_T], peer: str) -> _T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProtocolViolation(f"{peer} gave a list that is none: {content[:80]!r}", peer=peer) from None
