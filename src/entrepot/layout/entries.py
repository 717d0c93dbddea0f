"""`index.json`: which manifests a layout lists, and under which names (image-spec `image-layout.md`).

What other programs have written there is kept: the document stays the tree that was read, and an edit touches
the entries that it is about and nothing else.

An entry has a name by its annotation `org.opencontainers.image.ref.name`. Docker and containerd export the
full reference in `io.containerd.image.name` and put its tag alone into the other; both are read as names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Self, TypeAlias

from entrepot.errors import InvalidDocument, StoreError, TagInvalid
from entrepot.oci import mediatype
from entrepot.oci.annotations import CONTAINERD_NAME, REF_NAME
from entrepot.oci.codec import decode, encode
from entrepot.oci.descriptor import Descriptor
from entrepot.oci.digest import Digest
from entrepot.reference import RefName

__all__ = ["Entries", "Entry"]

Entry: TypeAlias = dict[str, Any]
"""One descriptor in `manifests`, as it was read."""

_NAMES = (CONTAINERD_NAME, REF_NAME)


class Entries:
    """The entries of one `index.json`, in the order of the document.

    Args:
        tree: The document; edited in place.
    """

    def __init__(self, tree: dict[str, Any] | None = None) -> None:
        new = {"schemaVersion": 2, "mediaType": mediatype.IMAGE_INDEX, "manifests": []}
        self._tree: dict[str, Any] = new if tree is None else tree

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read the document.

        Raises:
            InvalidDocument: It is no image index; says where.
        """
        tree = decode(raw, dict[str, Any])
        # Go's encoder writes an empty list as null
        if tree.get("manifests") is None:
            tree["manifests"] = []
        if not isinstance(tree["manifests"], list):
            raise InvalidDocument("expected array", path="manifests")
        return cls(tree)

    def encode(self) -> bytes:
        """Write the document."""
        return encode(self._tree)

    def __iter__(self) -> Iterator[Entry]:
        return (entry for entry in self._tree["manifests"] if isinstance(entry, dict))

    def descriptors(self) -> Iterator[tuple[Descriptor, tuple[RefName, ...]]]:
        """Yield each entry as a descriptor and its names; those that are no descriptors are passed over."""
        for entry in self:
            described = descriptor_of(entry)
            if described is not None:
                yield described, tuple(names_of(entry))

    def names(self) -> list[RefName]:
        """Return every name, each once, in byte order."""
        return sorted({name for entry in self for name in names_of(entry)})

    def find(self, name: RefName) -> Descriptor | None:
        """Return what the name stands for.

        Raises:
            StoreError: It stands for several manifests: tools may write one tag for images of two repositories.
        """
        found: dict[Digest, Descriptor] = {}
        for entry in self:
            if name in names_of(entry) and (described := descriptor_of(entry)) is not None:
                found.setdefault(described.digest, described)
        if len(found) > 1:
            choices = ", ".join(found)
            raise StoreError(
                f"the name stands for {len(found)} manifests of this layout: {name}",
                hint=f"write one of {choices}",
            )
        return next(iter(found.values()), None)

    def get(self, digest: Digest) -> Descriptor | None:
        """Return the first entry for the manifest, or None."""
        found = (descriptor_of(entry) for entry in self if entry.get("digest") == digest)
        return next((described for described in found if described is not None), None)

    def lists(self, digest: Digest) -> bool:
        """Tell whether there is an entry for the manifest."""
        return any(entry.get("digest") == digest for entry in self)

    def put(self, descriptor: Descriptor, names: Collection[RefName], *, keep_displaced: bool) -> None:
        """Make the names point at the manifest; without names, list it if it is not listed.

        Args:
            descriptor: Of the manifest.
            names: What it shall be called, besides the names that it has.
            keep_displaced: List a manifest that loses its last name here without a name.
        """
        for name in names:
            self._give(descriptor, name, keep_displaced=keep_displaced)
        if not names and not self.lists(descriptor.digest):
            self._manifests.append(entry_of(descriptor))

    def take_name(self, name: RefName, *, keep_displaced: bool) -> bool:
        """Take a name away; False when nobody has it."""
        holders = [entry for entry in self if _strip(entry, name)]
        for entry in holders:
            self._settle(entry, keep=keep_displaced)
        return bool(holders)

    def take_manifest(self, digest: Digest) -> bool:
        """Take every entry for the manifest away; False when there is none."""
        return self._remove([entry for entry in self if entry.get("digest") == digest])

    def fold(self, children: Iterable[Digest]) -> bool:
        """Take away entries that say nothing but that these exist: an index that is listed says so now."""
        folded = set(children)
        return self._remove(
            [entry for entry in self if entry.get("digest") in folded and _says_nothing_else(entry)]
        )

    @property
    def _manifests(self) -> list[Any]:
        manifests: list[Any] = self._tree["manifests"]
        return manifests

    def _give(self, descriptor: Descriptor, name: RefName, *, keep_displaced: bool) -> None:
        mine = [entry for entry in self if entry.get("digest") == descriptor.digest]
        for entry in list(self):
            if entry.get("digest") != descriptor.digest and _strip(entry, name):
                self._settle(entry, keep=keep_displaced)
        if any(name in names_of(entry) for entry in mine):
            return
        unnamed = next((entry for entry in mine if not names_of(entry)), None)
        if unnamed is None:
            unnamed = entry_of(descriptor)
            self._manifests.append(unnamed)
        held = unnamed.get("annotations")
        unnamed["annotations"] = {**(held if isinstance(held, dict) else {}), REF_NAME: str(name)}

    def _settle(self, entry: Entry, *, keep: bool) -> None:
        """Decide about an entry that has just lost a name."""
        if names_of(entry):
            return
        elsewhere = any(other is not entry and other.get("digest") == entry.get("digest") for other in self)
        if elsewhere or not keep:
            self._remove([entry])

    def _remove(self, entries: list[Entry]) -> bool:
        gone = {id(entry) for entry in entries}
        self._manifests[:] = [entry for entry in self._manifests if id(entry) not in gone]
        return bool(gone)


