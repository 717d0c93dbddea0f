"""What is a layout, what is none, and what happens to the files of others."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from entrepot.errors import BlobUnknown, DigestMismatch, ManifestTooLarge, ManifestUnknown, StoreError
from entrepot.layout import Layout, Limits
from entrepot.reference import RefName
from entrepot.store import read_blob
from entrepot.testing import blob, image, index

pytestmark = pytest.mark.anyio


async def test_a_new_layout_has_the_files_of_the_specification(tmp_path: Path) -> None:
    """`oci-layout` names version 1.0.0, `index.json` is an empty index, `blobs` exists; parents are made."""
    await Layout.open(tmp_path / "some" / "where", create=True)

    made = tmp_path / "some" / "where"
    assert json.loads((made / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads((made / "index.json").read_bytes())["manifests"] == []
    assert (made / "blobs").is_dir()


async def test_opening_creates_nothing_unless_asked(tmp_path: Path) -> None:
    """A directory that is absent stays absent, and the error names it."""
    with pytest.raises(StoreError, match=f"not an OCI image layout.*{tmp_path}/absent"):
        await Layout.open(tmp_path / "absent")

    assert not (tmp_path / "absent").exists()


async def test_reading_leaves_the_directory_as_it_is(tmp_path: Path) -> None:
    """A layout on a medium that cannot be written can be read: no lock, no temporary directory."""
    built = image(seed="read only")
    await built.write_to(await Layout.open(tmp_path, create=True), names=[RefName("a")])
    (tmp_path / ".index.lock").unlink()
    (tmp_path / "ingest").rmdir()
    before = sorted(tmp_path.rglob("*"))

    layout = await Layout.open(tmp_path)
    await layout.read_manifest(await layout.resolve(RefName("a")))
    assert [name async for name in layout.tags()] == ["a"]
    assert [found async for found in layout.referrers(built.digest)] == []
    await read_blob(layout, built.blobs[0].descriptor, max_bytes=1000)

    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("version", ["1.0.0", "1.0.1"])
async def test_layouts_of_version_1_0_are_read(tmp_path: Path, version: str) -> None:
    """Any 1.0.x will do, and fields that we do not know do no harm."""
    (tmp_path / "oci-layout").write_text(json.dumps({"imageLayoutVersion": version, "other": 1}))
    (tmp_path / "index.json").write_text('{"schemaVersion": 2, "manifests": null}')

    layout = await Layout.open(tmp_path)

    assert await layout.roots() == []


@pytest.mark.parametrize(
    "marker", ['{"imageLayoutVersion": "1.1.0"}', '{"imageLayoutVersion": 1}', "{}", "[]", "no"]
)
async def test_other_versions_and_markers_are_refused(tmp_path: Path, marker: str) -> None:
    """A newer layout may mean other things by the same names, so nothing is guessed."""
    (tmp_path / "oci-layout").write_text(marker)
    (tmp_path / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')

    for create in (False, True):
        with pytest.raises(StoreError, match=r"OCI image layout"):
            await Layout.open(tmp_path, create=create)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"manifests": {}}'])
async def test_an_index_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    """A torn or foreign index.json is an error that says so, not an empty layout that gets written over."""
    layout = await Layout.open(tmp_path, create=True)
    (tmp_path / "index.json").write_text(content)

    with pytest.raises(StoreError, match=r"index\.json is no image index"):
        await Layout.open(tmp_path, create=True)
    with pytest.raises(StoreError, match=r"index\.json is no image index"):
        await image(seed="a").write_to(layout, names=[RefName("a")])
    assert (tmp_path / "index.json").read_text() == content


async def test_a_directory_of_other_files_is_not_made_a_layout(tmp_path: Path) -> None:
    """`oci:.` in somebody's home directory must not scatter blobs there; hidden files do no harm."""
    (tmp_path / ".hidden").touch()
    await Layout.open(tmp_path, create=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").touch()

    with pytest.raises(StoreError, match=r"nor empty, it has 'thesis\.tex'"):
        await Layout.open(tmp_path / "home", create=True)
    assert [path.name for path in (tmp_path / "home").iterdir() if not path.name.startswith(".")] == [
        "thesis.tex"
    ]


async def test_a_file_in_the_place_of_the_directory_is_an_error(tmp_path: Path) -> None:
    """The error says which path it is."""
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match=r"file exists.*/file"):
        await Layout.open(tmp_path / "file", create=True)


