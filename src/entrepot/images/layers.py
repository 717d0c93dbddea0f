"""Layers: file trees as tar files that come out the same wherever and whenever they are packed.

A reproducible layer has its entries in byte order of their names, owner and group 0, one time stamp, and of
the mode nothing but whether the owner may execute (image-spec `layer.md`; https://reproducible-builds.org).
The tar is compressed while it is written and hashed on both sides of the compressor, so that digest and
`diff_id` cost no second reading.
"""

from __future__ import annotations

import gzip
import io
import itertools
import os
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Final, cast

from isal import igzip, isal_zlib

from entrepot.errors import InvalidDocument, StoreError
from entrepot.oci import mediatype
from entrepot.oci.descriptor import Descriptor
from entrepot.oci.digest import Digest, new_hasher

__all__ = ["Entry", "Layer", "entry", "pack", "recompress", "tree"]

_BUFFER_BYTES: Final = 1 << 20
_GZIP: Final = 31
"""zlib's `wbits` for a gzip header without a name and with time 0."""
_LEVEL: Final = 2
"""isal's own default of 0 to 3: about zlib's level 3 in size at four times the speed."""
_GZIP_MAGIC: Final = b"\x1f\x8b"
_BROKEN_GZIP: Final = (gzip.BadGzipFile, cast("type[Exception]", isal_zlib.error), EOFError)


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, directory or symbolic link of a layer.

    Attributes:
        name: Where it goes, relative to the image's root, with `/` and no `..`.
        content: A file's bytes, or where they are; None for a directory.
        link: What a symbolic link points at.
        executable: Whether a file may be executed.
    """

    name: str
    content: Path | bytes | None = None
    link: str | None = None
    executable: bool = False

    @property
    def mode(self) -> int:
        """Return the permission bits that the layer gives it."""
        if self.link is not None:
            return 0o777
        return 0o755 if self.content is None or self.executable else 0o644


@dataclass(frozen=True, slots=True)
class Layer:
    """A packed layer.

    Attributes:
        path: The file with its bytes.
        descriptor: Of these bytes.
        diff_id: The digest of the uncompressed tar.
        created_by: How it came to be, for the image's history.
    """

    path: Path
    descriptor: Descriptor
    diff_id: Digest
    created_by: str


def tree(root: Path, at: str = "", *, leave_out: Callable[[Path], bool] = lambda _: False) -> Iterator[Entry]:
    """Yield everything below a directory, to be put at a path in the image; links are not followed.

    Args:
        root: The directory; it is itself not an entry.
        at: The path in the image, relative to its root; the directories on the way are entries.
        leave_out: Says which files, links and whole directories not to take.

    Raises:
        StoreError: There is something that a layer cannot hold, such as a socket.
    """
    base = PurePosixPath(at.strip("/"))
    for parent in (*reversed(base.parents), base):
        if parent != PurePosixPath():
            yield Entry(str(parent))
    for directory, subdirectories, files in os.walk(root):
        here = Path(directory)
        kept = [name for name in subdirectories if not leave_out(here / name)]
        # os.walk lists links to directories among the directories, and does not enter them
        subdirectories[:] = [name for name in kept if not (here / name).is_symlink()]
        for name in (*kept, *(name for name in files if not leave_out(here / name))):
            path = here / name
            yield entry(path, str(base / path.relative_to(root).as_posix()))


def entry(path: Path, name: str) -> Entry:
    """Return a file, directory or link of this machine as an entry of a layer.

    Raises:
        StoreError: It is something that a layer cannot hold, or is not there.
    """
    try:
        status = path.lstat()
    except OSError as error:
        raise StoreError(f"cannot be put into a layer, {error.strerror}: {path}") from error
    if stat.S_ISLNK(status.st_mode):
        return Entry(name, link=str(path.readlink()))
    if stat.S_ISDIR(status.st_mode):
        return Entry(name)
    if stat.S_ISREG(status.st_mode):
        return Entry(name, content=path, executable=bool(status.st_mode & stat.S_IXUSR))
    raise StoreError(f"not a file, directory or symbolic link, so it cannot be put into a layer: {path}")


def pack(entries: Iterable[Entry], target: Path, *, epoch: int = 0, created_by: str = "") -> Layer:
    """Write a layer. Of entries of one name the last counts; blocks its thread.

    Args:
        entries: What is in it, in any order.
        target: The file to write; replaced if it is there.
        epoch: The time stamp of everything in it, in seconds since 1970.
        created_by: How it came to be, for the image's history.

    Raises:
        StoreError: A file could not be read, or changed its size while it was.
    """
    by_name = {item.name: item for item in entries}
    with target.open("wb") as file:
        sink = _Compressor(file)
        with tarfile.open(
            fileobj=cast("IO[bytes]", sink), mode="w|", format=tarfile.PAX_FORMAT, bufsize=_BUFFER_BYTES
        ) as tar:
            for name in sorted(by_name, key=lambda text: text.encode(errors="surrogateescape")):
                _add(tar, by_name[name], epoch)
        return sink.finish(target, created_by)


def recompress(tar: Path, target: Path, *, created_by: str = "") -> Layer:
    """Write a layer from a tar, plain or gzip, whose bytes stay what they are; blocks its thread.

    Raises:
        InvalidDocument: It is not a tar, or its compression is broken.
        StoreError: It cannot be read.
    """
    try:
        with tar.open("rb") as source, target.open("wb") as file:
            sink = _Compressor(file)
            chunks = _plain(source)
            beginning = next(chunks, b"")
            if not _is_tar(beginning):
                raise InvalidDocument(f"not a tar, plain or gzip: {str(tar)!r}")
            for chunk in itertools.chain((beginning,), chunks):
                sink.write(chunk)
            return sink.finish(target, created_by)
    except _BROKEN_GZIP as error:
        raise InvalidDocument(f"broken gzip, {error}: {str(tar)!r}") from error
    except OSError as error:
        raise StoreError(f"cannot be read, {error.strerror}: {str(tar)!r}") from error


class _Compressor:
    """A file to write a tar to: hashes it, compresses it, hashes that, writes it to another file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._gzip = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _GZIP)
        self._plain = new_hasher()
        self._packed = new_hasher()
        self._size = 0

    def write(self, data: bytes) -> int:
        self._plain.update(data)
        self._put(self._gzip.compress(data))
        return len(data)

    def _put(self, packed: bytes) -> None:
        self._packed.update(packed)
        self._size += len(packed)
        self._file.write(packed)

    def finish(self, path: Path, created_by: str) -> Layer:
        self._put(self._gzip.flush())
        self._file.flush()
        digest = Digest(f"sha256:{self._packed.hexdigest()}")
        descriptor = Descriptor(media_type=mediatype.IMAGE_LAYER_GZIP, digest=digest, size=self._size)
        return Layer(path, descriptor, Digest(f"sha256:{self._plain.hexdigest()}"), created_by)


