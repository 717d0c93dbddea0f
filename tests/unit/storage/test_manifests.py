"""Manifests, tags, referrers and deletes in the registry's repositories."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable

import pytest

from entrepot.errors import (
    BlobUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestTooLarge,
    ManifestUnknown,
    NameUnknown,
    Unsupported,
    UnsupportedMediaType,
)
from entrepot.oci import mediatype
from entrepot.oci.digest import Digest
from entrepot.reference import RepositoryName, Tag
from entrepot.storage import AllowMissing, Registry, Repository
from entrepot.testing.images import Content, artifact, blob, content, image, index, layer

pytestmark = pytest.mark.anyio

OpenRegistry = Callable[..., Awaitable[Registry]]
LAYER = layer({"app": b"1"})
IMAGE = image(LAYER)


async def write(repository: Repository, *parts: Content) -> None:
    for part in parts:
        await repository.write_blob(part.descriptor, part.open_at)


async def put(repository: Repository, manifest: Content, *tags: str) -> None:
    await repository.put_manifest(
        manifest.raw, media_type=manifest.descriptor.media_type, tags=[Tag(tag) for tag in tags]
    )


async def rows(registry: Registry, sql: str, *values: object) -> list[tuple[object, ...]]:
    return await registry._database.scan(sql, *values)


def of_layers(*digests: str, media_type: str = mediatype.IMAGE_LAYER) -> Content:
    """Make an image manifest of one config, `digests[0]`, and layers."""
    described = [{"mediaType": media_type, "digest": digest, "size": 1} for digest in digests]
    document = {
        "schemaVersion": 2,
        "mediaType": mediatype.IMAGE_MANIFEST,
        "config": described[0] | {"mediaType": mediatype.IMAGE_CONFIG},
        "layers": described[1:],
    }
    return content(json.dumps(document).encode(), mediatype.IMAGE_MANIFEST)


# Closure


async def test_everything_missing_is_named_once_and_in_the_manifests_order(
    registry: Registry, repository: Repository
) -> None:
    """All of it, however much: also when it is more than one statement asks for, and when it comes twice."""
    digests = [Digest.of(str(number).encode()) for number in range(1200)]
    random.Random(2).shuffle(digests)
    await write(repository, LAYER)
    manifest = of_layers(*digests[:600], LAYER.digest, *digests, LAYER.digest)

    with pytest.raises(ManifestBlobUnknown) as caught:
        await put(repository, manifest, "1")

    assert list(caught.value.missing) == digests
    with pytest.raises(ManifestUnknown):
        await repository.find_manifest(manifest.digest)
    assert await repository.list_tags() == []


async def test_a_refused_manifest_does_not_make_its_repository(
    registry: Registry, repository: Repository
) -> None:
    """The refusal undoes all that its transaction did before."""
    with pytest.raises(ManifestBlobUnknown):
        await put(repository, IMAGE.manifest)
    with pytest.raises(NameUnknown):
        await repository.find_manifest(IMAGE.digest)
    assert await rows(registry, "SELECT * FROM repository") == []


async def test_what_another_repository_has_is_missing(registry: Registry, repository: Repository) -> None:
    """Closure is per repository: somebody else's layers do not count."""
    await IMAGE.write_to(registry.repository(RepositoryName("other")))

    with pytest.raises(ManifestBlobUnknown) as caught:
        await put(repository, IMAGE.manifest)
    assert list(caught.value.missing) == [part.digest for part in IMAGE.blobs]


@pytest.mark.parametrize(
    "media_type",
    ["application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", mediatype.DOCKER_FOREIGN_LAYER_GZIP],
)
async def test_layers_that_may_not_be_pushed_may_be_missing(repository: Repository, media_type: str) -> None:
    """Non-distributable and foreign layers are taken on trust, and protected once they come."""
    config, foreign = IMAGE.blobs[0], blob(100, "foreign")
    await write(repository, config)
    await put(repository, of_layers(config.digest, foreign.digest, media_type=media_type))

    await write(repository, foreign)
    with pytest.raises(Unsupported, match="used by a manifest"):
        await repository.delete_blob(foreign.digest)


async def test_a_subject_may_be_missing(repository: Repository) -> None:
    """A signature may come before what it signs."""
    signature = artifact(subject=IMAGE)

    await signature.write_to(repository)

    assert [found.digest for found in await refer(repository)] == [signature.digest]


