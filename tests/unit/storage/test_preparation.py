"""Making a root ready, and what is refused."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from entrepot.errors import ConfigError, NameUnknown, StoreError, Unavailable
from entrepot.reference import RepositoryName
from entrepot.storage import Registry, StorageSettings, layout, prepare
from entrepot.storage.migrations import migrations
from entrepot.testing.images import image

NAME = RepositoryName("library/app")


@pytest.fixture
def unprepared(tmp_path: Path) -> StorageSettings:
    return StorageSettings(root=tmp_path / "new" / "root")


@contextmanager
def unprivileged() -> Iterator[None]:
    """Without the rights of root, whom no permission stops."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_root_is_made_with_its_parents_and_is_nobody_elses(unprepared: StorageSettings) -> None:
    """Directories that only the owner can enter, a catalog in WAL mode of the newest version, no lock left."""
    with prepare(unprepared):
        pass

    root = unprepared.root
    assert {path.name for path in root.iterdir()} >= {"blobs", "uploads", "catalog.db", "root.lock"}
    for directory in (root, root / layout.BLOBS, root / layout.UPLOADS):
        assert directory.stat().st_mode & 0o077 == 0
    connection = sqlite3.connect(root / layout.CATALOG)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA user_version").fetchone() == (migrations()[-1][0],)
    connection.close()