def _add(tar: tarfile.TarFile, item: Entry, epoch: int) -> None:
    info = tarfile.TarInfo(item.name)
    info.mode = item.mode
    info.mtime = epoch
    if item.link is not None:
        info.type, info.linkname = tarfile.SYMTYPE, item.link
        tar.addfile(info)
    elif item.content is None:
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    elif isinstance(item.content, bytes):
        info.size = len(item.content)
        tar.addfile(info, io.BytesIO(item.content))
    else:
        _add_file(tar, info, item.content)


def _add_file(tar: tarfile.TarFile, info: tarfile.TarInfo, path: Path) -> None:
    try:
        with path.open("rb") as file:
            # the size of what was opened, not of what was listed
            info.size = os.fstat(file.fileno()).st_size
            tar.addfile(info, file)
    except OSError as error:
        reason = error.strerror or "it became shorter while it was read"
        raise StoreError(f"cannot be put into a layer, {reason}: {path}") from error


def _plain(source: BinaryIO) -> Iterator[bytes]:
    """Yield the bytes of a file that may be gzip, uncompressed."""
    packed = source.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    source.seek(0)
    reader = cast("BinaryIO", igzip.IGzipFile(fileobj=source)) if packed else source  # type: ignore[no-untyped-call]
    while chunk := reader.read(_BUFFER_BYTES):
        yield chunk


def _is_tar(beginning: bytes) -> bool:
    """Tell whether this is the first block of a tar; one of an empty tar is all zeros."""
    block = beginning[: tarfile.BLOCKSIZE]
    if not block.strip(b"\0"):
        return len(block) == tarfile.BLOCKSIZE
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
