"""Names and entries: what index.json says, ours and that of other programs."""

from __future__ import annotations

import pytest

from entrepot.errors import BlobUnknown, ManifestUnknown, StoreError
from entrepot.layout import Layout, Root
from entrepot.oci import Descriptor, mediatype
from entrepot.reference import RefName, referrers_tag
from entrepot.testing import artifact, content, image, index

from .conftest import read_index, write_index

pytestmark = pytest.mark.anyio

REF_NAME = "org.opencontainers.image.ref.name"
FULL_NAME = "io.containerd.image.name"


def entry(descriptor: Descriptor, **annotations: str) -> dict[str, object]:
    plain: dict[str, object] = {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
    }
    return {**plain, "annotations": annotations} if annotations else plain


async def test_a_name_is_the_annotation_of_the_specification(layout: Layout) -> None:
    """One entry for each name, with the platform of the image, so that other tools find it."""
    built = image(seed="a")
    await built.write_to(layout, names=[RefName("1.0"), RefName("latest")])

    entries = read_index(layout)["manifests"]
    assert [one["annotations"] for one in entries] == [{REF_NAME: "1.0"}, {REF_NAME: "latest"}]
    assert [one["platform"] for one in entries] == [{"architecture": "amd64", "os": "linux"}] * 2


async def test_what_others_wrote_survives(layout: Layout) -> None:
    """Unknown fields, entries of other media types, and entries that are none at all stay as they are."""
    strange = [
        {
            "mediaType": "application/xml",
            "digest": "sha256:" + "0" * 64,
            "size": 7143,
            "x-other": [1.5, None, "ä"],
        },
        {"mediaType": "application/x-future", "digest": "not a digest", "size": -1},
        "not even an object",
        entry(image(seed="absent").descriptor, **{REF_NAME: "not a name!", "org.example.note": "kept"}),
    ]
    write_index(layout, *strange, annotations={"com.example.index.revision": "r124356"}, other={"a": 1})

    await image(seed="a").write_to(layout, names=[RefName("a")])
    await image(seed="b").write_to(layout, names=[RefName("a")])
    await layout.delete_tag(RefName("a"))

    after = read_index(layout)
    assert after["manifests"][:4] == strange
    assert after["annotations"] == {"com.example.index.revision": "r124356"}
    assert after["other"] == {"a": 1}
    assert [name async for name in layout.tags()] == []


async def test_an_entry_keeps_its_other_annotations_when_its_name_moves(layout: Layout) -> None:
    """Only the name goes."""
    first = image(seed="first")
    await first.write_to(layout)
    write_index(layout, entry(first.descriptor, **{REF_NAME: "a", "org.example.note": "kept"}))

    await image(seed="second").write_to(layout, names=[RefName("a")])

    assert entry(first.descriptor, **{"org.example.note": "kept"}) in read_index(layout)["manifests"]


async def test_a_manifest_without_a_name_is_listed(layout: Layout) -> None:
    """A layout with one image and no name is what `skopeo copy … oci:DIR` makes, and what it can read."""
    built = image(seed="a")
    await built.write_to(layout)

    assert await layout.roots() == [Root(built.descriptor, ())]
    assert await layout.resolve(built.digest) == built.descriptor.plain()
    assert [name async for name in layout.tags()] == []


async def test_a_name_that_is_given_later_goes_to_the_entry_that_is_there(layout: Layout) -> None:
    """No second entry beside one that had no name."""
    built = image(seed="a")
    await built.write_to(layout)
    await layout.write_manifest(built.descriptor, built.raw, names=[RefName("a")])

    assert await layout.roots() == [Root(built.descriptor, (RefName("a"),))]


async def test_an_index_takes_its_manifests_out_of_the_list(layout: Layout) -> None:
    """Whoever copies an index writes its manifests first; in the end the index alone is listed."""
    inner = index(image(seed="inner"))
    outer = index(inner, image(seed="beside"))
    await outer.write_to(layout, names=[RefName("a")])

    assert await layout.roots() == [Root(outer.descriptor, (RefName("a"),))]
    child = inner.children[0]
    await layout.write_manifest(child.descriptor, child.raw)
    assert await layout.roots() == [Root(outer.descriptor, (RefName("a"),))]


