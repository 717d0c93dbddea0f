"""The directory of an OCI image layout, looked at and edited by calls that block (image-spec `image-layout.md`).

oci-layout                  says that this is a layout, and of which version
index.json                  the manifests and their names; replaced as a whole, under a lock
blobs/<algorithm>/<hex>     blobs and manifests alike; appear verified and durable, or not at all
ingest/                     blobs on their way in
.index.lock                 held while index.json is replaced; empty
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from entrepot.errors import (
    InvalidDocument,
    ManifestTooLarge,
    StoreError,
    VerificationError,
)
from entrepot.layout import files, walk
from entrepot.layout.entries import Entries
from entrepot.layout.incoming import remove_stale
from entrepot.oci.codec import decode, encode
from entrepot.oci.descriptor import Descriptor
from entrepot.oci.digest import Digest, Verifier
from entrepot.oci.document import Manifest, parse_manifest
from entrepot.oci.index import Index
from entrepot.reference import RefName
from entrepot.store import CHUNK_BYTES

__all__ = ["Directory", "Limits"]

LAYOUT_VERSION: Final = "1.0.0"
_READABLE_VERSION = re.compile(r"1\.0\.\d+")
_MARKER = "oci-layout"
_INDEX = "index.json"
_OURS = frozenset({_MARKER, _INDEX, "blobs", "ingest"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What a layout puts up with.

    Attributes:
        max_manifest_bytes: The biggest manifest that is read or written.
        max_index_bytes: The biggest `index.json` that is read.
        stale_seconds: After how long without a byte a dead process's temporary file is removed.
    """

    max_manifest_bytes: int = 4 << 20
    max_index_bytes: int = 64 << 20
    stale_seconds: float = 3600


