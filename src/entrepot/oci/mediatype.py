"""Media types (image-spec `media-types.md`; Docker's image manifest version 2, schema 2)."""

from __future__ import annotations

import re
from typing import Final

__all__ = [
    "ARTIFACT_MANIFEST",
    "DOCKER_CONFIG",
    "DOCKER_FOREIGN_LAYER_GZIP",
    "DOCKER_LAYER",
    "DOCKER_LAYER_GZIP",
    "DOCKER_MANIFEST",
    "DOCKER_MANIFEST_LIST",
    "EMPTY_JSON",
    "IMAGE_CONFIG",
    "IMAGE_INDEX",
    "IMAGE_LAYER",
    "IMAGE_LAYER_GZIP",
    "IMAGE_LAYER_ZSTD",
    "IMAGE_MANIFEST",
    "MANIFESTS",
    "MANIFEST_ACCEPT",
    "is_image",
    "is_index",
    "is_manifest",
    "is_nondistributable",
    "is_valid",
    "without_parameters",
]

IMAGE_INDEX: Final = "application/vnd.oci.image.index.v1+json"
IMAGE_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
IMAGE_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
IMAGE_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
IMAGE_LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
IMAGE_LAYER_ZSTD: Final = "application/vnd.oci.image.layer.v1.tar+zstd"
EMPTY_JSON: Final = "application/vnd.oci.empty.v1+json"
ARTIFACT_MANIFEST: Final = "application/vnd.oci.artifact.manifest.v1+json"
"""Of a release candidate of image-spec 1.1; dropped from it, still found in registries."""

DOCKER_MANIFEST_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_FOREIGN_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

_INDEXES = frozenset({IMAGE_INDEX, DOCKER_MANIFEST_LIST})
_IMAGES = frozenset({IMAGE_MANIFEST, DOCKER_MANIFEST})

MANIFESTS: Final = _INDEXES | _IMAGES | {ARTIFACT_MANIFEST}
"""Every media type whose content lives at `/manifests/`."""

MANIFEST_ACCEPT: Final = ", ".join(
    (IMAGE_INDEX, IMAGE_MANIFEST, DOCKER_MANIFEST_LIST, DOCKER_MANIFEST, ARTIFACT_MANIFEST, "*/*")
)
"""What a client of ours puts into Accept when it does not know what to expect."""

_RFC_6838 = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")


def is_index(media_type: str) -> bool:
    """Tell whether the content lists manifests."""
    return media_type in _INDEXES


def is_image(media_type: str) -> bool:
    """Tell whether the content names a config and layers."""
    return media_type in _IMAGES


def is_manifest(media_type: str) -> bool:
    """Tell whether the content lives at `/manifests/`."""
    return media_type in MANIFESTS


def is_nondistributable(media_type: str) -> bool:
    """Tell whether a layer may be missing from a registry because its licence forbids pushing it."""
    return media_type.startswith(
        ("application/vnd.oci.image.layer.nondistributable.", "application/vnd.docker.image.rootfs.foreign.")
    )


def is_valid(media_type: str) -> bool:
    """Tell whether the text is a media type name (RFC 6838, section 4.2), without parameters."""
    return _RFC_6838.fullmatch(media_type) is not None


def without_parameters(content_type: str) -> str:
    """Return the media type of a Content-Type header ("The registry SHOULD ignore parameters")."""
    return content_type.partition(";")[0].strip().lower()
