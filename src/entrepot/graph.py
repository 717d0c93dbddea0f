"""What a manifest points at.

Whether a descriptor means a blob or a manifest follows from where it stands, not from its media type:
`config`, `layers` and `blobs` are blobs; `manifests` and `subject` are manifests. One exception was forced by
BuildKit's registry cache, which lists layers and a config in an index's `manifests`: an entry there whose
media type is no manifest's is looked up as a manifest, then as a blob
(https://github.com/moby/buildkit/issues/2251; the default of its cache exporter before v0.21).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from entrepot.oci import mediatype
from entrepot.oci.descriptor import Descriptor
from entrepot.oci.document import Manifest
from entrepot.oci.index import Index
from entrepot.oci.manifest import ImageManifest

__all__ = ["Edge", "Kind", "Role", "edges", "subject_edge"]


class Kind(StrEnum):
    """Where the content at the end of an edge lives."""

    BLOB = "blob"
    MANIFEST = "manifest"
    EITHER = "either"


class Role(StrEnum):
    """The field that the edge stands in."""

    CONFIG = "config"
    LAYER = "layer"
    BLOB = "blob"
    MANIFEST = "manifest"
    SUBJECT = "subject"


@dataclass(frozen=True, slots=True)
class Edge:
    """One descriptor in a manifest.

    Attributes:
        descriptor: What is pointed at.
        kind: Whether that is a blob or a manifest.
        role: The field it stands in.
        optional: It may be absent where the manifest is present: subjects, layers that may not be pushed.
    """

    descriptor: Descriptor
    kind: Kind
    role: Role
    optional: bool = False


def edges(manifest: Manifest) -> Iterator[Edge]:
    """Yield what the manifest is made of, in the order of the document; its subject is not part of it."""
    body = manifest.body
    if isinstance(body, ImageManifest):
        yield Edge(body.config, Kind.BLOB, Role.CONFIG)
        for layer in body.layers or ():
            yield Edge(layer, Kind.BLOB, Role.LAYER, optional=mediatype.is_nondistributable(layer.media_type))
    elif isinstance(body, Index):
        for child in body.manifests or ():
            kind = Kind.MANIFEST if mediatype.is_manifest(child.media_type) else Kind.EITHER
            yield Edge(child, kind, Role.MANIFEST)
    else:
        for blob in body.blobs or ():
            yield Edge(blob, Kind.BLOB, Role.BLOB)


def subject_edge(manifest: Manifest) -> Edge | None:
    """Return the edge to the manifest's subject, which may always be absent."""
    if manifest.subject is None:
        return None
    return Edge(manifest.subject, Kind.MANIFEST, Role.SUBJECT, optional=True)
