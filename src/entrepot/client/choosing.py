"""Images of an index: the one for a platform, those that are absent, what is there of all of them."""

from __future__ import annotations

from collections.abc import Collection

from entrepot.client.inspection import IMAGE_CONFIGS, inspect, read_config
from entrepot.client.locations import Location
from entrepot.copying import MAX_DEPTH
from entrepot.errors import ManifestUnknown, StoreError
from entrepot.oci import mediatype
from entrepot.oci.config import ImageConfig
from entrepot.oci.descriptor import Descriptor
from entrepot.oci.digest import Digest
from entrepot.oci.document import Manifest, parse_manifest
from entrepot.oci.index import Index
from entrepot.oci.manifest import ImageManifest
from entrepot.oci.platform import Platform
from entrepot.reference import RefName
from entrepot.store import Source, Store

__all__ = ["choose", "extent", "read", "refuse_incomplete", "refuse_other_platforms"]


async def read(source: Source, descriptor: Descriptor) -> Manifest:
    """Read a manifest that may be of any kind."""
    raw = await source.read_manifest(descriptor)
    return parse_manifest(raw, descriptor.media_type, digest=descriptor.digest)


async def choose(source: Source, root: Descriptor, platform: Platform) -> Descriptor:
    """Return the image for a platform: the best entry of an index, or the root itself if it is that image.

    What does not say what it runs on, such as an artifact, is as good as any.

    Raises:
        ManifestUnknown: There is none; the hint says what there is.
    """
    manifest = await read(source, root)
    if isinstance(manifest.body, Index):
        children = manifest.body.manifests or ()
        position = platform.select(child.platform for child in children)
        if position is not None:
            return children[position]
        offers = ", ".join(sorted({str(child.platform) for child in children if child.platform}))
        hint = f"it has {offers}" if offers else "its entries name no platform"
        raise ManifestUnknown(f"no image for {platform} in the index: {root.digest}", hint=hint)
    await _refuse_other(source, manifest, platform)
    return root


async def refuse_other_platforms(
    source: Source, reference: RefName | Digest, platforms: Collection[Platform]
) -> None:
    """Refuse an image that is in no index and does not run on each of the platforms; an index is chosen from later.

    Raises:
        ManifestUnknown: It is such an image, or there is none.
    """
    root = await source.resolve(reference)
    if mediatype.is_image(root.media_type):
        manifest = await read(source, root)
        for platform in platforms:
            await _refuse_other(source, manifest, platform)


async def _refuse_other(source: Source, manifest: Manifest, platform: Platform) -> None:
    body = manifest.body
    if not isinstance(body, ImageManifest) or body.config.media_type not in IMAGE_CONFIGS:
        return
    _, raw = await read_config(source, manifest)
    found = ImageConfig.parse(raw).platform
    if not platform.matches(found):
        raise ManifestUnknown(f"not an image for {platform}: {manifest.digest}", hint=f"it is for {found}")


async def refuse_incomplete(source: Store, root: Descriptor, where: Location) -> None:
    """Refuse to push an index whose images are not all here: the registry would, after the first gigabytes."""
    absent = await _absent(source, root)
    if absent:
        listed = ", ".join(str(child.platform or child.digest.short) for child in absent)
        raise StoreError(
            f"the index lists images that are not here, {listed}: {where}",
            hint="push --platform P sends one of those that are here; pull --all-platforms fetches the others",
        )


async def _absent(source: Store, descriptor: Descriptor, depth: int = 0) -> list[Descriptor]:
    if not mediatype.is_index(descriptor.media_type) or depth > MAX_DEPTH:
        return []
    manifest = await read(source, descriptor)
    assert isinstance(manifest.body, Index)
    found: list[Descriptor] = []
    for child in manifest.body.manifests or ():
        if not await source.has_manifest(child.digest):
            found.append(child)
        else:
            found += await _absent(source, child, depth + 1)
    return found


async def extent(layout: Store, root: Descriptor) -> tuple[tuple[str, ...], int]:
    """Return the platforms that are there, and the bytes of everything that is."""
    sizes: dict[Digest, int] = {root.digest: root.size}
    platforms: list[str] = []
    tree = await inspect(layout, root, jobs=1)
    pending = [tree]
    while pending:
        node = pending.pop(0)
        if node.absent:
            continue
        sizes[node.digest] = node.size
        if node.platform and node.image is not None:
            platforms.append(node.platform)
        for blob in (*([node.config] if node.config else []), *node.layers):
            if await layout.has_blob(blob):
                sizes[blob.digest] = blob.size
        pending += node.manifests
    return tuple(dict.fromkeys(platforms)), sum(sizes.values())
