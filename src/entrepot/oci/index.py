"""Image indexes (image-spec `image-index.md`) and Docker's manifest lists."""

from __future__ import annotations

from typing import Literal

import msgspec

from entrepot.oci.descriptor import Descriptor, MediaType

__all__ = ["Index"]


class Index(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A list of manifests, most often one for each platform; may list indexes, and may have a subject."""

    schema_version: Literal[2]
    media_type: str | None = None
    artifact_type: MediaType | None = None
    manifests: tuple[Descriptor, ...] | None
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None

    def __post_init__(self) -> None:
        # Go's encoder writes an empty list as null
        if self.manifests is None:
            msgspec.structs.force_setattr(self, "manifests", ())
