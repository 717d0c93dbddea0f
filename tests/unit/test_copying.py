"""The one copy, between two real layouts that are watched, slowed down and broken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from entrepot import errors
from entrepot.copying import MAX_DEPTH, copy
from entrepot.layout.layout import Layout
from entrepot.oci import (
    Descriptor,
    Digest,
    ImageManifest,
    Index,
    Manifest,
    Platform,
    encode,
    mediatype,
    parse_manifest,
)
from entrepot.reference import RefName
from entrepot.store import OpenAt, Origin
from entrepot.wire.exchange import Action, Decision
from entrepot.wire.record import Recorder

pytestmark = pytest.mark.anyio

LATEST = RefName("latest")
AMD64 = Platform(os="linux", architecture="amd64")
ARM64 = Platform(os="linux", architecture="arm64")
UNKNOWN = Platform(os="unknown", architecture="unknown")


class Watched:
    """A layout that writes down what is asked of it, and does something in between."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.calls: list[tuple[str, str]] = []
        self.failures: dict[tuple[str, str], BaseException] = {}
        self.seekable = True
        self.busy = 0
        self.busiest = 0
        self.hold: anyio.Event | None = None
        self.holding = anyio.Event()

    def did(self, *methods: str) -> list[tuple[str, str]]:
        return [call for call in self.calls if call[0] in methods]

    async def _note(self, method: str, what: str) -> None:
        self.calls.append((method, what))
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        try:
            await anyio.lowlevel.checkpoint()
            if (method, what) in self.failures:
                raise self.failures[method, what]
        finally:
            self.busy -= 1

    async def resolve(self, reference: RefName | Digest) -> Descriptor:
        await self._note("resolve", reference)
        return await self.layout.resolve(reference)

    async def read_manifest(self, descriptor: Descriptor) -> bytes:
        await self._note("read_manifest", descriptor.digest)
        return await self.layout.read_manifest(descriptor)

    @asynccontextmanager
    async def open_blob(
        self, descriptor: Descriptor, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        await self._note("open_blob", descriptor.digest)
        async with self.layout.open_blob(descriptor, start, stop) as chunks:
            yield self._chunks(chunks, descriptor)

    async def _chunks(self, chunks: AsyncIterator[bytes], descriptor: Descriptor) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            await self._note("read", descriptor.digest)
            if self.hold is not None:
                self.holding.set()
                await self.hold.wait()
            yield chunk

    def tags(self) -> AsyncIterator[RefName]:
        return self.layout.tags()

    async def referrers(
        self, subject: Digest, *, artifact_type: str | None = None
    ) -> AsyncIterator[Descriptor]:
        await self._note("referrers", subject)
        async for found in self.layout.referrers(subject, artifact_type=artifact_type):
            yield found

    async def has_blob(self, descriptor: Descriptor) -> bool:
        await self._note("has_blob", descriptor.digest)
        return await self.layout.has_blob(descriptor)

    async def has_manifest(self, digest: Digest) -> bool:
        await self._note("has_manifest", digest)
        return await self.layout.has_manifest(digest)

    async def write_blob(self, descriptor: Descriptor, open_at: OpenAt) -> None:
        await self._note("write_blob", descriptor.digest)
        await self.layout.write_blob(descriptor, open_at)

    async def write_manifest(
        self, descriptor: Descriptor, raw: bytes, *, names: Collection[RefName] = ()
    ) -> None:
        await self._note("write_manifest", descriptor.digest)
        for name in names:
            self.calls.append(("name", name))
        await self.layout.write_manifest(descriptor, raw, names=names)


class Mounting(Watched):
    """A destination that can mount some of what it is asked for."""

    def __init__(self, layout: Layout, neighbour: Layout, mountable: Collection[Digest]) -> None:
        super().__init__(layout)
        self.neighbour = neighbour
        self.mountable = set(mountable)

    async def mount(self, digest: Digest, origin: Origin) -> bool:
        await self._note("mount", digest)
        if digest not in self.mountable:
            return False
        size = (self.neighbour.path / "blobs" / digest.algorithm / digest.encoded).stat().st_size
        descriptor = Descriptor(media_type="application/octet-stream", digest=digest, size=size)
        await self.layout.write_blob(descriptor, lambda offset: self.neighbour.open_blob(descriptor, offset))
        return True


class WriteOnly:
    """A destination that is no source."""

    def __init__(self, watched: Watched) -> None:
        self.has_blob = watched.has_blob
        self.has_manifest = watched.has_manifest
        self.write_blob = watched.write_blob
        self.write_manifest = watched.write_manifest


class Shop:
    """Makes content and puts it into a layout."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    async def blob(self, content: bytes, media_type: str = mediatype.IMAGE_LAYER) -> Descriptor:
        descriptor = Descriptor(media_type=media_type, digest=Digest.of(content), size=len(content))

        @asynccontextmanager
        async def open_at(offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
            async def chunks() -> AsyncIterator[bytes]:
                yield content[offset:]

            yield chunks()

        await self.layout.write_blob(descriptor, open_at)
        return descriptor

    async def manifest(self, body: ImageManifest | Index, *names: str) -> Manifest:
        assert body.media_type
        manifest = parse_manifest(encode(body), body.media_type)
        await self.layout.write_manifest(
            manifest.descriptor, manifest.raw, names=[RefName(name) for name in names]
        )
        return manifest

    async def image(
        self, *layers: bytes | Descriptor, names: Collection[str] = (), subject: Manifest | None = None
    ) -> Manifest:
        described = [layer if isinstance(layer, Descriptor) else await self.blob(layer) for layer in layers]
        body = ImageManifest(
            schema_version=2,
            media_type=mediatype.IMAGE_MANIFEST,
            config=await self.blob(
                b'{"layers": %d}' % len(layers) + b"".join(d.digest.encode() for d in described),
                mediatype.IMAGE_CONFIG,
            ),
            layers=tuple(described),
            subject=subject.descriptor if subject else None,
        )
        return await self.manifest(body, *names)

    async def index(self, *children: Descriptor, names: Collection[str] = ()) -> Manifest:
        body = Index(schema_version=2, media_type=mediatype.IMAGE_INDEX, manifests=children)
        return await self.manifest(body, *names)


def entry(manifest: Manifest, platform: Platform | None = None) -> Descriptor:
    return Descriptor(
        media_type=manifest.media_type, digest=manifest.digest, size=len(manifest.raw), platform=platform
    )


class Stage:
    """A source, a destination, and a record of the decisions."""

    def __init__(self, source: Layout, destination: Layout) -> None:
        self.shop = Shop(source)
        self.source = Watched(source)
        self.destination = Watched(destination)
        self.decisions: list[Decision] = []
        self.recorder = Recorder([self.decisions.append])

    async def copy(self, reference: str | Digest = LATEST, **options: object):
        reference = reference if isinstance(reference, Digest) else RefName(reference)
        options = {"names": [LATEST], "report": self.recorder.decide, **options}
        return await copy(self.source, self.destination, reference, **options)

    def forget(self) -> None:
        self.source.calls.clear()
        self.destination.calls.clear()
        self.decisions.clear()

    def actions(self) -> dict[Digest, Action]:
        return {decision.digest: decision.action for decision in self.decisions}


@pytest.fixture
async def stage(tmp_path: Path) -> Stage:
    return Stage(
        await Layout.open(tmp_path / "source", create=True),
        await Layout.open(tmp_path / "destination", create=True),
    )


async def two_platforms(shop: Shop) -> tuple[Manifest, Manifest, Manifest]:
    shared = await shop.blob(b"shared")
    amd64 = await shop.image(shared, b"amd64")
    arm64 = await shop.image(shared, b"arm64")
    index = await shop.index(entry(amd64, AMD64), entry(arm64, ARM64), names=["latest"])
    return index, amd64, arm64


def contained(manifest: Manifest) -> list[Digest]:
    assert isinstance(manifest.body, ImageManifest)
    return [manifest.body.config.digest, *(layer.digest for layer in manifest.body.layers or ())]


async def test_copies_every_byte_and_the_name(stage: Stage) -> None:
    """After a copy the destination has the same bytes under the same name."""
    index, amd64, arm64 = await two_platforms(stage.shop)
    result = await stage.copy()
    assert result.descriptor.digest == index.digest == (await stage.destination.layout.resolve(LATEST)).digest
    for manifest in (index, amd64, arm64):
        assert await stage.destination.layout.read_manifest(manifest.descriptor) == manifest.raw
    for digest in {*contained(amd64), *contained(arm64)}:
        path = f"blobs/sha256/{digest.encoded}"
        assert (stage.destination.layout.path / path).read_bytes() == (
            stage.source.layout.path / path
        ).read_bytes()


async def test_a_manifest_is_written_after_what_it_is_made_of(stage: Stage) -> None:
    """Blobs come before their manifest, manifests before their index, and the name comes last."""
    index, amd64, arm64 = await two_platforms(stage.shop)
    await stage.copy(jobs=8)
    order = [what for _, what in stage.destination.did("write_blob", "write_manifest", "name")]
    for manifest in (amd64, arm64):
        assert all(
            order.index(blob) < order.index(manifest.digest) < order.index(index.digest)
            for blob in contained(manifest)
        )
    assert order[-1] == LATEST


async def test_each_digest_is_written_once(stage: Stage) -> None:
    """A layer that two images share, and one that an image lists twice, is read and written once."""
    layer = await stage.shop.blob(b"x" * 100)
    one = await stage.shop.image(layer, layer, b"one")
    two = await stage.shop.image(b"two", layer)
    await stage.shop.index(entry(one, AMD64), entry(two, ARM64), entry(one), names=["latest"])
    await stage.copy(jobs=8)
    written = stage.destination.did("write_blob", "write_manifest")
    assert len(written) == len(set(written))
    assert len(stage.source.did("open_blob")) == len(stage.destination.did("write_blob")) == 5


async def test_what_is_met_again_is_reported_as_there(stage: Stage) -> None:
    """Every descriptor that is met has its decision: the second time a layer is met, it exists."""
    layer = await stage.shop.blob(b"shared")
    one, two = await stage.shop.image(layer, b"one"), await stage.shop.image(layer, b"two")
    await stage.shop.index(entry(one, AMD64), entry(two, ARM64), names=["latest"])
    result = await stage.copy(jobs=1)
    assert [d.action for d in stage.decisions if d.digest == layer.digest] == [Action.COPIED, Action.EXISTS]
    assert result.counts == {Action.COPIED: 8, Action.EXISTS: 1}
    assert {d.platform for d in stage.decisions if d.digest == two.digest} == {"linux/arm64"}
    assert {d.platform for d in stage.decisions if d.digest == layer.digest} == {"linux/amd64", "linux/arm64"}
    assert result.moved_bytes == sum(d.size for d in stage.decisions if d.action is Action.COPIED)


async def test_an_unchanged_image_costs_one_resolve(stage: Stage) -> None:
    """A second copy asks the source what the name stands for, and for nothing else."""
    await stage.shop.image(b"layer", names=["latest"])
    await stage.copy()
    stage.forget()
    result = await stage.copy()
    assert stage.source.calls == [("resolve", LATEST)]
    assert stage.destination.did("write_blob", "write_manifest", "has_blob") == []
    assert result.counts == {Action.EXISTS: 1}


async def test_an_unchanged_index_costs_one_resolve(stage: Stage) -> None:
    """An index is descended by the destination's own bytes, so the source need not be asked for them."""
    await two_platforms(stage.shop)
    await stage.copy()
    stage.forget()
    await stage.copy()
    await stage.copy(platforms=[AMD64])
    assert stage.source.calls == [("resolve", LATEST)] * 2
    assert stage.destination.did("write_blob", "write_manifest") == []


async def test_a_new_name_for_what_is_there(stage: Stage) -> None:
    """A name is given to content that was there already, without asking the source for it."""
    image = await stage.shop.image(b"layer", names=["latest"])
    await stage.copy()
    stage.forget()
    await stage.copy(names=[LATEST, RefName("1.0")])
    assert stage.source.calls == [("resolve", LATEST)]
    assert (await stage.destination.layout.resolve(RefName("1.0"))).digest == image.digest


async def test_a_name_moves(stage: Stage) -> None:
    """A name that points at something else at the destination is moved, after the new content is there."""
    await stage.shop.image(b"old", names=["latest"])
    await stage.copy()
    new = await stage.shop.image(b"new", names=["latest"])
    await stage.copy()
    assert (await stage.destination.layout.resolve(LATEST)).digest == new.digest


async def test_a_name_moves_back(stage: Stage) -> None:
    """A name that points elsewhere at the destination is moved to content that has been there all along."""
    old = await stage.shop.image(b"old", names=["latest"])
    await stage.copy()
    await stage.shop.image(b"new", names=["latest"])
    await stage.copy()
    await stage.copy(old.digest)
    assert (await stage.destination.layout.resolve(LATEST)).digest == old.digest


async def test_a_name_that_was_just_written_is_not_looked_up(stage: Stage) -> None:
    """New content gets its names with its manifest, in one write, and nothing is asked about them."""
    await stage.shop.image(b"layer", names=["latest"])
    await stage.copy()
    assert stage.destination.did("resolve") == []
    assert len(stage.destination.did("write_manifest")) == 1


async def test_a_destination_that_cannot_be_read(stage: Stage) -> None:
    """A destination need not be a source: the second copy reads the manifest again and writes its name."""
    image = await stage.shop.image(b"layer", names=["latest"])
    for _ in range(2):
        await copy(stage.source, WriteOnly(stage.destination), LATEST, names=[LATEST])
    assert len(stage.source.did("open_blob")) == 2
    assert (await stage.destination.layout.resolve(LATEST)).digest == image.digest


async def test_platforms_make_a_sparse_index(stage: Stage) -> None:
    """With platforms the index keeps its bytes and only matching children are copied."""
    index, amd64, arm64 = await two_platforms(stage.shop)
    await stage.copy(platforms=[AMD64])
    layout = stage.destination.layout
    assert await layout.read_manifest(index.descriptor) == index.raw
    assert await layout.has_manifest(amd64.digest)
    assert not await layout.has_manifest(arm64.digest)
    assert stage.actions()[arm64.digest] is Action.SKIPPED


async def test_a_sparse_index_is_completed(stage: Stage) -> None:
    """An index that is there proves nothing about its children."""
    index, _, arm64 = await two_platforms(stage.shop)
    await stage.copy(platforms=[AMD64])
    stage.forget()
    await stage.copy()
    assert await stage.destination.layout.has_manifest(arm64.digest)
    assert stage.source.did("read_manifest") == [("read_manifest", arm64.digest)]
    assert stage.actions()[index.digest] is Action.EXISTS


async def test_attestations_stay_behind_with_platforms(stage: Stage) -> None:
    """BuildKit's attestation of a selected image is not copied when a platform is asked for."""
    amd64, attestation = await stage.shop.image(b"amd64"), await stage.shop.image(b"attestation")
    await stage.shop.index(entry(amd64, AMD64), entry(attestation, UNKNOWN), names=["latest"])
    await stage.copy(platforms=[AMD64])
    assert not await stage.destination.layout.has_manifest(attestation.digest)


async def test_a_platform_that_there_is_not(stage: Stage) -> None:
    """A platform without an image is not found; what there is, is named, and nothing is written."""
    await two_platforms(stage.shop)
    with pytest.raises(errors.ManifestUnknown, match="linux/riscv64") as caught:
        await stage.copy(platforms=[AMD64, Platform.parse("riscv64")])
    assert "linux/amd64, linux/arm64" in (caught.value.hint or "")
    assert stage.destination.did("write_blob", "write_manifest") == []


async def test_platforms_inside_nested_indexes(stage: Stage) -> None:
    """A platform is found in an index inside the index, and only the way to it is copied."""
    amd64, arm64 = await stage.shop.image(b"amd64"), await stage.shop.image(b"arm64")
    inner = await stage.shop.index(entry(amd64, AMD64), entry(arm64, ARM64))
    other = await stage.shop.index(entry(await stage.shop.image(b"s390x"), Platform.parse("s390x")))
    await stage.shop.index(entry(other), entry(inner), names=["latest"])
    await stage.copy(platforms=[ARM64])
    layout = stage.destination.layout
    assert [await layout.has_manifest(m.digest) for m in (inner, arm64, amd64, other)] == [
        True,
        True,
        False,
        False,
    ]


async def test_platforms_mean_nothing_for_a_single_image(stage: Stage) -> None:
    """A root that is no index is copied whatever platform is asked for."""
    image = await stage.shop.image(b"layer", names=["latest"])
    await stage.copy(platforms=[ARM64])
    assert await stage.destination.layout.has_manifest(image.digest)


async def test_foreign_layers_are_skipped(stage: Stage) -> None:
    """A layer that may not be passed on is skipped with a decision, though the source has it."""
    foreign = await stage.shop.blob(b"windows", mediatype.DOCKER_FOREIGN_LAYER_GZIP)
    await stage.shop.image(foreign, b"ours", names=["latest"])
    await stage.copy()
    assert stage.actions()[foreign.digest] is Action.SKIPPED
    assert not await stage.destination.layout.has_blob(foreign)


async def test_a_registry_cache_lists_blobs_in_an_index(stage: Stage) -> None:
    """An entry of `manifests` whose media type is no manifest's may be a blob, whatever it looks like."""
    layer = await stage.shop.blob(b"\x1f\x8b layer", "application/vnd.oci.image.layer.v1.tar+gzip")
    config = await stage.shop.blob(
        b'{"layers": [], "records": []}', "application/vnd.buildkit.cacheconfig.v0"
    )
    await stage.shop.index(layer, config, names=["latest"])
    await stage.copy()
    assert {what for _, what in stage.destination.did("write_blob")} == {layer.digest, config.digest}
    stage.forget()
    await stage.copy()
    assert stage.source.calls == [("resolve", LATEST)]


async def test_mounts_before_writing(stage: Stage, tmp_path: Path) -> None:
    """A blob that the destination can take from a neighbour is not read; one that it cannot is written."""
    image = await stage.shop.image(b"mounted", b"written", names=["latest"])
    mounted = contained(image)[1]
    destination = Mounting(stage.destination.layout, stage.source.layout, [mounted])
    await copy(
        stage.source,
        destination,
        LATEST,
        origin=Origin("registry.example", "neighbour"),
        report=stage.recorder.decide,
    )
    assert stage.actions()[mounted] is Action.MOUNTED
    assert ("open_blob", mounted) not in stage.source.calls
    assert len(destination.did("mount")) == 3
    assert len(destination.did("write_blob")) == 2


async def test_without_an_origin_nothing_is_mounted(stage: Stage) -> None:
    """A destination that can mount is not asked to when nobody knows where the blobs are."""
    await stage.shop.image(b"layer", names=["latest"])
    destination = Mounting(stage.destination.layout, stage.source.layout, [])
    await copy(stage.source, destination, LATEST)
    assert destination.did("mount") == []


async def test_embedded_content_is_not_read(stage: Stage) -> None:
    """A blob that its descriptor carries is written from there."""
    empty = await stage.shop.blob(b"{}", mediatype.EMPTY_JSON)
    embedded = Descriptor(media_type=empty.media_type, digest=empty.digest, size=2, data="e30=")
    await stage.shop.manifest(
        ImageManifest(
            schema_version=2, media_type=mediatype.IMAGE_MANIFEST, config=embedded, layers=(embedded,)
        ),
        "latest",
    )
    await stage.copy()
    assert stage.source.did("open_blob") == []
    assert await stage.destination.layout.has_blob(empty)


async def test_referrers_come_after_the_root(stage: Stage) -> None:
    """What refers to the image, and what refers to that, is copied once the image has its name."""
    image = await stage.shop.image(b"layer", names=["latest"])
    signature = await stage.shop.image(b"signature", subject=image)
    countersigned = await stage.shop.image(b"countersignature", subject=signature)
    result = await stage.copy(referrers=True)
    assert [found.digest for found in result.referrers] == [signature.digest, countersigned.digest]
    order = [what for _, what in stage.destination.did("write_manifest", "name")]
    assert order == [image.digest, LATEST, signature.digest, countersigned.digest]
    assert [d.digest async for d in stage.destination.layout.referrers(image.digest)] == [signature.digest]


async def test_referrers_stay_behind_unless_asked_for(stage: Stage) -> None:
    """Without `referrers` the source is not even asked for them."""
    image = await stage.shop.image(b"layer", names=["latest"])
    await stage.shop.image(b"signature", subject=image)
    await stage.copy()
    assert stage.source.did("referrers") == []


async def test_referrers_of_children(stage: Stage) -> None:
    """What refers to an image of an index is copied, for the platforms that were copied."""
    _, amd64, arm64 = await two_platforms(stage.shop)
    ours, other = (
        await stage.shop.image(b"sbom", subject=amd64),
        await stage.shop.image(b"other", subject=arm64),
    )
    result = await stage.copy(referrers=True, platforms=[AMD64])
    assert [found.digest for found in result.referrers] == [ours.digest]
    assert not await stage.destination.layout.has_manifest(other.digest)


async def test_a_referrer_that_is_an_index_comes_whole(stage: Stage) -> None:
    """Platforms choose among the images of the root, not among what a referrer is made of."""
    _, amd64, _ = await two_platforms(stage.shop)
    inside = await stage.shop.image(b"inside")
    body = Index(
        schema_version=2,
        media_type=mediatype.IMAGE_INDEX,
        manifests=(entry(inside),),
        subject=amd64.descriptor,
    )
    await stage.shop.manifest(body)
    await stage.copy(referrers=True, platforms=[AMD64])
    assert await stage.destination.layout.has_manifest(inside.digest)


async def test_a_dag_is_walked_once(stage: Stage) -> None:
    """Indexes that each list the next one twice are read once each, not once per path."""
    manifest = await stage.shop.image(b"leaf")
    for _ in range(MAX_DEPTH - 1):
        manifest = await stage.shop.index(entry(manifest), entry(manifest))
    await stage.copy(manifest.digest, names=[])
    assert len(stage.source.did("read_manifest")) == MAX_DEPTH


@pytest.mark.parametrize("platforms", [None, [AMD64]])
async def test_nesting_is_bounded(stage: Stage, platforms: list[Platform] | None) -> None:
    """Indexes inside indexes inside indexes end with an error that names the one that is too deep."""
    manifest = await stage.shop.image(b"leaf")
    for _ in range(MAX_DEPTH + 5):
        manifest = await stage.shop.index(entry(manifest), entry(manifest))
    with pytest.raises(errors.EntrepotError):
        await stage.copy(manifest.digest, names=[], platforms=platforms)
    assert stage.destination.did("write_manifest") == []


async def test_jobs_bound_what_is_under_way(stage: Stage) -> None:
    """No more than `jobs` requests are under way at a time, and a deep graph does not use them up."""
    images = [await stage.shop.image(*(b"%d/%d" % (i, layer) for layer in range(5))) for i in range(4)]
    inner = await stage.shop.index(*(entry(image) for image in images))
    await stage.shop.index(entry(inner), entry(images[0]), names=["latest"])
    await stage.copy(jobs=1)
    assert stage.source.busiest == stage.destination.busiest == 1


async def test_an_absent_name(stage: Stage) -> None:
    """A name that the source does not have is not found; it is no failure of a copy under way."""
    with pytest.raises(errors.ManifestUnknown):
        await stage.copy("absent")


@pytest.mark.parametrize(
    ("side", "method"),
    [
        ("source", "read_manifest"),
        ("source", "open_blob"),
        ("source", "read"),
        ("destination", "has_manifest"),
        ("destination", "has_blob"),
        ("destination", "write_blob"),
        ("destination", "write_manifest"),
    ],
)
@pytest.mark.parametrize(
    "error", [errors.Denied("no", peer="registry.example"), OSError(28, "No space left on device")]
)
async def test_errors_name_the_side(stage: Stage, side: str, method: str, error: Exception) -> None:
    """Whatever fails, the error says on which side and at which digest, and why is its cause."""
    image = await stage.shop.image(b"layer", b"other", names=["latest"])
    digest = image.digest if method.endswith("manifest") else contained(image)[1]
    (stage.source if side == "source" else stage.destination).failures[method, digest] = error
    with pytest.raises(errors.CopyError) as caught:
        await stage.copy()
    assert (caught.value.side, caught.value.digest) == (side, digest)
    assert caught.value.__cause__ is error
    assert caught.value.peer == getattr(error, "peer", None)
    with pytest.raises(errors.ManifestUnknown):
        await stage.destination.layout.resolve(LATEST)


async def test_wrong_bytes_are_the_sources(stage: Stage) -> None:
    """The destination finds out that bytes are not the promised ones, but the source is to blame."""
    image = await stage.shop.image(b"layer", names=["latest"])
    layer = contained(image)[1]
    (stage.source.layout.path / "blobs/sha256" / layer.encoded).write_bytes(b"LAYER")
    with pytest.raises(errors.CopyError) as caught:
        await stage.copy()
    assert (caught.value.side, caught.value.digest) == ("source", layer)
    assert isinstance(caught.value.__cause__, errors.DigestMismatch)


async def test_spoilt_bytes_at_the_destination_are_replaced(stage: Stage) -> None:
    """An index whose bytes were cut short at the destination is read from the source and written anew."""
    index, *_ = await two_platforms(stage.shop)
    await stage.copy()
    (stage.destination.layout.path / "blobs/sha256" / index.digest.encoded).write_bytes(index.raw[:-1])
    await stage.copy()
    assert await stage.destination.layout.read_manifest(index.descriptor) == index.raw


async def test_a_failure_stops_the_others(stage: Stage) -> None:
    """When one blob fails, those on their way are cancelled and nothing goes on behind our back."""
    image = await stage.shop.image(b"slow", b"broken", names=["latest"])
    slow, broken = contained(image)[1:]
    stage.source.failures["open_blob", broken] = errors.BlobUnknown("gone")
    stage.source.hold = anyio.Event()
    with anyio.fail_after(10), pytest.raises(errors.CopyError) as caught:
        await stage.copy()
    assert caught.value.digest == broken
    assert stage.source.busy == stage.destination.busy == 0
    descriptor = Descriptor(media_type=mediatype.IMAGE_LAYER, digest=slow, size=4)
    assert not await stage.destination.layout.has_blob(descriptor)


async def test_cancelling_leaves_nothing_running(stage: Stage) -> None:
    """A cancelled copy has ended when it is over: no task, no temporary file, no name; the next one finishes."""
    await stage.shop.image(b"one", b"two", b"three", names=["latest"])
    stage.source.hold = anyio.Event()
    before = set(asyncio.all_tasks())
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(stage.copy)
            await stage.source.holding.wait()
            scope.cancel()
    assert asyncio.all_tasks() == before
    assert stage.source.busy == stage.destination.busy == 0
    assert list((stage.destination.layout.path / "ingest").iterdir()) == []
    with pytest.raises(errors.ManifestUnknown):
        await stage.destination.layout.resolve(LATEST)
    stage.source.hold.set()
    await stage.copy()
    assert await stage.destination.layout.resolve(LATEST)