class Directory:
    """A layout's files. Those who edit take turns (`Layout.alone`); anybody may look at any time.

    Args:
        path: The directory.
        limits: What to put up with.
        lists_unnamed: Whether a manifest without a name is an entry of index.json when neither an index nor a
            subject explains what it is there for.
    """

    def __init__(self, path: Path, limits: Limits, *, lists_unnamed: bool = True) -> None:
        self.path = path.absolute()
        self.root = path.resolve()
        self.scratch = self.path / "ingest"
        self.index_lock = self.path / ".index.lock"
        self.limits = limits
        self.lists_unnamed = lists_unnamed
        self._tidied = False

    # Looking

    def is_complete(self) -> bool:
        """Tell whether the files are there that every layout has."""
        return None not in (files.size_of(self.path / name, root=self.root) for name in (_MARKER, _INDEX))

    def check(self) -> None:
        """Check that this is a layout.

        Raises:
            StoreError: It is none, or of a version that we do not know.
        """
        raw = files.read_whole(self.path / _MARKER, root=self.root, max_bytes=1 << 16)
        if raw is None:
            raise StoreError(f"not an OCI image layout, {_MARKER} is missing: {self.path}")
        try:
            version = decode(raw, dict[str, Any]).get("imageLayoutVersion")
        except InvalidDocument as error:
            raise StoreError(f"not an OCI image layout, {_MARKER} is {error.message}: {self.path}") from error
        if not isinstance(version, str) or not _READABLE_VERSION.fullmatch(version):
            raise StoreError(f"an OCI image layout of a version that is not 1.0, {version!r}: {self.path}")
        self.entries()

    def entries(self) -> Entries:
        """Read index.json.

        Raises:
            StoreError: It is missing, or no image index.
        """
        raw = files.read_whole(self.path / _INDEX, root=self.root, max_bytes=self.limits.max_index_bytes)
        if raw is None:
            raise StoreError(f"not an OCI image layout, {_INDEX} is missing: {self.path}")
        try:
            return Entries.parse(raw)
        except InvalidDocument as error:
            what = f"{_INDEX} is no image index, {error.message}"
            raise StoreError(f"not an OCI image layout, {what}: {self.path}") from error

    def resolve(self, reference: RefName | Digest) -> Descriptor | None:
        """Return what a name or digest stands for; None when there is no such manifest here.

        Raises:
            StoreError: Several entries have this name and mean different manifests.
            VerificationError: The file of that digest is not what its name says.
        """
        if isinstance(reference, Digest):
            found = self.entries().get(reference)
            manifest = self.manifest(reference) if found is None else None
            return found if manifest is None else manifest.descriptor
        found = self.entries().find(reference)
        return None if found is None or self.size_of(found.digest) is None else found

    def manifest(self, digest: Digest, media_type: str | None = None) -> Manifest | None:
        """Return a manifest; None when there is none, or the blob of that digest is no manifest.

        Raises:
            VerificationError: The file is not what its name says.
        """
        size = self.size_of(digest)
        if size is None or size > self.limits.max_manifest_bytes or not digest.computable:
            return None
        raw = self.read_manifest(digest, size)
        try:
            return None if raw is None else parse_manifest(raw, media_type, digest=digest)
        except InvalidDocument:
            return None

    def readable_manifest(self, digest: Digest, media_type: str | None = None) -> Manifest | None:
        """Return a manifest; None also when its file is not what its name says."""
        try:
            return self.manifest(digest, media_type)
        except VerificationError:
            return None

    def read_manifest(self, digest: Digest, size: int) -> bytes | None:
        """Return a manifest's bytes, verified; None when there is no such file.

        Raises:
            ManifestTooLarge: `size` is more than the limit.
            VerificationError: There are not so many, or they are others.
        """
        self.refuse_too_large(digest, size)
        verifier = Verifier(digest, size)
        file = files.BlobFile(self.path_of(digest), self.root)
        parts: list[bytes] = []
        try:
            if not file.open(0):
                return None
            while part := file.read(CHUNK_BYTES):
                verifier.update(part)
                parts.append(part)
        finally:
            file.close()
        verifier.finish()
        return b"".join(parts)

    def referrers(self, subject: Digest) -> list[Descriptor]:
        """Return descriptors of the manifests whose subject this is; damaged ones are passed over."""
        return walk.referrers(self.readable_manifest, self.entries(), subject)

    def has(self, descriptor: Descriptor) -> bool:
        """Tell whether the blob is there with this size; what has been renamed a moment ago is made durable."""
        if self.size_of(descriptor.digest) != descriptor.size:
            return False
        path = self.path_of(descriptor.digest)
        with files.explained("write", path):
            files.sync_directory(path.parent)
        return True

    def size_of(self, digest: Digest) -> int | None:
        """Return a blob's or manifest's size in bytes; None when it is absent."""
        return files.size_of(self.path_of(digest), root=self.root)

    def path_of(self, digest: Digest) -> Path:
        """Return where a blob or manifest is, or would be."""
        return self.path / "blobs" / digest.algorithm / digest.encoded

    def refuse_too_large(self, digest: Digest, size: int) -> None:
        """Refuse a manifest that we would not hold in memory.

        Raises:
            ManifestTooLarge: It is that big.
        """
        if size > self.limits.max_manifest_bytes:
            raise ManifestTooLarge(
                f"a manifest of more than {self.limits.max_manifest_bytes} bytes: {digest}"
            )

    # Editing

    def make_room(self) -> None:
        """Create the directory, with nothing in it."""
        with files.explained("create", self.path):
            files.make_directory(self.path)

    def make(self) -> None:
        """Create what is missing, the marker last: without it nobody takes the directory for a layout.

        Raises:
            StoreError: There are files that are not a layout's.
        """
        marker, index = self.path / _MARKER, self.path / _INDEX
        if not marker.exists():
            self._refuse_foreign_files()
        with files.explained("create", self.path):
            files.make_directory(self.path / "blobs")
        if not index.exists():
            files.write_whole(index, Entries().encode(), scratch=self.scratch)
        if not marker.exists():
            files.write_whole(marker, encode({"imageLayoutVersion": LAYOUT_VERSION}), scratch=self.scratch)

    def put_manifest(self, descriptor: Descriptor, raw: bytes, names: Collection[RefName]) -> None:
        """Write a manifest that has been verified, and list it."""
        with self.edited_entries() as entries:
            self._store(self.path_of(descriptor.digest), raw)
            try:
                manifest = parse_manifest(raw, descriptor.media_type, digest=descriptor.digest)
            except InvalidDocument:
                manifest = None  # "An encountered mediaType that is unknown MUST NOT generate an error"
            if names or self._needs_entry(entries, descriptor, manifest):
                entries.put(descriptor, names, keep_displaced=self.lists_unnamed)
            if manifest is not None and isinstance(manifest.body, Index):
                entries.fold(child.digest for child in manifest.body.manifests or ())

    def take_name(self, name: RefName) -> bool:
        """Take a name away; False when there is none."""
        with self.edited_entries() as entries:
            return entries.take_name(name, keep_displaced=self.lists_unnamed)

    def take_manifest(self, digest: Digest) -> bool:
        """Take a manifest away, with its names; False when there is none."""
        with self.edited_entries() as entries:
            found = entries.take_manifest(digest) or self.readable_manifest(digest) is not None
        if found:
            self._remove_durably(digest)
        return found

    def take_blob(self, digest: Digest) -> bool:
        """Take a blob away; False when there is none. What index.json lists is a manifest."""
        return not self.entries().lists(digest) and self._remove_durably(digest)

    def remove(self, digest: Digest) -> int | None:
        """Remove a blob's or manifest's file. Return its size in bytes; None when it is absent.

        A power cut may bring it back.
        """
        size = self.size_of(digest)
        if size is not None:
            path = self.path_of(digest)
            with files.explained("remove", path):
                path.unlink(missing_ok=True)
        return size

    def tidy(self) -> None:
        """Remove what writers that died have left behind, once in the life of this object."""
        if not self._tidied:
            self._tidied = True
            remove_stale(self.scratch, older_than_seconds=self.limits.stale_seconds)

    @contextmanager
    def edited_entries(self) -> Iterator[Entries]:
        """Read index.json, and replace it when the block has ended and changed something."""
        entries = self.entries()
        before = entries.encode()
        yield entries
        after = entries.encode()
        if after != before:
            files.write_whole(self.path / _INDEX, after, scratch=self.scratch)

    def _remove_durably(self, digest: Digest) -> bool:
        if self.remove(digest) is None:
            return False
        path = self.path_of(digest)
        with files.explained("remove", path):
            files.sync_directory(path.parent)
        return True

    def _refuse_foreign_files(self) -> None:
        with files.explained("read", self.path):
            present = sorted(entry.name for entry in self.path.iterdir())
        foreign = next((name for name in present if not name.startswith(".") and name not in _OURS), None)
        if foreign is not None:
            what = f"neither an OCI image layout nor empty, it has {foreign!r}"
            raise StoreError(f"{what}: {self.path}", hint="name an empty or a new directory")

    def _store(self, target: Path, raw: bytes) -> None:
        """Write a manifest's file, unless it is there with these bytes; durable in either case."""
        with files.explained("write", target):
            files.make_directory(target.parent)
            if files.size_of(target, root=self.root) == len(raw) and target.read_bytes() == raw:
                files.sync_directory(target.parent)
                return
        files.write_whole(target, raw, scratch=self.scratch)

    def _needs_entry(self, entries: Entries, descriptor: Descriptor, manifest: Manifest | None) -> bool:
        """Tell whether a manifest that got no name would be lost without an entry of its own."""
        refers = manifest is not None and manifest.subject is not None
        if not (refers or self.lists_unnamed) or entries.lists(descriptor.digest):
            return False
        return descriptor.digest not in walk.contained(self.readable_manifest, entries)
