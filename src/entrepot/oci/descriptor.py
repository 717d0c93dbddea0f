"""Descriptors (image-spec `descriptor.md`)."""

from __future__ import annotations

import base64
from typing import Annotated

import msgspec

from entrepot.errors import InvalidDocument
from entrepot.oci.digest import Digest
from entrepot.oci.platform import Platform

__all__ = ["MAX_SIZE", "Descriptor", "MediaType", "Size"]

MAX_SIZE = 2**63 - 1
"""Bytes; the specification asks for an int64."""

Size = Annotated[int, msgspec.Meta(ge=0, le=MAX_SIZE)]

MediaType = Annotated[str, msgspec.Meta(pattern=r"\A[ -~]{0,255}\Z")]
"""A media type that we take from others: printable ASCII, of the length that RFC 6838 allows.

Not its whole grammar, since registries hold manifests that do not follow it, but nothing that could break a
header or a column: descriptors' media types go into Accept, artifact types into a database.
"""


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Where content is and what it must be.

    Attributes:
        media_type: Of the content.
        digest: Of the content's bytes.
        size: Of the content, in bytes.
        urls: Other places to download from; never followed unless somebody asks for it.
        annotations: Anything about this use of the content.
        data: The content itself, base64; see `embedded`.
        artifact_type: What the content is an artifact of, when that is known.
        platform: What the content runs on, in an index.
    """

    media_type: MediaType
    digest: Digest
    size: Size
    urls: tuple[str, ...] | None = None
    annotations: dict[str, str] | None = None
    data: str | None = None
    artifact_type: MediaType | None = None
    platform: Platform | None = None

    def embedded(self) -> bytes | None:
        """Return the content that the descriptor carries in `data`, verified.

        None if it carries none, or under a digest that we cannot compute: unverified content is none.

        Raises:
            InvalidDocument: `data` is not base64, or not the content that the descriptor describes.
        """
        if self.data is None or not self.digest.computable:
            return None
        try:
            content = base64.b64decode(self.data, validate=True)
        except ValueError:
            raise InvalidDocument("expected base64", path="data") from None
        if len(content) != self.size or Digest.of(content, self.digest.algorithm) != self.digest:
            raise InvalidDocument(f"not the content that is described: {self.digest}", path="data")
        return content

    def plain(self) -> Descriptor:
        """Return this descriptor with nothing but media type, digest and size: what identifies content."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=self.size)
