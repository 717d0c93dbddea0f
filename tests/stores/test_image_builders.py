"""The builders of small images make images by the specification."""

from __future__ import annotations

import gzip
import io
import tarfile

import msgspec

from entrepot.graph import edges
from entrepot.oci import ArtifactManifest, Digest, ImageConfig, Platform, mediatype, parse_manifest
from entrepot.testing import artifact, blob, image, index, layer

ARM64 = Platform(os="linux", architecture="arm64", variant="v8")


def test_the_same_arguments_give_the_same_bytes() -> None:
    """And another seed gives others."""
    assert blob(1000, "a") == blob(1000, "a")
    assert blob(1000, "a") != blob(1000, "b")
    assert image(seed="a") == image(seed="a")
    assert image(seed="a").digest != image(seed="b").digest


def test_an_image_can_be_taken_apart() -> None:
    """The manifest names config and layers, the config the platform and the layers' uncompressed digests."""
    part = layer({"etc/motd": b"hello"})
    built = image(part, platform=ARM64, annotations={"a": "b"})

    manifest = parse_manifest(built.raw)
    assert [edge.descriptor for edge in edges(manifest)] == [each.descriptor for each in built.blobs]
    config = ImageConfig.parse(built.blobs[0].raw)
    assert config.platform == ARM64
    unpacked = gzip.decompress(part.raw)
    assert config.rootfs.diff_ids == (Digest.of(unpacked),)
    with tarfile.open(fileobj=io.BytesIO(unpacked)) as archive:
        assert archive.extractfile("etc/motd").read() == b"hello"  # type: ignore[union-attr]
    assert msgspec.json.decode(built.blobs[0].raw)["rootfs"]["type"] == "layers"


def test_an_index_has_the_platforms_of_its_images() -> None:
    """That is what a client chooses by."""
    both = index(image(), image(platform=ARM64), media_type=mediatype.DOCKER_MANIFEST_LIST)

    manifest = parse_manifest(both.raw)
    assert manifest.media_type == mediatype.DOCKER_MANIFEST_LIST
    assert [edge.descriptor.platform for edge in edges(manifest)] == [
        Platform(os="linux", architecture="amd64"),
        ARM64,
    ]


def test_an_artifact_refers_to_its_subject() -> None:
    """By the guidelines of image-spec 1.1, and as the artifact manifest of its release candidate."""
    subject = image(seed="subject")
    about = artifact(blob(10), subject=subject, artifact_type="application/x.a")
    old = artifact(blob(10), subject=subject, media_type=mediatype.ARTIFACT_MANIFEST)

    manifest = parse_manifest(about.raw)
    assert manifest.subject == subject.descriptor.plain()
    assert manifest.artifact_type == "application/x.a"
    assert [each.descriptor for each in about.blobs] == [edge.descriptor for edge in edges(manifest)]
    assert isinstance(parse_manifest(old.raw).body, ArtifactManifest)


def test_a_tree_gives_the_parts_before_the_whole() -> None:
    """In the order in which they have to be written."""
    inner = index(image(seed="a"))
    outer = index(inner, image(seed="b"))

    assert [each.digest for each in outer.all_manifests()] == [
        inner.children[0].digest,
        inner.digest,
        outer.children[1].digest,
        outer.digest,
    ]
    assert len(list(outer.all_blobs())) == 4
