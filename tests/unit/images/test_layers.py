"""Layers: what is in them, and that they come out the same."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import socket
import tarfile
from pathlib import Path

import pytest

from entrepot.errors import InvalidDocument, StoreError
from entrepot.images.layers import Entry, pack, recompress, tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "b" / "inner").mkdir(parents=True)
    (root / "b" / "inner" / "file").write_text("content")
    (root / "a.sh").write_text("run")
    (root / "a.sh").chmod(0o750)
    (root / "to-directory").symlink_to("b")
    (root / "dangling").symlink_to("nowhere")
    return root


def members(path: Path) -> list[tarfile.TarInfo]:
    with tarfile.open(path, "r:gz") as tar:
        return tar.getmembers()


def test_names_are_sorted_and_nobody_owns_them(root: Path, tmp_path: Path) -> None:
    """Entries come in byte order, of owner and group 0, of one time, with two kinds of permissions."""
    pack(tree(root), tmp_path / "layer", epoch=7)
    found = members(tmp_path / "layer")
    assert [member.name for member in found] == [
        "a.sh",
        "b",
        "b/inner",
        "b/inner/file",
        "dangling",
        "to-directory",
    ]
    assert {(member.uid, member.gid, member.uname, member.gname, member.mtime) for member in found} == {
        (0, 0, "", "", 7)
    }
    assert [member.mode for member in found] == [0o755, 0o755, 0o755, 0o644, 0o777, 0o777]


def test_links_stay_links(root: Path, tmp_path: Path) -> None:
    """A symbolic link is an entry of its own, also one to a directory, which is not entered, and one to nowhere."""
    pack(tree(root), tmp_path / "layer")
    assert {m.name: m.linkname for m in members(tmp_path / "layer") if m.issym()} == {
        "dangling": "nowhere",
        "to-directory": "b",
    }


def test_a_place_in_the_image(root: Path, tmp_path: Path) -> None:
    """A tree can be put anywhere in the image; the directories on the way are entries."""
    pack(tree(root / "b", "/opt/app"), tmp_path / "layer")
    assert [m.name for m in members(tmp_path / "layer")] == [
        "opt",
        "opt/app",
        "opt/app/inner",
        "opt/app/inner/file",
    ]


def test_leaving_out(root: Path, tmp_path: Path) -> None:
    """What is left out is left out with all that is below it."""
    pack(tree(root, leave_out=lambda path: path.name in {"b", "dangling"}), tmp_path / "layer")
    assert [m.name for m in members(tmp_path / "layer")] == ["a.sh", "to-directory"]


def test_the_same_files_give_the_same_bytes(root: Path, tmp_path: Path) -> None:
    """Neither the order of the entries nor the files' times make a difference."""
    one = pack(tree(root), tmp_path / "one")
    os.utime(root / "a.sh", (1, 1))
    two = pack(reversed(list(tree(root))), tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (one.descriptor, one.diff_id) == (two.descriptor, two.diff_id)


def test_digests_are_those_of_the_bytes(root: Path, tmp_path: Path) -> None:
    """The descriptor is of the compressed bytes, `diff_id` of the tar."""
    layer = pack(tree(root), tmp_path / "layer")
    packed = (tmp_path / "layer").read_bytes()
    assert layer.descriptor.digest == f"sha256:{hashlib.sha256(packed).hexdigest()}"
    assert layer.descriptor.size == len(packed)
    assert layer.diff_id == f"sha256:{hashlib.sha256(gzip.decompress(packed)).hexdigest()}"


def test_gzip_names_neither_file_nor_time(root: Path, tmp_path: Path) -> None:
    """The gzip header has time 0 and no file name (RFC 1952, section 2.3)."""
    pack(tree(root), tmp_path / "layer")
    packed = (tmp_path / "layer").read_bytes()
    assert packed[3] == 0
    assert packed[4:8] == bytes(4)


def test_bytes_and_odd_names(tmp_path: Path) -> None:
    """A file's content may be given as bytes; names may be long and of any script."""
    names = ["ü" * 90, "x/" * 80 + "end", "日本"]
    pack([Entry(name, content=name.encode()) for name in names], tmp_path / "layer")
    with tarfile.open(tmp_path / "layer", "r:gz") as tar:
        read = {member.name: tar.extractfile(member).read().decode() for member in tar}  # type: ignore[union-attr]
    assert read == {name: name for name in names}


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    """A file name is bytes, and comes out as the bytes that it was."""
    (tmp_path / "root").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "root") + b"/\xff")).write_text("odd")
    pack(tree(tmp_path / "root"), tmp_path / "layer")
    assert [os.fsencode(member.name) for member in members(tmp_path / "layer")] == [b"\xff"]


def test_a_later_entry_counts(tmp_path: Path) -> None:
    """Of two entries of one name the second is packed."""
    pack([Entry("a", content=b"1"), Entry("a", content=b"22")], tmp_path / "layer")
    assert [member.size for member in members(tmp_path / "layer")] == [2]


def test_what_a_layer_cannot_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket is refused by name, and so is a file that is not there any more."""
    (tmp_path / "root").mkdir()
    monkeypatch.chdir(tmp_path / "root")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("odd")
        with pytest.raises(StoreError, match="odd"):
            list(tree(tmp_path / "root"))
    (tmp_path / "root" / "odd").unlink()
    (tmp_path / "root" / "gone").touch()
    entries = list(tree(tmp_path / "root"))
    (tmp_path / "root" / "gone").unlink()
    with pytest.raises(StoreError, match="gone"):
        pack(entries, tmp_path / "layer")


def a_tar(*names: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size, info.uid = 3, 1000
            tar.addfile(info, io.BytesIO(b"abc"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "packed",
    [lambda tar: tar, gzip.compress, lambda tar: gzip.compress(tar[:700]) + gzip.compress(tar[700:])],
)
@pytest.mark.parametrize("names", [(), ("a", "b")])
def test_a_tar_stays_what_it_is(tmp_path: Path, packed, names: tuple[str, ...]) -> None:
    """A tar, plain or in one or two gzip members, is a layer whose `diff_id` is the tar's own."""
    tar = a_tar(*names)
    (tmp_path / "tar").write_bytes(packed(tar))
    layer = recompress(tmp_path / "tar", tmp_path / "layer")
    assert gzip.decompress((tmp_path / "layer").read_bytes()) == tar
    assert layer.diff_id == f"sha256:{hashlib.sha256(tar).hexdigest()}"


def test_gzip_that_inflates_much(tmp_path: Path) -> None:
    """Many megabytes out of few kilobytes are passed through piece by piece, and all of them."""
    info = tarfile.TarInfo("zeros")
    info.size = 40 << 20
    tar = info.tobuf() + bytes(info.size) + bytes(1024)
    (tmp_path / "tar").write_bytes(gzip.compress(tar, 9))
    layer = recompress(tmp_path / "tar", tmp_path / "layer")
    assert layer.diff_id == f"sha256:{hashlib.sha256(tar).hexdigest()}"


@pytest.mark.parametrize(
    "content",
    [b"", b"text", b"x" * 1024, gzip.compress(b"text"), gzip.compress(a_tar("a"))[:-20], b"\x1f\x8bnot gzip"],
    ids=["empty", "short", "long", "gzip of text", "cut short", "only the magic"],
)
def test_what_is_no_tar(tmp_path: Path, content: bytes) -> None:
    """What is no tar, or gzip that is broken, is refused by name."""
    (tmp_path / "tar").write_bytes(content)
    with pytest.raises(InvalidDocument, match="/tar'"):
        recompress(tmp_path / "tar", tmp_path / "layer")
