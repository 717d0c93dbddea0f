"""The manifests that refer to another (distribution-spec, "Listing Referrers")."""

from __future__ import annotations

from typing import Final

from entrepot.oci import mediatype
from entrepot.oci.document import encode
from entrepot.server import lists
from entrepot.server.access import Access
from entrepot.server.requests import Request
from entrepot.server.responses import Response, json_response
from entrepot.server.router import MAX_PAGE
from entrepot.server.routes import ListReferrers
from entrepot.storage.registry import Registry

__all__ = ["MAX_RESPONSE_BYTES", "Referrers"]

MAX_RESPONSE_BYTES: Final = 4 * 1024 * 1024
"""A page is a manifest, and no client need read a larger one."""

_FIRST_SLICE: Final = 16
"""Annotations may make a descriptor as large as a manifest, so the first look at a list is a careful one."""

_INDEX: Final = mediatype.IMAGE_INDEX.encode("ascii")
_OPENING: Final = b'{"schemaVersion":2,"mediaType":"' + _INDEX + b'","manifests":['
_CLOSING: Final = b"]}"


class Referrers:
    """Answers for lists of referrers."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def get(self, route: ListReferrers, _request: Request, _access: Access) -> Response:
        """Answer with an index of the referrers, in the order of their digests.

        Never 404: clients take that as "there is no such endpoint".
        """
        entries, last = await self._page(route)
        headers = [(b"oci-filters-applied", b"artifactType")] if route.artifact_type else []
        if last is not None:
            parameters = {"artifactType": route.artifact_type} if route.artifact_type else {}
            if route.page.n is not None:
                parameters["n"] = str(route.page.n)
            path = f"/v2/{route.repository}/referrers/{route.subject}"
            headers.append(lists.next_link(path, {**parameters, "last": last}))
        return json_response(_OPENING + b",".join(entries) + _CLOSING, *headers, media_type=_INDEX)

    async def _page(self, route: ListReferrers) -> tuple[list[bytes], str | None]:
        """Return as many descriptors as fit, encoded, and the last of them when there are more.

        A page has at least one descriptor, however large, or nobody would get past it.
        """
        repository = self._registry.repository(route.repository)
        wanted = MAX_PAGE if route.page.n is None else route.page.n
        entries: list[bytes] = []
        room = MAX_RESPONSE_BYTES - len(_OPENING) - len(_CLOSING)
        last, n = route.page.last, _FIRST_SLICE
        while wanted:
            slice_ = await repository.list_referrers(
                route.subject, artifact_type=route.artifact_type, n=n, last=last
            )
            for descriptor in slice_:
                entry = encode(descriptor)
                if len(entries) == wanted or (entries and len(entry) + 1 > room):
                    return entries, last
                entries.append(entry)
                room -= len(entry) + 1
                last = descriptor.digest
            if len(slice_) < n:
                break
            n = max(1, min(MAX_PAGE, room * len(entries) // (MAX_RESPONSE_BYTES - room)))
        return entries, None
