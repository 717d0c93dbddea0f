"""Whether layers hold the files that they were packed from, by what is in their tars."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from isal import igzip

from entrepot.images.layers import Entry

__all__ = ["Member", "differences", "expected", "found"]

_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """What identifies one file, directory or link of a tree.

    Attributes:
        kind: `file`, `directory`, `link`; of anything else, tar's own letter.
        mode: Permission bits.
        size: Of a file, in bytes.
        content: Of a file, its sha256 in hexadecimal; of a link, what it points at.
    """

    kind: str
    mode: int
    size: int = 0
    content: str = ""


def expected(entries: Iterable[Entry]) -> dict[str, Member]:
    """Return what a layer of these entries must hold, by name. Reads the files anew; blocks its thread."""
    return {item.name: _of_entry(item) for item in entries}


def found(layer: Path) -> dict[str, Member]:
    """Return what a layer (a tar with gzip) holds, by name; blocks its thread.

    Raises:
        tarfile.TarError, OSError, EOFError: It is no tar with gzip.
    """
    with layer.open("rb") as file:
        plain = cast("BinaryIO", igzip.IGzipFile(fileobj=file))  # type: ignore[no-untyped-call]
        with tarfile.open(fileobj=plain, mode="r|") as tar:
            return {member.name: _of_member(tar, member) for member in tar}


def differences(wanted: dict[str, Member], had: dict[str, Member]) -> Iterator[str]:
    """Yield a sentence for each name that is missing, not wanted, or something else."""
    for name in sorted(wanted.keys() | had.keys()):
        if name not in had:
            yield f"missing: {name}"
        elif name not in wanted:
            yield f"not wanted: {name}"
        elif wanted[name] != had[name]:
            yield f"different, {wanted[name]} became {had[name]}: {name}"


def _of_entry(item: Entry) -> Member:
    if item.link is not None:
        return Member("link", item.mode, content=item.link)
    if item.content is None:
        return Member("directory", item.mode)
    if isinstance(item.content, bytes):
        return Member("file", item.mode, len(item.content), hashlib.sha256(item.content).hexdigest())
    with item.content.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Member("file", item.mode, file.tell(), digest)


def _of_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Member:
    if member.issym():
        return Member("link", member.mode, content=member.linkname)
    if member.isdir():
        return Member("directory", member.mode)
    if not member.isfile():
        return Member(member.type.decode("ascii", "replace"), member.mode, member.size)
    file, hasher = tar.extractfile(member), hashlib.sha256()
    assert file is not None
    while chunk := file.read(_BUFFER_BYTES):
        hasher.update(chunk)
    return Member("file", member.mode, member.size, hasher.hexdigest())
