"""Manifests of every kind as they are read: parsed, and kept byte for byte.

A parsed manifest keeps its raw bytes, since they are what its digest is of, and what it is passed on as.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from entrepot.errors import InvalidDocument, UnsupportedDocument
from entrepot.oci import mediatype
from entrepot.oci.codec import decode, decode_object, encode
from entrepot.oci.descriptor import Descriptor
from entrepot.oci.digest import Digest
from entrepot.oci.index import Index
from entrepot.oci.manifest import ArtifactManifest, ImageManifest

__all__ = ["Body", "Manifest", "decode", "encode", "parse_manifest"]

Body: TypeAlias = ImageManifest | Index | ArtifactManifest

_BODIES: dict[str, type[Body]] = {
    mediatype.IMAGE_MANIFEST: ImageManifest,
    mediatype.DOCKER_MANIFEST: ImageManifest,
    mediatype.IMAGE_INDEX: Index,
    mediatype.DOCKER_MANIFEST_LIST: Index,
    mediatype.ARTIFACT_MANIFEST: ArtifactManifest,
}

_SAYS_NOTHING = frozenset({"", "application/json", "application/octet-stream", "text/plain"})

# Which fields make a document one kind and not another. A document with fields of two kinds can be read as
# either by different programs under one digest, so it is refused (CVE-2021-41190).
_TELLING = {"layers": "image", "config": "image", "manifests": "index", "blobs": "artifact"}
_KIND = {ImageManifest: "image", Index: "index", ArtifactManifest: "artifact"}


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or index as it was read.

    Attributes:
        raw: The bytes, exactly.
        media_type: From its `mediaType` field, else from the Content-Type it came with, else from its shape.
        digest: Of `raw`.
        body: What the bytes say.
    """

    raw: bytes
    media_type: str
    digest: Digest
    body: Body

    @property
    def descriptor(self) -> Descriptor:
        """Return a plain descriptor of this manifest."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=len(self.raw))

    @property
    def subject(self) -> Descriptor | None:
        """Return the manifest that this one refers to."""
        return self.body.subject

    @property
    def artifact_type(self) -> str | None:
        """Return the type under which referrers list it: an image's falls back to its config's media type."""
        if self.body.artifact_type:
            return self.body.artifact_type
        return self.body.config.media_type if isinstance(self.body, ImageManifest) else None

    def as_referrer(self) -> Descriptor:
        """Return the descriptor by which it is listed (distribution-spec, "Listing Referrers")."""
        return Descriptor(
            media_type=self.media_type,
            digest=self.digest,
            size=len(self.raw),
            artifact_type=self.artifact_type,
            annotations=self.body.annotations or None,
        )


def parse_manifest(raw: bytes, media_type: str | None = None, *, digest: Digest | None = None) -> Manifest:
    """Read a manifest or index.

    Args:
        raw: Its bytes.
        media_type: What it came as; parameters are ignored. When it is absent, or says nothing
            (`application/json`, `text/plain`), the document's own field decides, then its shape.
        digest: The digest that `raw` is already known to have; computed (sha256) when absent.

    Raises:
        UnsupportedDocument: A media type or schema version that we do not read.
        InvalidDocument: Not what its media type says, or two kinds at once; says where.
    """
    tree = decode_object(raw)
    if tree.get("schemaVersion") == 1:
        raise UnsupportedDocument(
            "Docker's schema 1 is not read", path="schemaVersion", hint="convert it with a current client"
        )
    declared = _declared_media_type(tree, media_type)
    kind = _BODIES.get(declared)
    if kind is None:
        raise UnsupportedDocument(f"not the media type of a manifest that we read: {declared[:200]!r}")
    for field, belongs_to in _TELLING.items():
        if tree.get(field) is not None and belongs_to != _KIND[kind]:
            raise InvalidDocument(f"does not belong into {declared}", path=field)
    body: Body = decode(raw, kind)
    return Manifest(raw=raw, media_type=declared, digest=digest or Digest.of(raw), body=body)


def _declared_media_type(tree: dict[str, Any], came_as: str | None) -> str:
    """Return the media type that the document has, from its own field, from outside, or from its shape."""
    own = tree.get("mediaType")
    if own is not None and not isinstance(own, str):
        raise InvalidDocument("expected string", path="mediaType")
    declared = mediatype.without_parameters(came_as) if came_as else ""
    if declared in _SAYS_NOTHING:
        declared = own or _media_type_by_shape(tree)
    if not declared:
        raise UnsupportedDocument("neither a media type nor the fields of a manifest")
    if own and own != declared:
        raise InvalidDocument(
            f"contradicts the media type it came as, {declared[:200]!r}: {own[:200]!r}", path="mediaType"
        )
    return declared


def _media_type_by_shape(tree: dict[str, Any]) -> str:
    if "manifests" in tree:
        return mediatype.IMAGE_INDEX
    if "config" in tree or "layers" in tree:
        config = tree.get("config")
        docker = isinstance(config, dict) and config.get("mediaType") == mediatype.DOCKER_CONFIG
        return mediatype.DOCKER_MANIFEST if docker else mediatype.IMAGE_MANIFEST
    return ""