@pytest.mark.parametrize("present", [["blobs", "ingest"], ["blobs", "index.json"], ["oci-layout"]])
async def test_a_making_that_was_interrupted_is_completed(tmp_path: Path, present: list[str]) -> None:
    """Whatever a killed process had made of a layout, the next one finishes."""
    whole = await Layout.open(tmp_path / "whole", create=True)
    (tmp_path / "half").mkdir()
    for name in present:
        (whole.path / name).rename(tmp_path / "half" / name)

    layout = await Layout.open(tmp_path / "half", create=True)

    await image(seed="a").write_to(layout, names=[RefName("a")])


async def test_a_relative_path_keeps_its_meaning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that changes its directory later goes on with the same layout."""
    monkeypatch.chdir(tmp_path)
    layout = await Layout.open(Path("here"), create=True)
    monkeypatch.chdir("/")

    await image(seed="a").write_to(layout, names=[RefName("a")])

    assert layout.path == tmp_path / "here"


async def test_files_are_as_readable_as_the_umask_says(layout: Layout) -> None:
    """Another user can read a layout that was made in a shared directory."""
    old = os.umask(0o022)
    try:
        built = image(seed="a")
        await built.write_to(layout, names=[RefName("a")])
    finally:
        os.umask(old)

    for path in (layout.path / "index.json", layout.path / "blobs" / "sha256" / built.digest.encoded):
        assert path.stat().st_mode & 0o777 == 0o644


# What a foreign layout may contain


async def test_a_link_out_of_the_layout_is_refused(layout: Layout, tmp_path: Path) -> None:
    """A layout that somebody sent cannot make us read this machine's own files."""
    secret = blob(100, "secret")
    (tmp_path / "secret").write_bytes(secret.raw)
    (layout.path / "blobs" / "sha256").mkdir()
    (layout.path / "blobs" / "sha256" / secret.digest.encoded).symlink_to(tmp_path / "secret")

    with pytest.raises(StoreError, match="leads out of the layout"):
        await layout.has_blob(secret.descriptor)
    with pytest.raises(StoreError, match="leads out of the layout"):
        await read_blob(layout, secret.descriptor, max_bytes=1000)
    with pytest.raises(StoreError, match="leads out of the layout"):
        await layout.read_manifest(secret.descriptor)
    with pytest.raises(StoreError, match="leads out of the layout"):
        await layout.delete_blob(secret.digest)
    assert (tmp_path / "secret").exists()


async def test_links_of_whole_directories_and_of_the_index_are_refused_too(
    layout: Layout, tmp_path: Path
) -> None:
    """Neither blobs are written through such a link, nor is index.json read through one."""
    (tmp_path / "elsewhere").mkdir()
    (layout.path / "blobs" / "sha256").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')

    with pytest.raises(StoreError, match="leads out of the layout"):
        await image(seed="a").write_to(layout)
    (layout.path / "index.json").unlink()
    (layout.path / "index.json").symlink_to(tmp_path / "index.json")
    with pytest.raises(StoreError, match="leads out of the layout"):
        await layout.roots()
    assert list((tmp_path / "elsewhere").iterdir()) == []


