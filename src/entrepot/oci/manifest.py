"""Image manifests (image-spec `manifest.md`), Docker's schema 2 manifests, artifact manifests."""

from __future__ import annotations

from typing import Literal

import msgspec

from entrepot.oci.descriptor import Descriptor, MediaType

__all__ = ["ArtifactManifest", "ImageManifest"]


class ImageManifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One image for one platform, or an artifact: a config and layers.

    Docker's schema 2 manifest has the same shape under another media type.
    """

    schema_version: Literal[2]
    media_type: str | None = None
    artifact_type: MediaType | None = None
    config: Descriptor
    layers: tuple[Descriptor, ...] | None = None
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None

    def __post_init__(self) -> None:
        # Go's encoder writes an empty list as null; artifacts leave it out, and `layers` is not REQUIRED
        # (https://github.com/opencontainers/image-spec/issues/1025)
        if self.layers is None:
            msgspec.structs.force_setattr(self, "layers", ())


class ArtifactManifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An artifact manifest, of a release candidate of image-spec 1.1: blobs and no config."""

    media_type: str
    artifact_type: MediaType | None = None
    blobs: tuple[Descriptor, ...] | None = None
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None