def test_preparing_leaves_nothing_open_but_the_lock(unprepared: StorageSettings) -> None:
    """Workers inherit no descriptor of the catalog: closing it would drop their locks."""
    with prepare(unprepared):
        links = [Path(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
        opened = [str(link.readlink()) for link in links if link.is_symlink()]
    ours = [name for name in opened if name.startswith(str(unprepared.root))]
    assert ours == [str(unprepared.root / layout.ROOT_LOCK)]


@pytest.mark.anyio
async def test_preparing_again_keeps_what_is_there(unprepared: StorageSettings) -> None:
    """A restart: nothing is migrated twice, and content stays."""
    tree = image()
    for _ in range(2):
        with prepare(unprepared):
            registry = await Registry.open(unprepared)
            try:
                await tree.write_to(registry.repository(NAME))
                assert (await registry.repository(NAME).find_manifest(tree.digest)).size == len(tree.raw)
            finally:
                await registry.close()


def test_a_root_in_use_is_refused_and_says_by_whom(unprepared: StorageSettings) -> None:
    """Another server's root; free again as soon as that one has ended, however it did."""
    script = (
        "import sys; from pathlib import Path; from entrepot.storage import *;"
        "lock = prepare(StorageSettings(root=Path(sys.argv[1]))); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(unprepared.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=f"in use by process {process.pid}: ") as caught:
            prepare(unprepared)
        assert caught.value.hint is not None
        process.kill()
    with prepare(unprepared):
        assert (unprepared.root / layout.ROOT_LOCK).read_text() == f"{os.getpid()}\n"


def test_a_root_of_a_newer_version_is_refused_untouched(unprepared: StorageSettings) -> None:
    """The message names both versions; nothing is changed, and the lock is let go."""
    prepare(unprepared).close()
    connection = sqlite3.connect(unprepared.root / layout.CATALOG)
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    for _ in range(2):
        with pytest.raises(StoreError, match="newer Entrepot, schema 999"):
            prepare(unprepared)


@pytest.mark.parametrize("content", [b"not a database" * 1000, b"SQLite format 3\x00" + b"\xff" * 8000])
def test_a_catalog_that_is_no_database_is_refused(unprepared: StorageSettings, content: bytes) -> None:
    """Named, and not overwritten."""
    prepare(unprepared).close()
    for path in unprepared.root.glob("catalog.db*"):
        path.unlink()
    catalog = unprepared.root / layout.CATALOG
    catalog.write_bytes(content)
    with pytest.raises(StoreError, match=r"catalog cannot be used.*catalog\.db"):
        prepare(unprepared)
    assert catalog.read_bytes() == content


def test_a_root_that_cannot_be_made_or_written_is_refused(tmp_path: Path) -> None:
    """A file in its place, and a directory that belongs to somebody else; the reason is in the message."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot be used, (File exists|Not a directory)"):
        prepare(StorageSettings(root=tmp_path / "file"))
    with pytest.raises(StoreError, match="cannot be used, Not a directory"):
        prepare(StorageSettings(root=tmp_path / "file" / "root"))
    with unprivileged(), pytest.raises(StoreError, match="cannot be used, Permission denied: /root-of-ours"):
        prepare(StorageSettings(root=Path("/root-of-ours")))


def test_a_root_that_is_there_needs_no_access_to_its_parent() -> None:
    """A service's directory below one that the service may enter and not list."""
    # not in tmp_path, whose parents only root may enter when root runs the tests
    with TemporaryDirectory() as directory:
        parent = Path(directory) / "srv"
        root = parent / "root"
        prepare(StorageSettings(root=root)).close()
        if os.geteuid() == 0:
            for path in (Path(directory), parent, root, *root.rglob("*")):
                os.chown(path, 65534, 65534)
        parent.chmod(0o100)
        try:
            with unprivileged():
                prepare(StorageSettings(root=root)).close()
        finally:
            parent.chmod(0o700)


def test_a_damaged_scratch_store_is_made_anew(unprepared: StorageSettings) -> None:
    """It is never synced, so a power cut may leave it in pieces: no reason not to start."""
    prepare(unprepared).close()
    scratch = unprepared.root / layout.SCRATCH
    for path in unprepared.root.glob("scratch.db*"):
        path.unlink()
    scratch.write_bytes(b"SQLite format 3\x00" + b"\xff" * 8000)

    prepare(unprepared).close()

    connection = sqlite3.connect(scratch)
    assert connection.execute("SELECT * FROM metrics").fetchall() == []
    connection.close()


def test_metrics_of_an_earlier_run_are_forgotten(unprepared: StorageSettings) -> None:
    """Counters begin at nothing when the server does."""
    with prepare(unprepared):
        pass
    connection = sqlite3.connect(unprepared.root / layout.SCRATCH)
    connection.execute("INSERT INTO metrics VALUES ('old', 1e12, x'00')")
    connection.commit()
    connection.close()

    prepare(unprepared).close()

    connection = sqlite3.connect(unprepared.root / layout.SCRATCH)
    assert connection.execute("SELECT * FROM metrics").fetchall() == []
    connection.close()


def test_a_migration_that_fails_leaves_the_version_before_it(
    unprepared: StorageSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step is one transaction together with its number: half a step is none."""
    prepare(unprepared).close()
    steps = [*migrations(), (998, "CREATE TABLE more (n BIGINT);\n\nCREATE TABLE repository (n BIGINT);\n")]
    monkeypatch.setattr("entrepot.storage.preparation.migrations", lambda: steps)
    with pytest.raises(StoreError, match="already exists"):
        prepare(unprepared)
    connection = sqlite3.connect(unprepared.root / layout.CATALOG)
    assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'more'").fetchall() == []
    assert connection.execute("PRAGMA user_version").fetchone() == (steps[-2][0],)
    connection.close()


def test_migrations_are_numbered_and_whole() -> None:
    """Numbers are unique and rising, and every statement of a file is complete."""
    numbers = [number for number, _ in migrations()]
    assert numbers == sorted(set(numbers))
    for _, text in migrations():
        assert sqlite3.complete_statement(text.rstrip())


@pytest.mark.anyio
async def test_opening_what_was_never_prepared_is_refused(unprepared: StorageSettings) -> None:
    """And makes nothing there."""
    with pytest.raises(StoreError, match="has not been prepared"):
        await Registry.open(unprepared)
    assert not unprepared.root.exists()
    unprepared.root.mkdir(parents=True)
    with pytest.raises(StoreError, match="has not been prepared"):
        await Registry.open(unprepared)
    assert list(unprepared.root.iterdir()) == []


@pytest.mark.anyio
async def test_a_check_finds_a_root_that_is_ready(settings: StorageSettings, registry: Registry) -> None:
    """Ready: it says nothing."""
    await registry.check()


@pytest.mark.anyio
async def test_a_check_finds_no_room_and_no_writing(
    registry: Registry, settings: StorageSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little room for a manifest, no inode, or mounted read-only; file systems that count no files are fine."""
    real = list(os.statvfs(settings.root))
    blocks, files, files_left, flags = 4, 5, 7, 8
    size = 1

    def with_values(**changes: int) -> None:
        values = real.copy()
        for name, value in changes.items():
            values[{"blocks": blocks, "files": files, "files_left": files_left, "flags": flags}[name]] = value
        monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(values))

    for changes, complaint in (
        ({"blocks": settings.max_manifest_bytes // real[size] - 1}, "no room"),
        ({"files": 1000, "files_left": 0}, "no room"),
        ({"flags": os.ST_RDONLY}, "cannot be written"),
    ):
        with_values(**changes)
        with pytest.raises(Unavailable, match=complaint):
            await registry.check()
    with_values(files=0, files_left=0, blocks=1 << 30)
    await registry.check()
    monkeypatch.undo()
    shutil.rmtree(settings.root)
    with pytest.raises(Unavailable, match="No such file"):
        await registry.check()


def test_settings_that_lose_pushes_are_refused(tmp_path: Path) -> None:
    """All problems at once."""
    with pytest.raises(ConfigError) as caught:
        StorageSettings(root=tmp_path, lease_seconds=59, upload_idle_seconds=0, max_manifest_bytes=0)
    assert len(caught.value.problems) == 3
    StorageSettings(root=tmp_path, lease_seconds=60, upload_idle_seconds=1, max_manifest_bytes=1)


@pytest.mark.parametrize(
    ("kind", "refused"),
    [("nfs4", True), ("cifs", True), ("fuse.sshfs", True), ("ext4", False), ("tmpfs", False)],
)
def test_network_file_systems_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, refused: bool
) -> None:
    """Their locks are not what SQLite and flock need; the message names the kind and what to do."""
    monkeypatch.setattr(layout, "file_system_type", lambda _path: kind)
    if not refused:
        layout.refuse_network_file_system(tmp_path)
        return
    with pytest.raises(StoreError, match=f"network file system, {kind}: ") as caught:
        layout.refuse_network_file_system(tmp_path)
    assert "local disk" in str(caught.value.hint)


def test_the_type_of_a_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    """/proc is told apart from what it is mounted in."""
    assert layout.file_system_type(Path("/proc/self")) == "proc"
    assert layout.file_system_type(tmp_path) not in {"", "proc"}
    assert layout.file_system_type(tmp_path / "not" / "there") == layout.file_system_type(tmp_path)


@pytest.mark.anyio
async def test_two_registries_have_nothing_in_common(tmp_path: Path) -> None:
    """Roots beside each other in one process, as tests of other people have them."""
    one, two = (StorageSettings(root=tmp_path / name) for name in ("one", "two"))
    with prepare(one), prepare(two):
        registries = [await Registry.open(settings) for settings in (one, replace(two))]
        try:
            await image().write_to(registries[0].repository(NAME))
            with pytest.raises(NameUnknown):
                await registries[1].repository(NAME).find_manifest(image().digest)
        finally:
            for registry in registries:
                await registry.close()
