"""What the registry's storage hands out: what it has of a manifest, a blob, an upload."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Self

from entrepot.errors import BlobUploadUnknown
from entrepot.oci.digest import Digest
from entrepot.reference import Tag

__all__ = ["PutManifest", "StoredBlob", "StoredManifest", "UploadId", "UploadStatus"]

_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")


class UploadId(str):
    """The name of an upload: 128 random bits in hexadecimal digits. Constructing one is parsing it.

    Raises:
        BlobUploadUnknown: No upload can have this name.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not _UPLOAD_ID.fullmatch(text):
            raise BlobUploadUnknown(f"not an upload's id: {text[:100]!r}")
        return str.__new__(cls, text)

    @classmethod
    def random(cls) -> Self:
        """Return a name that nobody can guess."""
        return cls(secrets.token_hex(16))


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest that a repository has. `subject` is what it refers to."""

    digest: Digest
    media_type: str
    size: int
    subject: Digest | None


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob that a repository has; `location` says where its bytes are."""

    digest: Digest
    size: int
    location: str


@dataclass(frozen=True, slots=True)
class UploadStatus:
    """An upload and how many bytes of it there are."""

    upload: UploadId
    offset: int


@dataclass(frozen=True, slots=True)
class PutManifest:
    """A manifest that was taken, and the tags that now point at it."""

    digest: Digest
    media_type: str
    subject: Digest | None
    tags: tuple[Tag, ...]
