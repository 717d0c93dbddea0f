"""Manifests as they are read: bytes kept, kinds told apart, referrers described."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.errors import InvalidDocument, UnsupportedDocument
from entrepot.oci import ArtifactManifest, Descriptor, Digest, ImageManifest, Index, mediatype, parse_manifest
from entrepot.oci.codec import decode, encode

CONFIG = {"mediaType": mediatype.IMAGE_CONFIG, "digest": str(Digest.of(b"{}")), "size": 2}
LAYER = {"mediaType": mediatype.IMAGE_LAYER_GZIP, "digest": str(Digest.of(b"layer")), "size": 5}
CHILD = {"mediaType": mediatype.IMAGE_MANIFEST, "digest": str(Digest.of(b"child")), "size": 5}
IMAGE: dict[str, Any] = {"schemaVersion": 2, "config": CONFIG, "layers": [LAYER]}
INDEX: dict[str, Any] = {"schemaVersion": 2, "manifests": [CHILD]}


def raw(tree: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({**tree, **more}, indent=3).encode()


@pytest.mark.parametrize(
    ("tree", "came_as", "media_type", "kind"),
    [
        ({**IMAGE, "mediaType": mediatype.IMAGE_MANIFEST}, None, mediatype.IMAGE_MANIFEST, ImageManifest),
        ({**IMAGE, "mediaType": mediatype.DOCKER_MANIFEST}, None, mediatype.DOCKER_MANIFEST, ImageManifest),
        (
            {**INDEX, "mediaType": mediatype.DOCKER_MANIFEST_LIST},
            "text/plain",
            mediatype.DOCKER_MANIFEST_LIST,
            Index,
        ),
        ({**INDEX, "mediaType": mediatype.IMAGE_INDEX}, mediatype.IMAGE_INDEX, mediatype.IMAGE_INDEX, Index),
        (IMAGE, f"{mediatype.IMAGE_MANIFEST}; charset=utf-8", mediatype.IMAGE_MANIFEST, ImageManifest),
        (IMAGE, mediatype.DOCKER_MANIFEST.upper(), mediatype.DOCKER_MANIFEST, ImageManifest),
        (IMAGE, "application/json", mediatype.IMAGE_MANIFEST, ImageManifest),
        (
            {**IMAGE, "config": {**CONFIG, "mediaType": mediatype.DOCKER_CONFIG}},
            None,
            mediatype.DOCKER_MANIFEST,
            ImageManifest,
        ),
        (INDEX, None, mediatype.IMAGE_INDEX, Index),
        (
            {"mediaType": mediatype.ARTIFACT_MANIFEST, "blobs": [LAYER]},
            None,
            mediatype.ARTIFACT_MANIFEST,
            ArtifactManifest,
        ),
        (
            {**IMAGE, "mediaType": None, "manifests": None},
            mediatype.IMAGE_MANIFEST,
            mediatype.IMAGE_MANIFEST,
            ImageManifest,
        ),
    ],
)
def test_media_type(tree: dict[str, Any], came_as: str | None, media_type: str, kind: type) -> None:
    """The media type is the document's own, else the one it came as, else told from the shape."""
    manifest = parse_manifest(raw(tree), came_as)
    assert manifest.media_type == media_type
    assert type(manifest.body) is kind


@pytest.mark.parametrize(
    ("tree", "came_as", "message"),
    [
        ({**IMAGE, "manifests": [CHILD]}, mediatype.IMAGE_MANIFEST, "manifests: does not belong into"),
        ({**INDEX, "layers": []}, mediatype.IMAGE_INDEX, "layers: does not belong into"),
        ({**INDEX, "config": CONFIG}, None, "config: does not belong into"),
        (
            {**IMAGE, "mediaType": mediatype.IMAGE_MANIFEST},
            mediatype.DOCKER_MANIFEST,
            "mediaType: contradicts",
        ),
        ({**IMAGE, "mediaType": 5}, None, "mediaType: expected string"),
        ({**IMAGE, "schemaVersion": 3}, None, "schemaVersion: invalid value 3"),
        ({"schemaVersion": 2, "mediaType": mediatype.IMAGE_INDEX}, None, "manifests: is missing"),
    ],
)
def test_two_readings(tree: dict[str, Any], came_as: str | None, message: str) -> None:
    """A document that can be taken for two kinds, or contradicts its header, is refused (CVE-2021-41190)."""
    with pytest.raises(InvalidDocument) as caught:
        parse_manifest(raw(tree), came_as)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("tree", "came_as", "message"),
    [
        (
            {"schemaVersion": 1, "name": "a", "fsLayers": []},
            None,
            "schemaVersion: Docker's schema 1 is not read",
        ),
        ({}, None, "neither a media type nor the fields of a manifest"),
        ({"a": 1}, "application/json", "neither a media type nor the fields of a manifest"),
        (
            IMAGE,
            "application/vnd.example",
            "not the media type of a manifest that we read: 'application/vnd.example'",
        ),
        ({"mediaType": "x" * 10**6}, None, f"not the media type of a manifest that we read: '{'x' * 200}'"),
    ],
)
def test_unsupported(tree: dict[str, Any], came_as: str | None, message: str) -> None:
    """What is no manifest of ours is told apart from a broken one."""
    with pytest.raises(UnsupportedDocument) as caught:
        parse_manifest(raw(tree), came_as)
    assert str(caught.value) == message


