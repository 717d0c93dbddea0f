"""Walks through the manifests of a layout, from the entries of its index.json."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from entrepot.graph import Kind, edges
from entrepot.layout.entries import Entries
from entrepot.oci import mediatype
from entrepot.oci.descriptor import Descriptor
from entrepot.oci.digest import Digest
from entrepot.oci.document import Manifest
from entrepot.oci.index import Index
from entrepot.reference import RefName, referrers_tag

__all__ = ["ReadManifest", "contained", "manifests", "reached", "referrers"]

ReadManifest: TypeAlias = Callable[[Digest, str | None], Manifest | None]
"""Returns a manifest by digest and media type; None when it is absent or no manifest."""


def manifests(read: ReadManifest, roots: Iterable[Descriptor]) -> Iterator[Manifest]:
    """Yield the manifests that are listed and those in indexes among them, each once, as far as they are there."""
    seen: set[Digest] = set()
    waiting = list(roots)[::-1]
    while waiting:
        descriptor = waiting.pop()
        if descriptor.digest in seen or not mediatype.is_manifest(descriptor.media_type):
            continue
        seen.add(descriptor.digest)
        manifest = read(descriptor.digest, descriptor.media_type)
        if manifest is None:
            continue
        yield manifest
        if isinstance(manifest.body, Index):
            waiting.extend(reversed(manifest.body.manifests or ()))


def contained(read: ReadManifest, entries: Entries) -> set[Digest]:
    """Return the digests that listed indexes contain, at any depth."""
    indexes = (
        descriptor for descriptor, _ in entries.descriptors() if mediatype.is_index(descriptor.media_type)
    )
    return {
        child.digest
        for manifest in manifests(read, indexes)
        if isinstance(manifest.body, Index)
        for child in manifest.body.manifests or ()
    }


def reached(read: ReadManifest, roots: Iterable[Descriptor]) -> set[Digest]:
    """Return the digests of everything that these are made of, themselves included, there or not."""
    found: set[Digest] = set()
    waiting = list(roots)
    while waiting:
        descriptor = waiting.pop()
        if descriptor.digest in found:
            continue
        found.add(descriptor.digest)
        manifest = read(descriptor.digest, descriptor.media_type)
        for edge in edges(manifest) if manifest is not None else ():
            if edge.kind is Kind.BLOB:
                found.add(edge.descriptor.digest)
            else:
                waiting.append(edge.descriptor)
    return found


def referrers(read: ReadManifest, entries: Entries, subject: Digest) -> list[Descriptor]:
    """Return descriptors of the manifests whose subject this is."""
    found: dict[Digest, Descriptor] = {}
    known: set[Digest] = set()
    for manifest in manifests(read, (descriptor for descriptor, _ in entries.descriptors())):
        known.add(manifest.digest)
        if manifest.subject is not None and manifest.subject.digest == subject:
            found[manifest.digest] = manifest.as_referrer()
    for descriptor in _fallback(read, entries, subject):
        if descriptor.digest not in known:
            found.setdefault(descriptor.digest, descriptor)
    return list(found.values())


def _fallback(read: ReadManifest, entries: Entries, subject: Digest) -> Iterator[Descriptor]:
    """Yield what the fallback tag lists; in the image store it is the tag of a full reference."""
    tag = referrers_tag(subject)
    for descriptor, names in entries.descriptors():
        if any(_is_tag(name, tag) for name in names):
            manifest = read(descriptor.digest, descriptor.media_type)
            if manifest is not None and isinstance(manifest.body, Index):
                yield from manifest.body.manifests or ()


def _is_tag(name: RefName, tag: RefName) -> bool:
    return name == tag or name.endswith(f":{tag}")
