"""Images assembled into a real layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from entrepot.errors import VerificationError
from entrepot.images.build import Recipe, build, timestamp
from entrepot.images.layers import Entry, Layer, pack
from entrepot.layout import Layout
from entrepot.oci import ImageConfig, ImageManifest, Index, Platform, Process, parse_manifest
from entrepot.reference import RefName
from entrepot.store import read_blob

pytestmark = pytest.mark.anyio

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64/v8")


@pytest.fixture
async def layout(tmp_path: Path) -> Layout:
    return await Layout.open(tmp_path / "layout", create=True)


@pytest.fixture
def layer(tmp_path: Path) -> Layer:
    return pack([Entry("a", content=b"content")], tmp_path / "layer", created_by="by hand")


async def test_one_image(layout: Layout, layer: Layer) -> None:
    """One recipe becomes a manifest with a config that agrees with it."""
    process = Process(entrypoint=("/a",), env=("A=1",))
    root = await build(layout, [Recipe(ARM64, [layer], process, 60, {"k": "v"})], names=[RefName("a")])
    assert await layout.resolve(RefName("a")) == root
    manifest = parse_manifest(await layout.read_manifest(root), root.media_type)
    assert isinstance(manifest.body, ImageManifest)
    assert manifest.body.layers == (layer.descriptor,)
    assert manifest.body.annotations == {"k": "v"}
    config = ImageConfig.parse(await read_blob(layout, manifest.body.config, max_bytes=1 << 20))
    assert config.platform == ARM64
    assert config.config == process
    assert config.rootfs.diff_ids == (layer.diff_id,)
    assert config.created == "1970-01-01T00:01:00Z"
    assert [step.created_by for step in config.history or ()] == ["by hand"]


async def test_several_platforms(layout: Layout, layer: Layer) -> None:
    """Several recipes become an index that names their platforms."""
    recipes = [Recipe(AMD64, [layer]), Recipe(ARM64, [layer], annotations={"k": "v"})]
    root = await build(layout, recipes, names=[RefName("a")])
    manifest = parse_manifest(await layout.read_manifest(root), root.media_type)
    assert isinstance(manifest.body, Index)
    assert [child.platform for child in manifest.body.manifests or ()] == [AMD64, ARM64]
    assert [child.annotations for child in manifest.body.manifests or ()] == [None, {"k": "v"}]
    for child in manifest.body.manifests or ():
        assert await layout.read_manifest(child)


async def test_an_image_without_layers(layout: Layout) -> None:
    """Nothing at all can be an image."""
    root = await build(layout, [Recipe(AMD64, [])])
    assert (await layout.resolve(root.digest)).digest == root.digest


async def test_a_layer_that_was_changed(layout: Layout, layer: Layer) -> None:
    """A layer whose file is not what it was when it was packed gets into no image."""
    layer.path.write_bytes(layer.path.read_bytes() + b"!")
    with pytest.raises(VerificationError):
        await build(layout, [Recipe(AMD64, [layer])], names=[RefName("a")])
    assert [name async for name in layout.tags()] == []


def test_timestamps() -> None:
    """Times are written as RFC 3339 has them."""
    assert timestamp(0) == "1970-01-01T00:00:00Z"
