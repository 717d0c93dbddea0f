"""Small images for tests: the same arguments give the same bytes (of a gzipped layer: with the same zlib).

base = layer({"etc/motd": b"hello"})
amd64 = image(base, layer({"app": b"1"}), platform=Platform(os="linux", architecture="amd64"))
arm64 = image(base, layer({"app": b"2"}), platform=Platform(os="linux", architecture="arm64"))
both = index(amd64, arm64)
await both.write_to(store, names=[Tag("1.0")])
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import anyio.lowlevel
import msgspec

from entrepot.oci import (
    ArtifactManifest,
    Descriptor,
    Digest,
    ImageConfig,
    ImageManifest,
    Index,
    Platform,
    RootFS,
    encode,
    mediatype,
)
from entrepot.reference import RefName
from entrepot.store import CHUNK_BYTES, Destination

__all__ = ["AMD64", "Content", "Tree", "artifact", "blob", "content", "image", "index", "layer"]

AMD64 = Platform(os="linux", architecture="amd64")


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes and their descriptor.

    Attributes:
        descriptor: What they are.
        raw: The bytes.
        diff_id: Of a layer, the digest of its uncompressed tar.
    """

    descriptor: Descriptor
    raw: bytes
    diff_id: Digest | None = None

    @property
    def digest(self) -> Digest:
        """Return the digest of the bytes."""
        return self.descriptor.digest

    @asynccontextmanager
    async def open_at(self, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open the bytes at an offset, as `Destination.write_blob` wants it; lets other tasks run in between."""
        yield chunked(self.raw[offset:])


async def chunked(raw: bytes, size: int = CHUNK_BYTES) -> AsyncIterator[bytes]:
    """Yield the bytes in chunks, letting other tasks run in between."""
    for start in range(0, len(raw), size):
        await anyio.lowlevel.checkpoint()
        yield raw[start : start + size]


@dataclass(frozen=True, slots=True)
class Tree:
    """A manifest with everything that it is made of.

    Attributes:
        manifest: The manifest itself.
        blobs: Its config and layers.
        children: What its `manifests` list.
    """

    manifest: Content
    blobs: tuple[Content, ...] = ()
    children: tuple[Tree, ...] = ()

    @property
    def descriptor(self) -> Descriptor:
        """Return the descriptor of the manifest."""
        return self.manifest.descriptor

    @property
    def digest(self) -> Digest:
        """Return the digest of the manifest."""
        return self.manifest.descriptor.digest

    @property
    def raw(self) -> bytes:
        """Return the bytes of the manifest."""
        return self.manifest.raw

    def all_blobs(self) -> Iterator[Content]:
        """Yield every blob below this manifest; one that is used twice comes twice."""
        yield from self.blobs
        for child in self.children:
            yield from child.all_blobs()

    def all_manifests(self) -> Iterator[Content]:
        """Yield every manifest, each behind those that it lists."""
        for child in self.children:
            yield from child.all_manifests()
        yield self.manifest

    async def write_to(self, destination: Destination, *, names: Collection[RefName] = ()) -> None:
        """Write what is missing, the parts before the whole; the names point at this manifest."""
        for part in self.blobs:
            if not await destination.has_blob(part.descriptor):
                await destination.write_blob(part.descriptor, part.open_at)
        for child in self.children:
            await child.write_to(destination)
        await destination.write_manifest(self.descriptor, self.raw, names=names)


def content(
    raw: bytes, media_type: str = "application/octet-stream", *, algorithm: str = "sha256"
) -> Content:
    """Describe bytes."""
    return Content(Descriptor(media_type=media_type, digest=Digest.of(raw, algorithm), size=len(raw)), raw)


def blob(
    size: int, seed: str = "", *, media_type: str = "application/octet-stream", algorithm: str = "sha256"
) -> Content:
    """Make up a blob of `size` bytes that do not compress; another seed, other bytes."""
    return content(hashlib.shake_128(seed.encode()).digest(size), media_type, algorithm=algorithm)


def layer(files: Mapping[str, bytes], *, media_type: str = mediatype.IMAGE_LAYER_GZIP) -> Content:
    """Make a layer of these files, owned by root, all of the same old age; gzip if the media type says so."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    raw = tar.getvalue()
    compressed = gzip.compress(raw, mtime=0) if media_type.endswith("gzip") else raw
    return replace(content(compressed, media_type), diff_id=Digest.of(raw))


def image(
    *layers: Content,
    platform: Platform = AMD64,
    seed: str = "",
    media_type: str = mediatype.IMAGE_MANIFEST,
    annotations: dict[str, str] | None = None,
    subject: Tree | None = None,
    algorithm: str = "sha256",
) -> Tree:
    """Make an image.

    Args:
        layers: The lowest first; without any, one that the seed makes up.
        platform: What it runs on.
        seed: Makes images differ that are otherwise equal.
        media_type: Of the manifest; Docker's gets Docker's config as well.
        annotations: Of the manifest.
        subject: What it refers to.
        algorithm: Of the manifest's own digest.
    """
    parts = layers or (layer({"seed": seed.encode()}),)
    config = ImageConfig(
        architecture=platform.architecture,
        os=platform.os,
        variant=platform.variant,
        author=seed or None,
        rootfs=RootFS(diff_ids=tuple(part.diff_id or part.digest for part in parts)),
    )
    docker = media_type == mediatype.DOCKER_MANIFEST
    described = content(encode(config), mediatype.DOCKER_CONFIG if docker else mediatype.IMAGE_CONFIG)
    manifest = ImageManifest(
        schema_version=2,
        media_type=media_type,
        config=described.descriptor,
        layers=tuple(part.descriptor for part in parts),
        subject=subject.descriptor.plain() if subject else None,
        annotations=annotations,
    )
    built = content(encode(manifest), media_type, algorithm=algorithm)
    placed = msgspec.structs.replace(built.descriptor, platform=platform)
    return Tree(replace(built, descriptor=placed), (described, *parts))


def index(
    *manifests: Tree,
    media_type: str = mediatype.IMAGE_INDEX,
    annotations: dict[str, str] | None = None,
    subject: Tree | None = None,
    artifact_type: str | None = None,
) -> Tree:
    """Make an index of images, or of indexes."""
    document = Index(
        schema_version=2,
        media_type=media_type,
        artifact_type=artifact_type,
        manifests=tuple(manifest.descriptor for manifest in manifests),
        subject=subject.descriptor.plain() if subject else None,
        annotations=annotations,
    )
    return Tree(content(encode(document), media_type), children=manifests)


def artifact(
    *blobs: Content,
    artifact_type: str = "application/vnd.example.sbom+json",
    subject: Tree | None = None,
    annotations: dict[str, str] | None = None,
    media_type: str = mediatype.IMAGE_MANIFEST,
) -> Tree:
    """Make an artifact by image-spec's guidelines: an image manifest with an empty config and an artifactType.

    Args:
        blobs: What it holds; without any, the empty config stands in as its only layer.
        artifact_type: What it is.
        subject: What it is about.
        annotations: Of the manifest.
        media_type: `ARTIFACT_MANIFEST` for the manifests that image-spec 1.1 had before its release.
    """
    about = subject.descriptor.plain() if subject else None
    if media_type == mediatype.ARTIFACT_MANIFEST:
        document: ArtifactManifest | ImageManifest = ArtifactManifest(
            media_type=media_type,
            artifact_type=artifact_type,
            blobs=tuple(part.descriptor for part in blobs),
            subject=about,
            annotations=annotations,
        )
        return Tree(content(encode(document), media_type), blobs)
    empty = content(b"{}", mediatype.EMPTY_JSON)
    parts = blobs or (empty,)
    document = ImageManifest(
        schema_version=2,
        media_type=media_type,
        artifact_type=artifact_type,
        config=empty.descriptor,
        layers=tuple(part.descriptor for part in parts),
        subject=about,
        annotations=annotations,
    )
    return Tree(content(encode(document), media_type), (empty, *parts))
