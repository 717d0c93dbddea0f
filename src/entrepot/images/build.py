"""Assembling images from layers: config, manifest and, for several platforms, an index.

Nothing in them depends on when or where they are assembled, so the same layers and settings give the same
digest.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import anyio

from entrepot.copying import Report
from entrepot.images.layers import Layer
from entrepot.oci import mediatype
from entrepot.oci.config import History, ImageConfig, Process, RootFS
from entrepot.oci.descriptor import Descriptor
from entrepot.oci.digest import Digest
from entrepot.oci.document import encode
from entrepot.oci.index import Index
from entrepot.oci.manifest import ImageManifest
from entrepot.oci.platform import Platform
from entrepot.reference import RefName
from entrepot.store import CHUNK_BYTES, Destination, OpenAt
from entrepot.wire.exchange import Action

__all__ = ["Recipe", "build", "timestamp"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What one image is made of.

    Attributes:
        platform: What it runs on.
        layers: The lowest first.
        process: How it is run.
        epoch: When it counts as created, in seconds since 1970.
        annotations: Of its manifest, and of its entry when there is an index.
    """

    platform: Platform
    layers: Sequence[Layer]
    process: Process = field(default_factory=Process)
    epoch: int = 0
    annotations: dict[str, str] = field(default_factory=dict)


async def build(
    destination: Destination,
    recipes: Sequence[Recipe],
    *,
    names: Collection[RefName] = (),
    report: Report | None = None,
) -> Descriptor:
    """Write images to a store; several become an index. Return what the names now point at.

    Args:
        destination: Where to; it verifies the layers while it takes them.
        recipes: One for each platform.
        names: Of the image, or of the index of all of them.
        report: Told about each layer.

    Raises:
        VerificationError: A layer's file has been changed since it was packed.
    """
    if len(recipes) == 1:
        return await _image(destination, recipes[0], names=names, report=report)
    manifests = []
    for recipe in recipes:
        image = await _image(destination, recipe, report=report)
        manifests.append(_listed(image, recipe))
    index = Index(schema_version=2, media_type=mediatype.IMAGE_INDEX, manifests=tuple(manifests))
    return await _write(destination, mediatype.IMAGE_INDEX, encode(index), names=names)


def timestamp(epoch: int) -> str:
    """Return seconds since 1970 as the specification writes dates (RFC 3339)."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _image(
    destination: Destination, recipe: Recipe, *, names: Collection[RefName] = (), report: Report | None = None
) -> Descriptor:
    for layer in recipe.layers:
        await _layer(destination, layer, str(recipe.platform), report)
    config = encode(_config(recipe))
    described = Descriptor(media_type=mediatype.IMAGE_CONFIG, digest=Digest.of(config), size=len(config))
    await destination.write_blob(described, _memory(config))
    manifest = ImageManifest(
        schema_version=2,
        media_type=mediatype.IMAGE_MANIFEST,
        config=described,
        layers=tuple(layer.descriptor for layer in recipe.layers),
        annotations=recipe.annotations or None,
    )
    return await _write(destination, mediatype.IMAGE_MANIFEST, encode(manifest), names=names)


async def _layer(destination: Destination, layer: Layer, platform: str, report: Report | None) -> None:
    action, reason = Action.EXISTS, "there already"
    if not await destination.has_blob(layer.descriptor):
        await destination.write_blob(layer.descriptor, _file(layer.path))
        action, reason = Action.COPIED, layer.created_by or "packed"
    if report is not None:
        report(layer.descriptor, kind="blob", role="layer", action=action, reason=reason, platform=platform)


async def _write(
    destination: Destination, media_type: str, raw: bytes, *, names: Collection[RefName] = ()
) -> Descriptor:
    descriptor = Descriptor(media_type=media_type, digest=Digest.of(raw), size=len(raw))
    await destination.write_manifest(descriptor, raw, names=names)
    return descriptor


def _config(recipe: Recipe) -> ImageConfig:
    created = timestamp(recipe.epoch)
    platform = recipe.platform
    return ImageConfig(
        created=created,
        architecture=platform.architecture,
        os=platform.os,
        os_version=platform.os_version,
        os_features=platform.os_features or None,
        variant=platform.variant,
        config=recipe.process,
        rootfs=RootFS(diff_ids=tuple(layer.diff_id for layer in recipe.layers)),
        history=tuple(History(created=created, created_by=layer.created_by) for layer in recipe.layers),
    )


def _listed(image: Descriptor, recipe: Recipe) -> Descriptor:
    return Descriptor(
        media_type=image.media_type,
        digest=image.digest,
        size=image.size,
        platform=recipe.platform,
        annotations=recipe.annotations or None,
    )


def _file(path: Path) -> OpenAt:
    @asynccontextmanager
    async def open_at(offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        async with await anyio.open_file(path, "rb") as file:
            await file.seek(offset)

            async def chunks() -> AsyncIterator[bytes]:
                while chunk := await file.read(CHUNK_BYTES):
                    yield chunk

            yield chunks()

    return open_at


def _memory(content: bytes) -> OpenAt:
    @asynccontextmanager
    async def open_at(offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        async def chunks() -> AsyncIterator[bytes]:
            yield content[offset:]

        yield chunks()

    return open_at
