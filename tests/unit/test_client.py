"""The client on layouts and the image store; with registries it is tested through the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from entrepot import errors
from entrepot.client import Client, parse_location
from entrepot.client.locations import InImageStore, InLayout, OnRegistry
from entrepot.images.build import Recipe
from entrepot.images.layers import Entry, pack
from entrepot.layout import Layout
from entrepot.oci import Digest, Platform, Process, parse_manifest
from entrepot.reference import Reference, RefName
from entrepot.store import Store
from entrepot.wire.exchange import Action, Decision
from entrepot.wire.record import Recorder

pytestmark = pytest.mark.anyio

DIGEST = Digest.of(b"something")
HERE, OTHER = Platform.of_this_machine(), Platform.parse("linux/s390x")


@pytest.fixture
def decisions() -> list[Decision]:
    return []


@pytest.fixture
async def client(tmp_path: Path, decisions: list[Decision]) -> AsyncIterator[Client]:
    async with Client(image_store=tmp_path / "images", recorder=Recorder([decisions.append])) as client:
        yield client


@pytest.fixture
async def index(client: Client, tmp_path: Path) -> str:
    """An index of two images that share a layer, in the image store."""
    shared = pack([Entry("shared", content=b"shared")], tmp_path / "shared")
    recipes = []
    for platform in (HERE, OTHER):
        own = pack([Entry("own", content=str(platform).encode())], tmp_path / platform.architecture)
        recipes.append(Recipe(platform, [shared, own], Process(cmd=(str(platform),))))
    name, _ = await client.build("app:1", recipes)
    return f"local:{name}"


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("alpine", OnRegistry(Reference.parse("docker.io/library/alpine:latest"))),
        ("docker://localhost:5000/a:1", OnRegistry(Reference.parse("localhost:5000/a:1"))),
        ("oci/image:1", OnRegistry(Reference.parse("docker.io/oci/image:1"))),
        ("local:alpine", InImageStore(Reference.parse("docker.io/library/alpine:latest"))),
        ("oci:dir", InLayout(Path("dir"), None)),
        ("oci:/a/dir:1.0", InLayout(Path("/a/dir"), RefName("1.0"))),
        (
            "oci:dir:docker.io/library/alpine:latest",
            InLayout(Path("dir"), RefName("docker.io/library/alpine:latest")),
        ),
        (f"oci:dir@{DIGEST}", InLayout(Path("dir"), DIGEST)),
        ("oci:C:\\dir:1", InLayout(Path("C:\\dir"), RefName("1"))),
    ],
)
def test_locations(text: str, location: object) -> None:
    """A reference means a registry unless it has a prefix."""
    assert parse_location(text) == location


def test_a_directory_with_a_colon(tmp_path: Path) -> None:
    """A directory that is there is meant as a whole."""
    (tmp_path / "a:b").mkdir()
    assert parse_location(f"oci:{tmp_path}/a:b") == InLayout(tmp_path / "a:b", None)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", None),
        ("oci:", None),
        ("oci::tag", None),
        ("oci:dir:a b", 8),
        ("oci:dir@sha256:short", 8),
        ("local:UPPER", 6),
        ("oci-archive:a.tar", 0),
        ("docker-archive:a.tar:a", 0),
        ("docker-daemon:alpine:latest", 0),
        ("containers-storage:alpine:latest", 0),
        ("dir:/some/where", 0),
        ("file://x", 0),
        ("https://registry.example/a", 5),
    ],
)
def test_what_is_no_location(text: str, position: int | None) -> None:
    """An unknown prefix is refused, not taken for a repository; the error points into the whole text."""
    with pytest.raises(errors.InvalidReference) as caught:
        parse_location(text)
    assert caught.value.text == text
    assert caught.value.position == position


@pytest.mark.parametrize(
    "text", ["alpine", f"a:1@{DIGEST}", "local:alpine", "oci:dir:1", f"oci:dir@{DIGEST}", "oci:dir"]
)
def test_locations_can_be_written_and_read(text: str) -> None:
    """What a location is written as stands for the same place, but for the prefix of the image store."""
    location = parse_location(text)
    written = f"local:{location}" if isinstance(location, InImageStore) else str(location)
    assert parse_location(written) == location


async def test_open_store(client: Client, index: str, tmp_path: Path) -> None:
    """Every location opens as a store; a layout is made only when that is asked for."""
    async with client.open_store(index) as place:
        assert isinstance(place.store, Store)
        assert await place.store.resolve(place.target)
    async with client.open_store("localhost:1/a") as place:
        assert isinstance(place.store, Store)
        assert place.origin is not None
    with pytest.raises(errors.StoreError):
        async with client.open_store(f"oci:{tmp_path / 'new'}"):
            pass
    async with client.open_store(f"oci:{tmp_path / 'new'}:a", create=True) as place:
        assert place.names == (RefName("a"),)


async def test_copy_reports_decisions(
    client: Client, index: str, tmp_path: Path, decisions: list[Decision]
) -> None:
    """Every piece of content is a decision at the recorder."""
    decisions.clear()
    copied = await client.copy(index, f"oci:{tmp_path / 'layout'}:a")
    assert copied.result.counts == {Action.COPIED: 8, Action.EXISTS: 1}
    assert len(decisions) == 9
    assert str(copied) == f"oci:{tmp_path / 'layout'}:a@{copied.digest}"


async def test_copy_with_a_platform_keeps_the_index(client: Client, index: str, tmp_path: Path) -> None:
    """Copying one platform keeps the index's digest; its other image stays behind."""
    await client.copy(index, f"oci:{tmp_path / 'layout'}:a", platforms=[OTHER])
    tree = await client.inspect(f"oci:{tmp_path / 'layout'}:a")
    assert tree.digest == (await client.digest(index)).digest
    assert [(child.platform, child.absent) for child in tree.manifests] == [
        (str(HERE), True),
        (str(OTHER), False),
    ]


