"""Pre-defined annotation keys (image-spec `annotations.md`), and those that clients have made customary."""

from __future__ import annotations

from typing import Final

__all__ = [
    "AUTHORS",
    "BASE_DIGEST",
    "BASE_NAME",
    "CONTAINERD_NAME",
    "CREATED",
    "DESCRIPTION",
    "DOCKER_REFERENCE_DIGEST",
    "DOCKER_REFERENCE_TYPE",
    "DOCUMENTATION",
    "LICENSES",
    "REF_NAME",
    "REVISION",
    "SOURCE",
    "TITLE",
    "URL",
    "VENDOR",
    "VERSION",
]

CREATED: Final = "org.opencontainers.image.created"
AUTHORS: Final = "org.opencontainers.image.authors"
URL: Final = "org.opencontainers.image.url"
DOCUMENTATION: Final = "org.opencontainers.image.documentation"
SOURCE: Final = "org.opencontainers.image.source"
VERSION: Final = "org.opencontainers.image.version"
REVISION: Final = "org.opencontainers.image.revision"
VENDOR: Final = "org.opencontainers.image.vendor"
LICENSES: Final = "org.opencontainers.image.licenses"
REF_NAME: Final = "org.opencontainers.image.ref.name"
TITLE: Final = "org.opencontainers.image.title"
DESCRIPTION: Final = "org.opencontainers.image.description"
BASE_DIGEST: Final = "org.opencontainers.image.base.digest"
BASE_NAME: Final = "org.opencontainers.image.base.name"

CONTAINERD_NAME: Final = "io.containerd.image.name"
"""The full reference of an image in a layout; containerd writes it beside `REF_NAME`."""

DOCKER_REFERENCE_TYPE: Final = "vnd.docker.reference.type"
"""`attestation-manifest` on the entries that BuildKit lists as `unknown/unknown`."""

DOCKER_REFERENCE_DIGEST: Final = "vnd.docker.reference.digest"