@pytest.mark.parametrize("there", ["blob", "manifest", "nothing"])
async def test_an_index_of_blobs_is_content_with_a_blob_or_a_manifest(
    repository: Repository, there: str
) -> None:
    """BuildKit's cache lists layers in `manifests`: either satisfies such an entry, and then is in use."""
    listed = {"mediaType": mediatype.IMAGE_LAYER_GZIP, "digest": IMAGE.digest, "size": len(IMAGE.raw)}
    document = {"schemaVersion": 2, "mediaType": mediatype.IMAGE_INDEX, "manifests": [listed]}
    cache = content(json.dumps(document).encode(), mediatype.IMAGE_INDEX)
    if there == "nothing":
        with pytest.raises(ManifestBlobUnknown) as caught:
            await put(repository, cache)
        assert caught.value.missing == (IMAGE.digest,)
        return
    if there == "blob":
        await write(repository, content(IMAGE.raw))
    else:
        await IMAGE.write_to(repository)

    await put(repository, cache)

    if there == "blob":
        with pytest.raises(Unsupported):
            await repository.delete_blob(IMAGE.digest)


async def test_a_manifests_media_type_is_looked_up_as_a_manifest_only(repository: Repository) -> None:
    """A blob with an image manifest's bytes does not satisfy an index that lists the image."""
    await write(repository, content(IMAGE.raw))

    with pytest.raises(ManifestBlobUnknown):
        await put(repository, index(IMAGE).manifest)


@pytest.mark.parametrize(
    ("allow", "blobs", "manifests"),
    [
        (AllowMissing.NONE, False, False),
        (AllowMissing.MANIFESTS, False, True),
        (AllowMissing.ALL, True, True),
    ],
)
async def test_what_may_be_missing_is_a_setting(
    open_registry: OpenRegistry, allow: AllowMissing, blobs: bool, manifests: bool
) -> None:
    """`allow-missing` says whether an index may be sparse, and whether an image may."""
    repository = (await open_registry(allow_missing=allow)).repository(RepositoryName("sparse"))
    for manifest, allowed in ((IMAGE.manifest, blobs), (index(IMAGE).manifest, manifests or blobs)):
        try:
            await put(repository, manifest, "1")
        except ManifestBlobUnknown:
            assert not allowed
        else:
            assert allowed


# What is taken


async def test_a_manifest_is_kept_byte_for_byte(repository: Repository) -> None:
    """Odd spaces, order and unknown fields survive; so does the digest."""
    await write(repository, *IMAGE.blobs)
    raw = json.dumps(json.loads(IMAGE.raw) | {"x-unknown": [1, {"a": None}]}, indent=3).encode() + b"\n\n"
    odd = content(raw, mediatype.IMAGE_MANIFEST)

    await put(repository, odd, "odd")

    found = await repository.find_manifest(Tag("odd"))
    assert (found.digest, found.size, found.media_type) == (odd.digest, len(raw), mediatype.IMAGE_MANIFEST)
    assert await repository.manifest_bytes(found) == raw


async def test_a_manifest_is_stored_under_the_digest_that_was_asked_for(repository: Repository) -> None:
    """sha512 when the client says so, sha256 when it says nothing, and never a digest that is not its own."""
    await write(repository, *IMAGE.blobs)
    wanted = Digest.of(IMAGE.raw, "sha512")
    taken = await repository.put_manifest(IMAGE.raw, media_type=mediatype.IMAGE_MANIFEST, digest=wanted)
    assert taken.digest == wanted
    assert (await repository.find_manifest(wanted)).digest == wanted
    with pytest.raises(ManifestUnknown):
        await repository.find_manifest(IMAGE.digest)

    with pytest.raises(DigestInvalid):
        await repository.put_manifest(
            IMAGE.raw, media_type=mediatype.IMAGE_MANIFEST, digest=Digest.of(b"other")
        )
    with pytest.raises(DigestInvalid):
        await repository.put_manifest(
            IMAGE.raw, media_type=mediatype.IMAGE_MANIFEST, digest=Digest("md4:abcd")
        )


