"""The image of Entrepot itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

import entrepot
from entrepot.images import itself
from entrepot.images.itself import Part
from entrepot.images.layers import Layer, pack
from entrepot.oci import Platform


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Part, Layer]]:
    directory = tmp_path_factory.mktemp("layers")
    return [(part, pack(part.entries, directory / str(n))) for n, part in enumerate(itself.parts())]


def test_portable_layers_have_no_machine_code(packed: list[tuple[Part, Layer]]) -> None:
    """What counts as portable has no shared library and no program in it, and the rest has nothing else."""
    for part, _ in packed:
        for item in part.entries:
            if isinstance(item.content, Path):
                machine = item.content.read_bytes()[:4] == b"\x7fELF" or "_sysconfigdata" in item.name
                assert machine != part.portable, item.name


def test_no_file_is_in_two_layers(packed: list[tuple[Part, Layer]]) -> None:
    """Each file is in one layer."""
    names = [item.name for part, _ in packed for item in part.entries if item.content is not None]
    assert len(names) == len(set(names))


def test_two_platforms(packed: list[tuple[Part, Layer]]) -> None:
    """The image for this machine has all layers, the other one the portable ones, and says that it cannot run."""
    here, other = itself.recipes(packed)
    assert here.platform == Platform.of_this_machine()
    assert other.platform.architecture != here.platform.architecture
    assert set(other.layers) < set(here.layers)
    assert itself.NOT_RUNNABLE in other.annotations.values()
    assert other.process.entrypoint is None


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the root directory needs to be root")
def test_it_runs(packed: list[tuple[Part, Layer]], tmp_path: Path) -> None:
    """Unpacked somewhere else and run as the image says, with nothing else around, it is Entrepot."""
    for _, layer in packed:
        with tarfile.open(layer.path, "r:gz") as tar:
            tar.extractall(tmp_path, filter="fully_trusted")
    process = itself.recipes(packed)[0].process
    program, *arguments = process.entrypoint or ()
    environment = dict(pair.partition("=")[::2] for pair in process.env or ())
    ended = subprocess.run(
        [shutil.which("chroot") or "/usr/sbin/chroot", tmp_path, program, *arguments, "--version"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.stdout, ended.stderr) == (f"entrepot {entrepot.__version__}\n", "")
    everything = (
        "import aiohttp, asyncio, granian, litestar, msgspec, sqlite3, ssl; ssl.create_default_context()"
    )
    subprocess.run(
        [shutil.which("chroot") or "/usr/sbin/chroot", tmp_path, program, "-c", everything],
        env=environment,
        check=True,
    )
