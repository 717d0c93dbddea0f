"""Who refers to a manifest: by the API, and where there is none, by a tag that clients keep up themselves.

See distribution-spec, "Listing Referrers", "Pushing Manifests with Subject", "Unavailable Referrers API". Two
clients that keep up one tag at once can lose an entry of each other; the specification knows and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import anyio

from entrepot.errors import InvalidDocument, ManifestUnknown, NameUnknown, ProtocolViolation, RegistryError
from entrepot.oci import mediatype
from entrepot.oci.descriptor import Descriptor
from entrepot.oci.digest import Digest
from entrepot.oci.document import decode, encode, parse_manifest
from entrepot.oci.index import Index
from entrepot.reference import RefName, Tag, referrers_tag
from entrepot.remote.message import Request
from entrepot.remote.pages import pages
from entrepot.remote.transport import Transport

__all__ = ["ReferrersTag", "listed_referrers"]


class Manifests(Protocol):
    """The part of a repository that holds the referrers tag."""

    registry: str

    async def resolve(self, reference: RefName | Digest) -> Descriptor:
        """Return what a name stands for."""

    async def read_manifest(self, descriptor: Descriptor) -> bytes:
        """Return a manifest's bytes, verified."""

    async def write_manifest(self, descriptor: Descriptor, raw: bytes, *, names: tuple[RefName, ...]) -> None:
        """Write a manifest under names."""


async def listed_referrers(transport: Transport, request: Request) -> list[Descriptor] | None:
    """Return what the referrers API lists; None where there is no such API.

    A registry without it answers 404. Some answer 405, and some answer 200 with a page of their web interface.
    """
    found: dict[Digest, Descriptor] = {}
    try:
        async for response, content in pages(transport, request):
            content_type = mediatype.without_parameters(response.headers.get("Content-Type", ""))
            if content_type not in {mediatype.IMAGE_INDEX, "application/json"}:
                return None
            for descriptor in _index(content, transport.peer).manifests or ():
                found.setdefault(descriptor.digest, descriptor)
    except RegistryError as error:
        if error.status in {404, 405, 501}:
            return None
        raise
    return list(found.values())


class ReferrersTag:
    """The tag that lists a manifest's referrers: `sha256-<hex of the subject>`, an image index.

    Args:
        repository: Where it is.
        subject: The manifest that is referred to.
        lock: Held while the list is changed, so that tasks of ours do not undo each other's entries.
    """

    def __init__(self, repository: Manifests, subject: Digest, *, lock: anyio.Lock) -> None:
        self._repository = repository
        self._tag: Tag = referrers_tag(subject)
        self._lock = lock

    async def read(self) -> list[Descriptor]:
        """Return what the tag lists; none when there is no such tag, or it is not an index."""
        try:
            return await self._listed()
        except ProtocolViolation:
            # "does not return a valid image index, the client SHOULD assume there are no referrers"
            return []

    async def add(self, referrer: Descriptor) -> None:
        """List a manifest. Nothing is written when it is listed already.

        Raises:
            ProtocolViolation: Under the tag is something that is no index; it is left alone.
        """
        await self._update(lambda listed: [*(d for d in listed if d.digest != referrer.digest), referrer])

    async def remove(self, digest: Digest) -> None:
        """Take a manifest from the list.

        Raises:
            ProtocolViolation: Under the tag is something that is no index; it is left alone.
        """
        await self._update(lambda listed: [d for d in listed if d.digest != digest])

    async def _update(self, change: Callable[[list[Descriptor]], list[Descriptor]]) -> None:
        async with self._lock:
            before = await self._listed()
            after = change(before)
            if {d.digest for d in after} == {d.digest for d in before}:
                return
            raw = encode(Index(schema_version=2, media_type=mediatype.IMAGE_INDEX, manifests=tuple(after)))
            descriptor = Descriptor(media_type=mediatype.IMAGE_INDEX, digest=Digest.of(raw), size=len(raw))
            await self._repository.write_manifest(descriptor, raw, names=(self._tag,))

    async def _listed(self) -> list[Descriptor]:
        try:
            descriptor = await self._repository.resolve(self._tag)
        except (ManifestUnknown, NameUnknown):
            return []
        raw = await self._repository.read_manifest(descriptor)
        try:
            body = parse_manifest(raw, descriptor.media_type, digest=descriptor.digest).body
        except InvalidDocument as error:
            raise self._no_index(error.message) from None
        if not isinstance(body, Index):
            raise self._no_index(f"{descriptor.media_type!r}")
        return list(body.manifests or ())

    def _no_index(self, what: str) -> ProtocolViolation:
        peer = self._repository.registry
        return ProtocolViolation(f"the referrers tag {self._tag} at {peer} is no index: {what}", peer=peer)


def _index(content: bytes, peer: str) -> Index:
    try:
        return decode(content, Index)
    except InvalidDocument as error:
        raise ProtocolViolation(
            f"{peer} gave a list of referrers that is none: {error.message}", peer=peer
        ) from None