@pytest.mark.parametrize(
    ("raw", "media_type", "error"),
    [
        (b"{", mediatype.IMAGE_MANIFEST, ManifestInvalid),
        (b"[" * 100_000, mediatype.IMAGE_MANIFEST, ManifestInvalid),
        (b'{"schemaVersion": 2}', mediatype.IMAGE_MANIFEST, ManifestInvalid),
        (IMAGE.raw, mediatype.IMAGE_INDEX, ManifestInvalid),
        (IMAGE.raw, "application/vnd.example+json", ManifestInvalid),
        (b'{"schemaVersion": 2}', "application/vnd.example+json", UnsupportedMediaType),
        (b'{"schemaVersion": 1}', mediatype.IMAGE_MANIFEST, UnsupportedMediaType),
        (b" " * (4 * 1024 * 1024 + 1), mediatype.IMAGE_MANIFEST, ManifestTooLarge),
    ],
)
async def test_what_is_no_manifest_is_refused(
    repository: Repository, raw: bytes, media_type: str, error: type[Exception]
) -> None:
    """Each in the specification's words, and nothing of it is kept."""
    with pytest.raises(error):
        await repository.put_manifest(raw, media_type=media_type)
    with pytest.raises(NameUnknown):
        await repository.list_tags()


async def test_the_largest_manifest_that_is_taken_comes_back(repository: Repository) -> None:
    """Four mebibytes exactly: parsed and read in a thread, more than a point read takes."""
    await write(repository, *IMAGE.blobs)
    raw = IMAGE.raw + b" " * (4 * 1024 * 1024 - len(IMAGE.raw))

    await put(repository, content(raw, mediatype.IMAGE_MANIFEST), "big")

    found = await repository.find_manifest(Tag("big"))
    assert await repository.manifest_bytes(found) == raw


async def test_bytes_are_given_out_by_whoever_did_not_take_them(
    repository: Repository, open_registry: OpenRegistry
) -> None:
    """Another worker, which has nothing cached, reads them from the catalog."""
    await IMAGE.write_to(repository, names=[Tag("1")])
    other = (await open_registry()).repository(repository.name)

    assert await other.manifest_bytes(await other.find_manifest(Tag("1"))) == IMAGE.raw


# Tags


async def test_all_tags_of_one_put_are_set_or_none(repository: Repository) -> None:
    """Manifest and tags are one transaction."""
    with pytest.raises(ManifestBlobUnknown):
        await put(repository, IMAGE.manifest, "1", "2")
    await write(repository, *IMAGE.blobs)
    await put(repository, IMAGE.manifest, "1", "2", "latest")

    assert await repository.list_tags() == ["1", "2", "latest"]


async def test_a_tags_history_says_what_it_pointed_at_and_that_it_was_deleted(
    registry: Registry, repository: Repository
) -> None:
    """Each move once; putting the same again is no move."""
    other = image(LAYER, seed="other")
    for tree in (IMAGE, IMAGE, other):
        await tree.write_to(repository, names=[Tag("1")])
    await repository.delete_tag(Tag("1"))
    await IMAGE.write_to(repository, names=[Tag("1")])
    await repository.delete_manifest(IMAGE.digest)

    history = await rows(registry, "SELECT name, digest FROM tag_history ORDER BY id")
    assert history == [
        ("1", IMAGE.digest),
        ("1", other.digest),
        ("1", None),
        ("1", IMAGE.digest),
        ("1", None),
    ]


async def test_tags_are_listed_in_byte_order_and_in_pages(repository: Repository) -> None:
    """Upper case before lower case, `.` before digits; a page begins behind `last`, which need not exist."""
    names = ["1.0", "10", "1_0", "Z", "a", "a-b", "a.b", "a_b", "ab"]
    await write(repository, *IMAGE.blobs)
    await put(repository, IMAGE.manifest, *reversed(names))

    assert await repository.list_tags() == sorted(names, key=str.encode)
    assert await repository.list_tags(n=3) == sorted(names)[:3]
    assert await repository.list_tags(n=2, last="Y") == ["Z", "a"]
    assert await repository.list_tags(n=0) == []
    assert await repository.list_tags(last="zz") == []


async def test_a_list_of_tags_that_is_longer_than_a_slice_is_whole(repository: Repository) -> None:
    """Without `n` all of them, once each, in order."""
    await write(repository, *IMAGE.blobs)
    names = [f"v{number:05}" for number in range(2001)]
    await put(repository, IMAGE.manifest, *names)

    assert await repository.list_tags() == names