async def test_an_index_leaves_entries_that_say_more_than_that(layout: Layout) -> None:
    """A manifest that has a name of its own, or an annotation from somebody, stays listed."""
    named, noted = image(seed="named"), image(seed="noted")
    await named.write_to(layout, names=[RefName("n")])
    await noted.write_to(layout)
    write_index(
        layout, *read_index(layout)["manifests"][:1], entry(noted.descriptor, **{"org.example.note": "kept"})
    )

    await index(named, noted).write_to(layout)

    assert {root.descriptor.digest for root in await layout.roots()} >= {named.digest, noted.digest}


async def test_a_manifest_that_loses_its_last_name_stays_listed(layout: Layout) -> None:
    """Nothing is lost because a tag moved; a program that cleans up layouts would remove what is not listed."""
    old, new = image(seed="old"), image(seed="new")
    await old.write_to(layout, names=[RefName("a"), RefName("b")])
    await new.write_to(layout, names=[RefName("a"), RefName("b")])
    await layout.delete_tag(RefName("b"))

    assert [(root.descriptor.digest, root.names) for root in await layout.roots()] == [
        (old.digest, ()),
        (new.digest, ("a",)),
    ]


# Full references, as docker and containerd export them


async def test_the_full_reference_of_docker_and_containerd_is_a_name(layout: Layout) -> None:
    """Their archives put the reference into an annotation of their own and the bare tag into the other."""
    built = image(seed="a")
    await built.write_to(layout)
    write_index(
        layout, entry(built.descriptor, **{FULL_NAME: "docker.io/library/a:latest", REF_NAME: "latest"})
    )

    for name in ("docker.io/library/a:latest", "latest"):
        assert await layout.resolve(RefName(name)) == built.descriptor.plain()
    assert [name async for name in layout.tags()] == ["docker.io/library/a:latest", "latest"]


async def test_with_the_full_reference_goes_the_tag_that_repeats_it(layout: Layout) -> None:
    """Removing `docker.io/library/a:latest` does not leave an image called `latest`."""
    built = image(seed="a")
    await built.write_to(layout)
    write_index(
        layout, entry(built.descriptor, **{FULL_NAME: "docker.io/library/a:latest", REF_NAME: "latest"})
    )

    await layout.delete_tag(RefName("docker.io/library/a:latest"))

    assert await layout.roots() == [Root(built.descriptor.plain(), ())]


async def test_a_tag_of_two_images_is_an_error_that_names_the_choices(layout: Layout) -> None:
    """Saved by docker, `a:latest` and `b:latest` are both called `latest`; neither is taken silently."""
    one, two = image(seed="1"), image(seed="2")
    await one.write_to(layout)
    await two.write_to(layout)
    write_index(
        layout,
        entry(one.descriptor, **{FULL_NAME: "docker.io/library/a:latest", REF_NAME: "latest"}),
        entry(two.descriptor, **{FULL_NAME: "docker.io/library/b:latest", REF_NAME: "latest"}),
    )

    with pytest.raises(StoreError, match="stands for 2 manifests of this layout: latest") as caught:
        await layout.resolve(RefName("latest"))
    assert one.digest in str(caught.value.hint)
    assert two.digest in str(caught.value.hint)
    assert await layout.resolve(RefName("docker.io/library/b:latest")) == two.descriptor.plain()


async def test_the_same_image_listed_twice_under_one_name_is_no_contradiction(layout: Layout) -> None:
    """Some tools append an entry each time that they write."""
    built = image(seed="a")
    await built.write_to(layout)
    write_index(layout, *[entry(built.descriptor, **{REF_NAME: "a"})] * 2)

    assert await layout.resolve(RefName("a")) == built.descriptor.plain()
    assert [name async for name in layout.tags()] == ["a"]


