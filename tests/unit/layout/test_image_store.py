"""The local image store: what it lists, what it frees, and whom it waits for."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

from entrepot.errors import ManifestUnknown, StoreError
from entrepot.layout import ImageStore, NamedImage
from entrepot.oci import Digest, mediatype
from entrepot.reference import RefName
from entrepot.store import read_blob
from entrepot.testing import Tree, artifact, blob, content, image, index, layer

from .conftest import read_index

pytestmark = pytest.mark.anyio

ALPINE = RefName("docker.io/library/alpine:latest")
APP = RefName("registry.example:5000/team/app:1.0")


@pytest.fixture
async def store(tmp_path: Path) -> ImageStore:
    return await ImageStore.open(tmp_path / "images")


def stored(store: ImageStore) -> set[str]:
    return {path.name for path in (store.path / "blobs" / "sha256").glob("*")}


def all_of(*trees: Tree) -> set[str]:
    return {part.digest.encoded for tree in trees for part in (*tree.all_blobs(), *tree.all_manifests())}


async def put(store: ImageStore, tree: Tree, *names: RefName) -> None:
    async with store.in_use() as images:
        await tree.write_to(images, names=names)


async def test_images_are_listed_by_their_full_references(store: ImageStore) -> None:
    """In byte order; an image that has two names is listed twice, an index's own images are not."""
    alpine = index(image(seed="amd64"), image(seed="arm64"))
    app = image(seed="app")
    await put(store, app, APP)
    await put(store, alpine, ALPINE)
    await put(store, alpine, RefName("docker.io/library/alpine:3"))

    assert await store.images() == [
        NamedImage(RefName("docker.io/library/alpine:3"), alpine.descriptor),
        NamedImage(ALPINE, alpine.descriptor),
        NamedImage(APP, app.descriptor),
    ]


async def test_it_is_an_oci_layout_that_others_can_read(store: ImageStore) -> None:
    """The full reference is the name of the entry."""
    await put(store, image(seed="a"), ALPINE)

    (entry,) = read_index(store)["manifests"]  # type: ignore[arg-type]
    assert entry["annotations"] == {"org.opencontainers.image.ref.name": ALPINE}


async def test_removing_frees_what_no_other_image_is_made_of(store: ImageStore) -> None:
    """Shared layers stay; the report has every digest and the sum of the bytes."""
    base = layer({"base": bytes(5000)})
    alpine, app = image(base, seed="alpine"), image(base, layer({"app": b"1"}), seed="app")
    await put(store, alpine, ALPINE)
    await put(store, app, APP)

    freed = await store.remove(APP)

    gone = [app.manifest, app.blobs[0], app.blobs[2]]
    assert set(freed.digests) == {part.digest for part in gone}
    assert freed.bytes == sum(len(part.raw) for part in gone)
    assert stored(store) == all_of(alpine)
    assert [one.name for one in await store.images()] == [ALPINE]


async def test_removing_one_of_two_names_frees_nothing(store: ImageStore) -> None:
    """The image is still somebody's."""
    built = image(seed="a")
    await put(store, built, ALPINE, APP)

    freed = await store.remove(APP)

    assert freed.digests == ()
    assert stored(store) == all_of(built)


async def test_removing_a_name_that_nobody_has_is_an_error(store: ImageStore) -> None:
    """And changes nothing."""
    with pytest.raises(ManifestUnknown, match=f"no such image: {APP}"):
        await store.remove(APP)


async def test_removing_leaves_what_an_interrupted_pull_has_fetched(store: ImageStore) -> None:
    """It would have to be fetched again; that is for prune."""
    fetched = blob(1000)
    async with store.in_use() as images:
        await images.write_blob(fetched.descriptor, fetched.open_at)
    await put(store, image(seed="a"), APP)

    await store.remove(APP)

    assert stored(store) == {fetched.digest.encoded}


async def test_pruning_removes_what_no_image_is_made_of(store: ImageStore) -> None:
    """Blobs and manifests of interrupted pulls, and what a name that moved left; nothing of a listed image."""
    kept = index(image(seed="amd64"), index(image(seed="inner")))
    old, new, unfinished = image(seed="old"), image(seed="new"), image(seed="unfinished")
    await put(store, kept, ALPINE)
    await put(store, old, APP)
    await put(store, new, APP)
    await put(store, unfinished)

    freed = await store.prune()

    assert {digest.encoded for digest in freed.digests} == all_of(old, unfinished)
    assert freed.bytes == sum(len(p.raw) for t in (old, unfinished) for p in (*t.blobs, t.manifest))
    assert stored(store) == all_of(kept, new)
    assert (await store.prune()).digests == ()


async def test_pruning_keeps_files_that_are_no_blobs_and_entries_of_others(store: ImageStore) -> None:
    """Only what has the name of a blob is a blob; what another program listed without a name is listed."""
    foreign = image(seed="foreign")
    await put(store, foreign, APP)
    index_file = store.path / "index.json"
    index_file.write_text(
        index_file.read_text().replace("org.opencontainers.image.ref.name", "org.example.other")
    )
    (store.path / "blobs" / "sha256" / "README").write_text("mine")

    assert (await store.prune()).digests == ()
    assert stored(store) == {*all_of(foreign), "README"}