async def test_repositories_are_listed_once_they_have_a_manifest(registry: Registry) -> None:
    """In byte order and in pages; a repository with nothing but blobs is not listed."""
    await write(registry.repository(RepositoryName("blobs/only")), LAYER)
    for name in ("b", "a/b", "a", "a-b"):
        await IMAGE.write_to(registry.repository(RepositoryName(name)))

    assert await registry.repositories(n=10) == ["a", "a-b", "a/b", "b"]
    assert await registry.repositories(n=2, last="a") == ["a-b", "a/b"]


async def test_absent_is_told_apart_from_absent_in_a_repository(repository: Repository) -> None:
    """NAME_UNKNOWN as long as there is no repository, then the content's own error."""
    absent = blob(1).digest
    with pytest.raises(NameUnknown):
        await repository.find_manifest(Tag("1"))
    with pytest.raises(NameUnknown):
        await repository.find_blob(absent)
    with pytest.raises(NameUnknown):
        await repository.delete_blob(absent)
    await write(repository, LAYER)
    with pytest.raises(ManifestUnknown):
        await repository.find_manifest(Tag("1"))
    with pytest.raises(ManifestUnknown):
        await repository.delete_manifest(absent)
    with pytest.raises(ManifestUnknown):
        await repository.delete_tag(Tag("1"))
    with pytest.raises(BlobUnknown):
        await repository.delete_blob(absent)


# Referrers


async def refer(repository: Repository, artifact_type: str | None = None, *, n: int = 100, last: str = ""):
    return await repository.list_referrers(IMAGE.digest, artifact_type=artifact_type, n=n, last=last)


async def test_referrers_are_listed_by_type_and_in_pages(repository: Repository) -> None:
    """In the order of their digests, with artifactType and annotations as the specification wants them."""
    assert await refer(repository) == []
    await IMAGE.write_to(repository)
    trees = [
        artifact(subject=IMAGE, artifact_type=f"application/{kind}", annotations={"number": str(number)})
        for kind in ("sbom", "signature")
        for number in range(3)
    ]
    trees.append(image(LAYER, seed="an image", subject=IMAGE))
    trees.append(index(IMAGE, subject=IMAGE, artifact_type="application/listing"))
    for tree in trees:
        await tree.write_to(repository)

    found = await refer(repository)
    assert [one.digest for one in found] == sorted(tree.digest for tree in trees)
    types = {one.digest: one.artifact_type for one in found}
    assert types[trees[0].digest] == "application/sbom"
    assert types[trees[-2].digest] == mediatype.IMAGE_CONFIG
    assert types[trees[-1].digest] == "application/listing"
    assert {one.digest: one.annotations for one in found}[trees[1].digest] == {"number": "1"}
    signatures = sorted(tree.digest for tree in trees[3:6])
    assert [one.digest for one in await refer(repository, "application/signature")] == signatures
    assert await refer(repository, n=3) == found[:3]
    assert await refer(repository, n=3, last=found[2].digest) == found[3:6]
    assert [one.digest for one in await refer(repository, "application/signature", n=1)] == signatures[:1]
    behind = await refer(repository, "application/signature", n=9, last=signatures[0])
    assert [one.digest for one in behind] == signatures[1:]


async def test_referrers_are_the_repositorys_own(registry: Registry, repository: Repository) -> None:
    """A signature in another repository is not listed here, nor one that was deleted."""
    signature = artifact(subject=IMAGE)
    await signature.write_to(registry.repository(RepositoryName("other")))
    assert await refer(repository) == []
    await signature.write_to(repository)
    await repository.delete_manifest(signature.digest)
    assert await refer(repository) == []


async def test_a_referrer_has_the_media_type_of_its_last_push(repository: Repository) -> None:
    """The same bytes as another kind of image: the list agrees with what a pull of the manifest says."""
    document = json.loads(image(LAYER, subject=IMAGE).raw)
    del document["mediaType"]
    raw = json.dumps(document).encode()
    await write(repository, *image(LAYER, subject=IMAGE).blobs)
    for media_type in (mediatype.IMAGE_MANIFEST, mediatype.DOCKER_MANIFEST):
        await repository.put_manifest(raw, media_type=media_type)

        [listed] = await refer(repository)
        assert listed.media_type == (await repository.find_manifest(listed.digest)).media_type == media_type


# Deletes


