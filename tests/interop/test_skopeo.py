"""skopeo copies both ways, lists, inspects and deletes."""

import json
from pathlib import Path

import pytest
from bench.images import Content, image, layout_root, stored_manifest, this_platform, write_layout
from tests.interop.engines import skopeo

pytestmark = pytest.mark.timeout(300)


def copy_in(source: Path, tag: str, target: str) -> None:
    skopeo("copy", "--all", "--dest-tls-verify=false", f"oci:{source}:{tag}", f"docker://{target}")


def copy_out(source: str, target: Path, tag: str) -> None:
    skopeo("copy", "--all", "--src-tls-verify=false", f"docker://{source}", f"oci:{target}:{tag}")


def files_of(layout: Path) -> dict[str, bytes]:
    """The blobs of a layout, by their path."""
    blobs = layout / "blobs"
    return {str(path.relative_to(blobs)): path.read_bytes() for path in blobs.rglob("*") if path.is_file()}


def test_an_index_goes_into_the_registry_and_out_again(
    registry: str, directory: Path, two_platforms: Content
) -> None:
    """oci: → registry → oci: with every platform: the same root, the same blobs, byte for byte."""
    there, back = directory / "there", directory / "back"
    write_layout(there, two_platforms, "1")
    copy_in(there, "1", f"{registry}/skopeo/round:1")

    stored = stored_manifest(registry, "skopeo/round", "1")
    assert stored is not None
    assert stored[0] == two_platforms.data

    copy_out(f"{registry}/skopeo/round:1", back, "1")
    assert layout_root(back)["digest"] == two_platforms.digest
    assert files_of(back) == files_of(there)


def test_a_copy_from_repository_to_repository_keeps_every_digest(
    registry: str, directory: Path, two_platforms: Content
) -> None:
    """Between two repositories of one registry skopeo mounts blobs."""
    write_layout(directory, two_platforms, "1")
    source, target = f"{registry}/skopeo/source:1", f"{registry}/skopeo/target:1"
    copy_in(directory, "1", source)
    skopeo(
        "copy",
        "--all",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        f"docker://{source}",
        f"docker://{target}",
    )
    for content in two_platforms.closure():
        if content.references:
            stored = stored_manifest(registry, "skopeo/target", content.digest)
            assert stored is not None
            assert stored[0] == content.data


def test_tags_are_listed_and_images_inspected(registry: str, directory: Path, two_platforms: Content) -> None:
    """list-tags names every tag; inspect sees this platform's image; inspect --raw gives the stored bytes."""
    write_layout(directory, two_platforms, "1")
    name = f"{registry}/skopeo/listed"
    for tag in ("a", "b", "latest"):
        copy_in(directory, "1", f"{name}:{tag}")

    assert json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{name}"))["Tags"] == [
        "a",
        "b",
        "latest",
    ]

    inspected = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{name}:a"))
    assert inspected["Digest"] == two_platforms.digest
    assert inspected["Architecture"] == this_platform()["architecture"]
    assert inspected["RepoTags"] == ["a", "b", "latest"]

    raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{name}:a")
    assert raw.encode() == two_platforms.data


def test_a_deleted_image_is_gone_and_its_neighbour_stays(registry: str, directory: Path) -> None:
    """Skopeo deletes by digest: that manifest and its tag go, the other image is untouched."""
    name = f"{registry}/skopeo/deleted"
    for tag in ("doomed", "kept"):
        made = image([{"file": tag.encode()}])
        write_layout(directory / tag, made, tag)
        copy_in(directory / tag, tag, f"{name}:{tag}")

    skopeo("delete", "--tls-verify=false", f"docker://{name}:doomed")

    assert stored_manifest(registry, "skopeo/deleted", "doomed") is None
    assert stored_manifest(registry, "skopeo/deleted", "kept") is not None
    assert json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{name}"))["Tags"] == ["kept"]