async def test_referrers_stay_with_their_subject_and_go_with_it(store: ImageStore) -> None:
    """A signature has no name of its own, and may itself be signed."""
    subject = image(seed="subject")
    signature = artifact(content(b"signature"), subject=subject)
    stamp = artifact(content(b"time"), subject=signature)
    await put(store, subject, APP)
    await put(store, signature)
    await put(store, stamp)

    assert (await store.prune()).digests == ()
    assert stored(store) == all_of(subject, signature, stamp)
    freed = await store.remove(APP)
    assert {digest.encoded for digest in freed.digests} == all_of(subject, signature, stamp)
    assert stored(store) == set()
    assert read_index(store)["manifests"] == []  # type: ignore[arg-type]


async def test_layers_that_an_index_lists_are_kept(store: ImageStore) -> None:
    """BuildKit's cache is an index of layers and a config, which are blobs."""
    part = layer({"cached": b"1"})
    config = content(b'{"layers": [], "records": []}', "application/vnd.buildkit.cacheconfig.v0")
    cache = index(*(Tree(each) for each in (part, config)))
    async with store.in_use() as images:
        for each in (part, config):
            await images.write_blob(each.descriptor, each.open_at)
        await images.write_manifest(cache.descriptor, cache.raw, names=[APP])

    assert (await store.prune()).digests == ()
    assert len(stored(store)) == 3


async def test_nothing_is_removed_when_a_manifest_is_damaged(store: ImageStore) -> None:
    """What it is made of cannot be told; removing that image itself is the way out."""
    broken, other, loose = image(seed="broken"), image(seed="other"), blob(100)
    await put(store, broken, APP)
    await put(store, other, ALPINE)
    async with store.in_use() as images:
        await images.write_blob(loose.descriptor, loose.open_at)
    (store.path / "blobs" / "sha256" / broken.digest.encoded).write_bytes(b"{}")
    before = stored(store)

    with pytest.raises(StoreError, match=f"nothing was removed.*{broken.digest}"):
        await store.prune()
    with pytest.raises(StoreError, match=f"nothing was removed.*{broken.digest}"):
        await store.remove(ALPINE)
    assert stored(store) == before
    assert len(await store.images()) == 2

    await store.remove(APP)
    await store.prune()
    assert stored(store) == all_of(other)


async def test_a_sparse_index_can_be_pruned_around(store: ImageStore) -> None:
    """After `pull --platform amd64` the arm64 image is absent, which is no damage."""
    amd64, arm64 = image(seed="amd64"), image(seed="arm64")
    both = index(amd64, arm64)
    await put(store, amd64)
    async with store.in_use() as images:
        await images.write_manifest(both.descriptor, both.raw, names=[APP])

    assert (await store.prune()).digests == ()


async def test_nothing_is_removed_while_the_store_is_in_use(store: ImageStore) -> None:
    """A pull has written a layer, and no manifest yet that would keep it; prune waits for its end."""
    built = image(seed="a")
    pulling, go_on = anyio.Event(), anyio.Event()
    pruned = anyio.Event()

    async def pull() -> None:
        async with store.in_use() as images:
            for part in built.blobs:
                await images.write_blob(part.descriptor, part.open_at)
            pulling.set()
            await go_on.wait()
            await images.write_manifest(built.descriptor, built.raw, names=[APP])

    async def prune() -> None:
        assert (await store.prune()).digests == ()
        pruned.set()

    async with anyio.create_task_group() as group:
        group.start_soon(pull)
        await pulling.wait()
        group.start_soon(prune)
        await anyio.wait_all_tasks_blocked()
        assert not pruned.is_set()
        go_on.set()

    assert stored(store) == all_of(built)


async def test_any_number_can_use_the_store_at_once(store: ImageStore) -> None:
    """Also one inside another, as in a copy from the store into itself."""
    async with store.in_use() as source, store.in_use() as destination:
        await image(seed="a").write_to(source, names=[APP])
        found = await destination.resolve(APP)

    assert found == image(seed="a").descriptor.plain()


async def test_pruning_removes_temporary_files_at_any_age(store: ImageStore) -> None:
    """Nobody is writing then."""
    (store.path / "ingest" / "entrepot-dead").write_bytes(b"x")

    await store.prune()

    assert os.listdir(store.path / "ingest") == []


async def test_a_manifest_that_lost_its_name_is_there_until_it_is_pruned(store: ImageStore) -> None:
    """A digest that somebody has just resolved does not go away under their hands."""
    built = image(seed="a")
    await put(store, built, APP)
    async with store.in_use() as images:
        await images.delete_tag(APP)
        assert await images.read_manifest(await images.resolve(Digest(built.digest))) == built.raw
        assert await read_blob(images, built.blobs[0].descriptor, max_bytes=10_000) == built.blobs[0].raw


async def test_docker_manifests_are_followed_too(store: ImageStore) -> None:
    """What an image is made of does not depend on whose media types it has."""
    docker = index(
        image(seed="a", media_type=mediatype.DOCKER_MANIFEST), media_type=mediatype.DOCKER_MANIFEST_LIST
    )
    await put(store, docker, ALPINE)

    assert (await store.prune()).digests == ()
    assert stored(store) == all_of(docker)