async def test_a_blob_that_a_manifest_uses_stays(registry: Registry, repository: Repository) -> None:
    """Refused here while the manifest is, but not because of another repository's manifest."""
    await IMAGE.write_to(repository)
    other = registry.repository(RepositoryName("other"))
    await write(other, LAYER)

    with pytest.raises(Unsupported):
        await repository.delete_blob(LAYER.digest)
    await other.delete_blob(LAYER.digest)
    assert (await repository.find_blob(LAYER.digest)).size == len(LAYER.raw)

    await repository.delete_manifest(IMAGE.digest)
    await repository.delete_blob(LAYER.digest)
    with pytest.raises(BlobUnknown):
        await repository.find_blob(LAYER.digest)


async def test_a_blob_with_a_manifests_digest_is_not_in_use_because_the_manifest_is(
    repository: Repository,
) -> None:
    """Position decides what is meant: `subject` and `manifests` mean the manifest, not a blob of these bytes."""
    await IMAGE.write_to(repository)
    await index(IMAGE).write_to(repository)
    await artifact(subject=IMAGE).write_to(repository)
    await write(repository, content(IMAGE.raw))

    await repository.delete_blob(IMAGE.digest)

    assert (await repository.find_manifest(IMAGE.digest)).digest == IMAGE.digest


async def test_a_deleted_manifest_takes_its_tags_along_and_nothing_else(
    registry: Registry, repository: Repository
) -> None:
    """Its own tags here; other manifests, other repositories and its blobs stay."""
    neighbour = registry.repository(RepositoryName("other"))
    other = image(LAYER, seed="other")
    for place in (repository, neighbour):
        await IMAGE.write_to(place, names=[Tag("1"), Tag("latest")])
        await other.write_to(place, names=[Tag("2")])

    await repository.delete_manifest(IMAGE.digest)

    assert await repository.list_tags() == ["2"]
    assert await neighbour.list_tags() == ["1", "2", "latest"]
    with pytest.raises(ManifestUnknown):
        await repository.find_manifest(IMAGE.digest)
    assert (await repository.find_blob(LAYER.digest)).digest == LAYER.digest
    assert (await neighbour.find_manifest(Tag("1"))).digest == IMAGE.digest


async def test_a_deleted_tag_leaves_its_manifest(repository: Repository) -> None:
    """Only the name goes."""
    await IMAGE.write_to(repository, names=[Tag("1"), Tag("2")])

    await repository.delete_tag(Tag("1"))

    assert await repository.list_tags() == ["2"]
    assert (await repository.find_manifest(IMAGE.digest)).digest == IMAGE.digest


async def test_a_manifests_bytes_go_with_the_last_repository_that_has_it(
    registry: Registry, repository: Repository
) -> None:
    """They are stored once for all repositories: deleted with the last manifest of them, and not before."""
    other = registry.repository(RepositoryName("other"))
    await IMAGE.write_to(repository)
    await IMAGE.write_to(other)
    stored = "SELECT count(*) FROM content"

    await repository.delete_manifest(IMAGE.digest)
    assert await rows(registry, stored) == [(1,)]
    assert await other.manifest_bytes(await other.find_manifest(IMAGE.digest)) == IMAGE.raw

    await other.delete_manifest(IMAGE.digest)
    assert await rows(registry, stored) == [(0,)]
    for table in ("manifest", "manifest_reference", "referrer", "tag"):
        assert await rows(registry, f"SELECT * FROM {table}") == []

    await IMAGE.write_to(repository)
    assert await repository.manifest_bytes(await repository.find_manifest(IMAGE.digest)) == IMAGE.raw


async def test_a_manifest_that_somebody_deletes_while_it_is_read_is_unknown(repository: Repository) -> None:
    """Between finding it and reading it: the answer is the specification's, not a crash."""
    await IMAGE.write_to(repository)
    found = await repository.find_manifest(IMAGE.digest)
    await repository.delete_manifest(IMAGE.digest)
    repository._cache._content.clear()

    with pytest.raises(ManifestUnknown):
        await repository.manifest_bytes(found)


async def test_many_pushes_of_one_image_at_once_all_succeed(
    open_registry: OpenRegistry, repository: Repository
) -> None:
    """From two workers, with tags that move under them: at the end each tag points at one of them, whole."""
    places = [repository, (await open_registry()).repository(repository.name)]
    trees = [image(LAYER, seed=str(number)) for number in range(3)]

    await asyncio.gather(
        *(tree.write_to(place, names=[Tag("1")]) for place in places for tree in trees for _ in range(4))
    )

    digests = {(await place.find_manifest(Tag("1"))).digest for place in places}
    assert len(digests) == 1
    assert digests <= {tree.digest for tree in trees}
