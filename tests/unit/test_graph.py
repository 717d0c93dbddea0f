"""Edges: blob or manifest follows from the position of a descriptor."""

from __future__ import annotations

from typing import Any

import pytest

from entrepot.graph import Edge, Kind, Role, edges, subject_edge
from entrepot.oci import Digest, Manifest, mediatype, parse_manifest
from entrepot.oci.document import encode


def descriptor(name: str, media_type: str = "application/vnd.example+type") -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(Digest.of(name.encode())), "size": len(name)}


def manifest(media_type: str, **fields: Any) -> Manifest:
    return parse_manifest(encode({"schemaVersion": 2, "mediaType": media_type, **fields}))


def summary(found: list[Edge]) -> list[tuple[str, Kind, Role, bool]]:
    return [(edge.descriptor.digest, edge.kind, edge.role, edge.optional) for edge in found]


@pytest.mark.parametrize("media_type", [mediatype.IMAGE_MANIFEST, mediatype.DOCKER_MANIFEST])
def test_image(media_type: str) -> None:
    """An image is made of its config and its layers, in the order of the document, all of them blobs."""
    # a layer that says it is a manifest is a blob all the same
    layers = [descriptor("one"), descriptor("two", mediatype.IMAGE_MANIFEST), descriptor("one")]
    image = manifest(media_type, config=descriptor("config"), layers=layers)
    assert summary(list(edges(image))) == [
        (Digest.of(b"config"), Kind.BLOB, Role.CONFIG, False),
        (Digest.of(b"one"), Kind.BLOB, Role.LAYER, False),
        (Digest.of(b"two"), Kind.BLOB, Role.LAYER, False),
        (Digest.of(b"one"), Kind.BLOB, Role.LAYER, False),
    ]


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        mediatype.DOCKER_FOREIGN_LAYER_GZIP,
    ],
)
def test_foreign_layers_are_optional(media_type: str) -> None:
    """A layer that may not be pushed may be absent."""
    image = manifest(
        mediatype.IMAGE_MANIFEST,
        config=descriptor("config"),
        layers=[descriptor("foreign", media_type), descriptor("own", mediatype.IMAGE_LAYER_GZIP)],
    )
    assert [edge.optional for edge in edges(image)] == [False, True, False]


@pytest.mark.parametrize("media_type", [mediatype.IMAGE_INDEX, mediatype.DOCKER_MANIFEST_LIST])
def test_index(media_type: str) -> None:
    """An index is made of manifests, other indexes among them; an entry of another type may be a blob."""
    children = [
        descriptor("image", mediatype.IMAGE_MANIFEST),
        descriptor("nested", mediatype.IMAGE_INDEX),
        descriptor("cache", "application/vnd.buildkit.cacheconfig.v0"),
    ]
    found = list(edges(manifest(media_type, manifests=children)))
    assert [edge.kind for edge in found] == [Kind.MANIFEST, Kind.MANIFEST, Kind.EITHER]
    assert {edge.role for edge in found} == {Role.MANIFEST}


def test_artifact() -> None:
    """An artifact manifest is made of blobs."""
    found = list(edges(manifest(mediatype.ARTIFACT_MANIFEST, blobs=[descriptor("one"), descriptor("two")])))
    assert {(edge.kind, edge.role) for edge in found} == {(Kind.BLOB, Role.BLOB)}
    assert list(edges(manifest(mediatype.ARTIFACT_MANIFEST))) == []


@pytest.mark.parametrize(
    "fields",
    [{"config": descriptor("c"), "layers": []}, {"manifests": []}],
    ids=["image", "index"],
)
def test_subject_is_no_part(fields: dict[str, Any]) -> None:
    """A subject is an edge of its own, to a manifest that may always be absent."""
    media_type = mediatype.IMAGE_INDEX if "manifests" in fields else mediatype.IMAGE_MANIFEST
    with_subject = manifest(media_type, subject=descriptor("subject"), **fields)
    assert all(edge.role is not Role.SUBJECT for edge in edges(with_subject))
    found = subject_edge(with_subject)
    assert found is not None
    assert summary([found]) == [(Digest.of(b"subject"), Kind.MANIFEST, Role.SUBJECT, True)]
    assert subject_edge(manifest(media_type, **fields)) is None