async def test_copy_without_a_name(client: Client, index: str, tmp_path: Path) -> None:
    """A layout as a whole takes an image without giving it a name, and does not say which of its images is meant."""
    copied = await client.copy(index, f"oci:{tmp_path / 'layout'}")
    layout = await Layout.open(tmp_path / "layout")
    assert [root.descriptor.digest for root in await layout.roots()] == [copied.digest]
    assert (await client.digest(f"oci:{tmp_path / 'layout'}@{copied.digest}")).digest == copied.digest
    with pytest.raises(errors.InvalidReference, match="neither name nor digest"):
        await client.digest(f"oci:{tmp_path / 'layout'}")


async def test_inspect(client: Client, index: str) -> None:
    """The tree of an index has its images, each with its config and layers."""
    tree = await client.inspect(index)
    assert [child.platform for child in tree.manifests] == [str(HERE), str(OTHER)]
    assert [child.image.cmd for child in tree.manifests if child.image] == [(str(HERE),), (str(OTHER),)]
    assert tree.manifests[0].layers[0] == tree.manifests[1].layers[0]
    assert await client.inspect(index, platform=OTHER) == tree.manifests[1]


async def test_manifest_and_config(client: Client, index: str) -> None:
    """Manifests and configs are given byte for byte, of the platform that was asked for, or of this machine."""
    root = await client.manifest(index)
    assert Digest.of(root.raw) == root.digest == (await client.digest(index)).digest
    here = parse_manifest((await client.manifest(index, platform=HERE)).raw)
    assert Digest.of(await client.config(index)) == here.body.config.digest  # type: ignore[union-attr]
    assert b"s390x" in await client.config(index, platform=OTHER)
    with pytest.raises(errors.ManifestUnknown, match="linux/mips"):
        await client.config(index, platform=Platform.parse("mips"))


async def test_images(client: Client, index: str) -> None:
    """The image store is listed with what is there of each image; shared content counts once."""
    (image,) = await client.images()
    assert f"local:{image.name}" == index
    assert image.platforms == (str(HERE), str(OTHER))
    tree = await client.inspect(index)
    sizes = {tree.digest: tree.size}
    for child in tree.manifests:
        assert child.config is not None
        sizes |= {child.digest: child.size, child.config.digest: child.config.size}
        sizes |= {layer.digest: layer.size for layer in child.layers}
    assert image.size == sum(sizes.values())


async def test_names_and_deleting(client: Client, index: str, tmp_path: Path) -> None:
    """A name goes alone; a digest takes every name along, and they can be asked for before."""
    layout = f"oci:{tmp_path / 'layout'}"
    for name in ("a", "b", "c"):
        copied = await client.copy(index, f"{layout}:{name}")
    await client.delete(f"{layout}:a")
    assert [name async for name in client.tags(layout)] == ["b", "c"]
    assert await client.names_of(f"{layout}@{copied.digest}") == ["b", "c"]
    await client.delete(f"{layout}@{copied.digest}")
    assert [name async for name in client.tags(layout)] == []
    with pytest.raises(errors.ManifestUnknown):
        await client.delete(f"{layout}:b")
    with pytest.raises(errors.InvalidReference):
        await client.delete(layout)


async def test_pull_and_push_are_for_registries(client: Client, index: str) -> None:
    """`pull` comes from a registry and `push` goes to one; other places are `copy`'s."""
    with pytest.raises(errors.InvalidReference, match="not on a registry"):
        await client.pull(index)
    with pytest.raises(errors.InvalidReference, match="not on a registry"):
        await client.push(index, "oci:dir")


async def test_without_an_image_store() -> None:
    """A client that was given no image store says so when one is needed."""
    async with Client() as client:
        with pytest.raises(errors.StoreError, match="no image store"):
            await client.images()