async def test_a_name_without_its_manifest_is_unknown(layout: Layout) -> None:
    """index.json may list what the layout does not have."""
    write_index(layout, entry(image(seed="a").descriptor, **{REF_NAME: "a"}))

    with pytest.raises(ManifestUnknown, match="no such manifest: a"):
        await layout.resolve(RefName("a"))


async def test_a_manifest_of_an_unknown_kind_is_stored_as_it_is(layout: Layout) -> None:
    """ "An encountered mediaType that is unknown MUST NOT generate an error"."""
    future = content(b'{"schemaVersion": 3}', "application/vnd.example.future+json")
    await layout.write_manifest(future.descriptor, future.raw, names=[RefName("future")])

    assert await layout.resolve(RefName("future")) == future.descriptor
    assert await layout.resolve(future.digest) == future.descriptor
    assert await layout.read_manifest(future.descriptor) == future.raw


async def test_the_digest_of_a_blob_is_no_manifest(layout: Layout) -> None:
    """Blobs and manifests lie in one directory; only one of them resolves."""
    layer, described = image(seed="a").blobs
    for part in (layer, described):
        await layout.write_blob(part.descriptor, part.open_at)
        with pytest.raises(ManifestUnknown):
            await layout.resolve(part.digest)
        with pytest.raises(ManifestUnknown):
            await layout.delete_manifest(part.digest)
        assert await layout.has_blob(part.descriptor)


async def test_a_listed_manifest_is_not_deleted_as_a_blob(layout: Layout) -> None:
    """Its name would be left without it."""
    built = image(seed="a")
    await built.write_to(layout, names=[RefName("a")])

    with pytest.raises(BlobUnknown):
        await layout.delete_blob(built.digest)
    assert await layout.resolve(RefName("a")) == built.descriptor.plain()


# Referrers


async def test_referrers_are_found_inside_indexes(layout: Layout) -> None:
    """A manifest that only an index lists, at any depth, counts as well."""
    subject = image(seed="subject")
    signature = artifact(subject=subject)
    await subject.write_to(layout)
    await index(index(signature)).write_to(layout, names=[RefName("bundle")])

    assert [found.digest async for found in layout.referrers(subject.digest)] == [signature.digest]


async def test_the_fallback_tag_lists_referrers_that_are_not_here(layout: Layout) -> None:
    """A client without the referrers API wrote their descriptors; those are all there is to give."""
    subject = image(seed="subject")
    here, absent = artifact(subject=subject), artifact(subject=subject, artifact_type="application/x.absent")
    listed = index(here, absent)
    await here.write_to(layout)
    await layout.write_manifest(listed.descriptor, listed.raw, names=[referrers_tag(subject.digest)])

    found = [one.digest async for one in layout.referrers(subject.digest)]

    assert sorted(found) == sorted([here.digest, absent.digest])


async def test_the_fallback_tag_is_not_believed_about_manifests_that_are_here(layout: Layout) -> None:
    """A manifest says itself what its subject is."""
    subject, other = image(seed="subject"), image(seed="other")
    about_other = artifact(subject=other)
    await index(about_other).write_to(layout, names=[referrers_tag(subject.digest)])

    assert [one async for one in layout.referrers(subject.digest)] == []


async def test_a_damaged_manifest_does_not_hide_the_referrers(layout: Layout) -> None:
    """One broken file in a directory is not a reason to show no signatures."""
    subject, broken = image(seed="subject"), image(seed="broken")
    signature = artifact(subject=subject)
    for tree in (subject, broken, signature):
        await tree.write_to(layout)
    (layout.path / "blobs" / "sha256" / broken.digest.encoded).write_bytes(b"{")

    assert [found.digest async for found in layout.referrers(subject.digest)] == [signature.digest]


async def test_an_index_in_a_circle_ends(layout: Layout) -> None:
    """Digests make no circles, but index.json can list one manifest as often as it likes."""
    both = index(image(seed="a"), image(seed="a"), media_type=mediatype.DOCKER_MANIFEST_LIST)
    await both.write_to(layout, names=[RefName("a"), RefName("b")])

    assert [found async for found in layout.referrers(both.digest)] == []
