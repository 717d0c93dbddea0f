"""What an image is made of, as a tree that can be drawn and written as JSON."""

from __future__ import annotations

import anyio
import msgspec

from entrepot.copying import MAX_DEPTH, first_failure
from entrepot.errors import BlobUnknown, ManifestUnknown
from entrepot.oci import mediatype
from entrepot.oci.config import History, ImageConfig
from entrepot.oci.descriptor import Descriptor
from entrepot.oci.digest import Digest
from entrepot.oci.document import Manifest, parse_manifest
from entrepot.oci.index import Index
from entrepot.oci.manifest import ImageManifest
from entrepot.oci.platform import Platform
from entrepot.store import Source, read_blob

__all__ = ["IMAGE_CONFIGS", "MAX_CONFIG_BYTES", "Image", "Inspected", "inspect", "read_config"]

MAX_CONFIG_BYTES = 4 << 20

IMAGE_CONFIGS = frozenset({mediatype.IMAGE_CONFIG, mediatype.DOCKER_CONFIG})


class Image(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the config says about how an image is run and how it came to be; absent where it says nothing."""

    created: str | None = None
    author: str | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    user: str | None = None
    workdir: str | None = None
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str | None = None
    labels: dict[str, str] = {}
    history: tuple[History, ...] = ()


class Inspected(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One manifest or index, with what is below it.

    Attributes:
        digest: Of its bytes.
        media_type: As its parent or the registry says.
        size: Of its own bytes.
        content_size: Of everything that it is made of, each blob once; None for an index.
        platform: What it runs on; an attestation's is `unknown/unknown`.
        artifact_type: When it is an artifact.
        annotations: Its own.
        subject: What it refers to.
        absent: It is listed by its index and not in this store.
        config: Of an image or artifact.
        layers: Of an image, or the blobs of an artifact.
        image: What the config says, when it is an image's.
        manifests: Of an index.
    """

    digest: Digest
    media_type: str
    size: int
    content_size: int | None = None
    platform: str | None = None
    artifact_type: str | None = None
    annotations: dict[str, str] = {}
    subject: Descriptor | None = None
    absent: bool = False
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    image: Image | None = None
    manifests: tuple[Inspected, ...] = ()


async def inspect(source: Source, descriptor: Descriptor, *, jobs: int) -> Inspected:
    """Read a manifest and what is below it, but no layers.

    Raises:
        ManifestUnknown: The source does not have it; what is missing below an index is only marked.
    """
    try:
        return await _Inspection(source, jobs).manifest(descriptor, depth=0)
    except BaseExceptionGroup as group:
        raise first_failure(group) from None


async def read_config(source: Source, manifest: Manifest) -> tuple[Descriptor, bytes]:
    """Return the config of an image or artifact: its descriptor and bytes, verified.

    Raises:
        BlobUnknown: The manifest has no config, or the source does not have it.
    """
    if not isinstance(manifest.body, ImageManifest):
        raise BlobUnknown(f"{manifest.media_type} has no config: {manifest.digest}")
    config = manifest.body.config
    return config, await read_blob(source, config, max_bytes=MAX_CONFIG_BYTES)


class _Inspection:
    def __init__(self, source: Source, jobs: int) -> None:
        self._source = source
        self._slots = anyio.Semaphore(jobs)

    async def manifest(self, descriptor: Descriptor, *, depth: int) -> Inspected:
        async with self._slots:
            raw = await self._source.read_manifest(descriptor)
        manifest = parse_manifest(raw, descriptor.media_type, digest=descriptor.digest)
        if isinstance(manifest.body, Index):
            return await self._index(manifest, descriptor, depth)
        if isinstance(manifest.body, ImageManifest):
            return await self._image(manifest, descriptor)
        return _described(manifest, descriptor, layers=manifest.body.blobs or ())

    async def _index(self, manifest: Manifest, descriptor: Descriptor, depth: int) -> Inspected:
        assert isinstance(manifest.body, Index)
        children = manifest.body.manifests or ()
        found: dict[int, Inspected] = {}

        async def look(position: int, child: Descriptor) -> None:
            found[position] = await self._child(child, depth + 1)

        async with anyio.create_task_group() as group:
            for position, child in enumerate(children):
                group.start_soon(look, position, child)
        return _described(manifest, descriptor, manifests=tuple(found[i] for i in range(len(children))))

    async def _child(self, child: Descriptor, depth: int) -> Inspected:
        if depth > MAX_DEPTH or not mediatype.is_manifest(child.media_type):
            return _leaf(child)
        try:
            return await self.manifest(child, depth=depth)
        except ManifestUnknown:
            return _leaf(child, absent=True)

    async def _image(self, manifest: Manifest, descriptor: Descriptor) -> Inspected:
        assert isinstance(manifest.body, ImageManifest)
        body = manifest.body
        image, platform = None, descriptor.platform
        if body.config.media_type in IMAGE_CONFIGS:
            async with self._slots:
                _, raw = await read_config(self._source, manifest)
            config = ImageConfig.parse(raw)
            image, platform = _image_of(config), platform or config.platform
        return _described(
            manifest,
            descriptor,
            platform=platform,
            content_size=sum({d.digest: d.size for d in (body.config, *(body.layers or ()))}.values()),
            config=body.config,
            layers=body.layers or (),
            image=image,
        )


def _described(
    manifest: Manifest,
    descriptor: Descriptor,
    *,
    platform: Platform | None = None,
    content_size: int | None = None,
    config: Descriptor | None = None,
    layers: tuple[Descriptor, ...] = (),
    image: Image | None = None,
    manifests: tuple[Inspected, ...] = (),
) -> Inspected:
    platform = platform or descriptor.platform
    return Inspected(
        digest=manifest.digest,
        media_type=manifest.media_type,
        size=len(manifest.raw),
        content_size=content_size,
        platform=str(platform) if platform else None,
        artifact_type=manifest.body.artifact_type,
        annotations=manifest.body.annotations or {},
        subject=manifest.subject,
        config=config,
        layers=layers,
        image=image,
        manifests=manifests,
    )


def _leaf(child: Descriptor, *, absent: bool = False) -> Inspected:
    return Inspected(
        digest=child.digest,
        media_type=child.media_type,
        size=child.size,
        platform=str(child.platform) if child.platform else None,
        artifact_type=child.artifact_type,
        annotations=child.annotations or {},
        absent=absent,
    )


def _image_of(config: ImageConfig) -> Image:
    process = config.config
    found = Image(created=config.created, author=config.author, history=config.history or ())
    if process is None:
        return found
    return msgspec.structs.replace(
        found,
        entrypoint=process.entrypoint,
        cmd=process.cmd,
        env=process.env or (),
        user=process.user,
        workdir=process.working_dir,
        ports=tuple(process.exposed_ports or ()),
        volumes=tuple(process.volumes or ()),
        stop_signal=process.stop_signal,
        labels=process.labels or {},
    )