async def test_links_that_stay_inside_are_followed(layout: Layout) -> None:
    """Some tools deduplicate by links within the layout."""
    content = blob(100)
    (layout.path / "shared").write_bytes(content.raw)
    (layout.path / "blobs" / "sha256").mkdir()
    (layout.path / "blobs" / "sha256" / content.digest.encoded).symlink_to("../../shared")

    assert await read_blob(layout, content.descriptor, max_bytes=100) == content.raw


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
async def test_what_is_no_file_is_refused_without_waiting(layout: Layout) -> None:
    """A named pipe would keep us waiting for a writer for ever; a directory has no bytes."""
    content, other = blob(100), blob(100, "other")
    (layout.path / "blobs" / "sha256" / other.digest.encoded).mkdir(parents=True)
    os.mkfifo(layout.path / "blobs" / "sha256" / content.digest.encoded)

    for strange in (content, other):
        with pytest.raises(StoreError, match="not a regular file"):
            await read_blob(layout, strange.descriptor, max_bytes=100)


async def test_a_digest_longer_than_a_file_name_is_unknown(layout: Layout) -> None:
    """Algorithms that we do not know may have digests of any length; a file system has its limit."""
    from entrepot.oci import Descriptor, Digest

    digest = Digest("future:" + "a" * 400)

    with pytest.raises(ManifestUnknown):
        await layout.resolve(digest)
    with pytest.raises(BlobUnknown):
        await read_blob(layout, Descriptor(media_type="a/b", digest=digest, size=1), max_bytes=1)


async def test_limits_hold_when_reading_and_when_writing(tmp_path: Path) -> None:
    """A manifest or an index.json of any size cannot fill the memory."""
    big = image(seed="big", annotations={"org.example.padding": "x" * 5000})
    generous = await Layout.open(tmp_path, create=True)
    await big.write_to(generous, names=[RefName("big")])

    strict = await Layout.open(tmp_path, limits=Limits(max_manifest_bytes=4096))
    with pytest.raises(ManifestTooLarge, match="more than 4096 bytes"):
        await strict.read_manifest(big.descriptor)
    with pytest.raises(ManifestTooLarge, match="more than 4096 bytes"):
        await strict.write_manifest(big.descriptor, big.raw)
    with pytest.raises(StoreError, match=r"more than 100 bytes: .*index\.json"):
        await Layout.open(tmp_path, limits=Limits(max_index_bytes=100))


# Damage


async def test_a_manifest_that_was_damaged_is_not_given_out_and_can_be_written_again(layout: Layout) -> None:
    """Bytes are checked when they are read; a second write repairs them."""
    built = image(seed="a")
    await built.write_to(layout, names=[RefName("a")])
    path = layout.path / "blobs" / "sha256" / built.digest.encoded
    path.write_bytes(built.raw[:-1] + b" ")

    with pytest.raises(DigestMismatch):
        await layout.read_manifest(built.descriptor)
    await layout.write_manifest(built.descriptor, built.raw)
    assert await layout.read_manifest(built.descriptor) == built.raw


async def test_a_blob_that_was_cut_short_is_absent_and_can_be_written_again(layout: Layout) -> None:
    """After a crash of a program that does not wait for the disk, files may be empty."""
    content = blob(1000)
    await layout.write_blob(content.descriptor, content.open_at)
    (layout.path / "blobs" / "sha256" / content.digest.encoded).write_bytes(b"")

    assert not await layout.has_blob(content.descriptor)
    await layout.write_blob(content.descriptor, content.open_at)
    assert await read_blob(layout, content.descriptor, max_bytes=1000) == content.raw


async def test_a_layout_may_lack_what_its_manifests_are_made_of(layout: Layout) -> None:
    """ "The blobs directory MAY be missing referenced blobs": an index without all of its images is fine."""
    amd64, arm64 = image(seed="amd64"), image(seed="arm64")
    both = index(amd64, arm64)
    await amd64.write_to(layout)

    await layout.write_manifest(both.descriptor, both.raw, names=[RefName("sparse")])

    assert await layout.resolve(RefName("sparse")) == both.descriptor
    with pytest.raises(ManifestUnknown, match=str(arm64.digest)):
        await layout.read_manifest(arm64.descriptor)


async def test_a_blob_has_no_bytes_before_its_first(layout: Layout) -> None:
    """A negative offset is a mistake of the caller, not a range from the end."""
    with pytest.raises(ValueError, match="-1"):
        async with layout.open_blob(blob(10).descriptor, -1):
            raise AssertionError("not reached")