@given(unknown=st.dictionaries(st.text().map("x-{}".format), st.text(), max_size=3), indent=st.integers(0, 3))
def test_bytes_in_are_bytes_out(unknown: dict[str, str], indent: int) -> None:
    """A parsed manifest keeps its bytes, spaces, order and unknown fields included, and they are its identity."""
    before = json.dumps({**unknown, **IMAGE, "mediaType": mediatype.IMAGE_MANIFEST}, indent=indent).encode()
    manifest = parse_manifest(before)
    assert manifest.raw == before
    assert manifest.descriptor == Descriptor(
        media_type=mediatype.IMAGE_MANIFEST, digest=Digest.of(before), size=len(before)
    )
    kept = json.loads(manifest.raw)
    assert {key: kept[key] for key in unknown} == unknown


def test_known_digest_is_kept() -> None:
    """A digest of another algorithm, known from elsewhere, stays the manifest's identity."""
    content = raw(IMAGE)
    sha512 = Digest.of(content, "sha512")
    assert parse_manifest(content, digest=sha512).descriptor.digest == sha512


@pytest.mark.parametrize("layers", [{"layers": None}, {"layers": []}, {}])
def test_no_layers(layers: dict[str, Any]) -> None:
    """Go writes an empty list as null, and artifacts leave it out: all of them mean no layers."""
    manifest = parse_manifest(raw({"schemaVersion": 2, "config": CONFIG, **layers}))
    assert isinstance(manifest.body, ImageManifest)
    assert manifest.body.layers == ()
    index = parse_manifest(raw({"schemaVersion": 2, "manifests": None}))
    assert isinstance(index.body, Index)
    assert index.body.manifests == ()


@pytest.mark.parametrize(
    ("tree", "artifact_type"),
    [
        ({**IMAGE, "artifactType": "application/vnd.example"}, "application/vnd.example"),
        (IMAGE, mediatype.IMAGE_CONFIG),
        ({**IMAGE, "artifactType": ""}, mediatype.IMAGE_CONFIG),
        ({**INDEX, "artifactType": "application/vnd.example"}, "application/vnd.example"),
        (INDEX, None),
    ],
)
def test_as_referrer(tree: dict[str, Any], artifact_type: str | None) -> None:
    """A referrer is listed with its artifact type, an image's config standing in, and with its annotations."""
    manifest = parse_manifest(raw(tree, subject=CHILD, annotations={"a": "b"}))
    listed = manifest.as_referrer()
    assert listed.artifact_type == artifact_type
    assert listed.annotations == {"a": "b"}
    assert listed.size == len(manifest.raw)
    assert manifest.subject == decode(encode(CHILD), Descriptor)


def test_descriptor_keeps_all_its_fields() -> None:
    """Every field of a descriptor is read and written back."""
    tree = {
        "mediaType": "a/b", "digest": str(Digest.of(b"{}")), "size": 2, "urls": ["https://a.example/b"],
        "annotations": {"a": ""}, "data": "e30=", "artifactType": "c/d",
        "platform": {"architecture": "arm64", "os": "linux", "os.version": "1", "os.features": ["x"], "variant": "v8"},
    }  # fmt: skip
    descriptor = decode(json.dumps(tree).encode(), Descriptor)
    assert json.loads(encode(descriptor)) == tree
    assert json.loads(encode(descriptor.plain())) == {"mediaType": "a/b", "digest": tree["digest"], "size": 2}


def test_embedded_content_is_verified() -> None:
    """Embedded content is given out only when size and digest are right; what cannot be checked is not there."""
    descriptor = Descriptor(media_type=mediatype.EMPTY_JSON, digest=Digest.of(b"{}"), size=2, data="e30=")
    assert descriptor.embedded() == b"{}"
    assert descriptor.plain().embedded() is None
    unknown = Descriptor(media_type="a/b", digest=Digest("md5:abc"), size=2, data="e30=")
    assert unknown.embedded() is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("e30", "data: expected base64"),
        ("e3\u00e90", "data: expected base64"),
        ("e30=\n", "data: expected base64"),
        (base64.b64encode(b"{]").decode(), f"data: not the content that is described: {Digest.of(b'{}')}"),
        (base64.b64encode(b"{} ").decode(), f"data: not the content that is described: {Digest.of(b'{}')}"),
    ],
)
def test_embedded_content_is_refused(data: str, message: str) -> None:
    """Embedded content that is not base64 or not what is described is refused."""
    descriptor = Descriptor(media_type="a/b", digest=Digest.of(b"{}"), size=2, data=data)
    with pytest.raises(InvalidDocument) as caught:
        descriptor.embedded()
    assert str(caught.value) == message


def test_embedded_content_of_another_size() -> None:
    """The right content under a wrong size is not what is described."""
    descriptor = Descriptor(media_type="a/b", digest=Digest.of(b"{}"), size=3, data="e30=")
    with pytest.raises(InvalidDocument, match=r"^data: not the content"):
        descriptor.embedded()