def entry_of(descriptor: Descriptor) -> Entry:
    """Return a new entry without a name: what the manifest is, and nothing about how it was used elsewhere."""
    kept = Descriptor(
        media_type=descriptor.media_type,
        digest=descriptor.digest,
        size=descriptor.size,
        artifact_type=descriptor.artifact_type,
        platform=descriptor.platform,
    )
    return decode(encode(kept), dict[str, Any])


def descriptor_of(entry: Entry) -> Descriptor | None:
    """Return the entry as a descriptor without its names, or None when it is none that we can use."""
    noted = entry.get("annotations")
    if isinstance(noted, dict):
        entry = {**entry, "annotations": {key: noted[key] for key in noted if key not in _NAMES} or None}
    try:
        return decode(encode(entry), Descriptor)
    except InvalidDocument:
        return None


def names_of(entry: Entry) -> list[RefName]:
    """Return the entry's names, the full reference first; those that our grammar does not know are left out."""
    noted = entry.get("annotations")
    found: list[RefName] = []
    for key in _NAMES:
        text = noted.get(key) if isinstance(noted, dict) else None
        try:
            if isinstance(text, str) and text not in found:
                found.append(RefName(text))
        except TagInvalid:
            continue
    return found


def _strip(entry: Entry, name: RefName) -> bool:
    """Take the name off the entry; with a full reference goes the tag that repeats its end."""
    noted = entry.get("annotations")
    if not isinstance(noted, dict) or name not in (noted.get(key) for key in _NAMES):
        return False
    full = noted.get(CONTAINERD_NAME)
    for key in _NAMES:
        text = noted.get(key)
        if text == name or (full == name and isinstance(text, str) and full.endswith(f":{text}")):
            del noted[key]
    if not noted:
        del entry["annotations"]
    return True


def _says_nothing_else(entry: Entry) -> bool:
    return entry.keys() <= {"mediaType", "digest", "size", "artifactType", "platform"}
