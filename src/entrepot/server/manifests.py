"""Pulling, pushing and deleting manifests (distribution-spec, "Pulling manifests", "Pushing Manifests", …)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from entrepot.errors import ManifestUnknown
from entrepot.oci.digest import Digest
from entrepot.server.access import Access
from entrepot.server.asgi import Header
from entrepot.server.blobs import IMMUTABLE
from entrepot.server.conditions import entity_tag, is_unchanged
from entrepot.server.negotiation import is_acceptable
from entrepot.server.origins import Origins
from entrepot.server.requests import Request
from entrepot.server.responses import Response
from entrepot.server.routes import DeleteManifest, GetManifest, PutManifest
from entrepot.storage.content import StoredManifest
from entrepot.storage.registry import Registry

__all__ = ["Manifests"]

_REVALIDATE: Final = (b"cache-control", b"no-cache")
"""For content by tag: it may be kept, and is asked about each time."""

_VARY: Final = (b"vary", b"accept")


class Manifests:
    """Answers for manifests, by tag and by digest."""

    def __init__(self, registry: Registry, origins: Origins) -> None:
        self._registry = registry
        self._origins = origins
        self._max_bytes = registry.settings.max_manifest_bytes

    async def get(self, route: GetManifest, request: Request, access: Access) -> Response:
        """Answer with the bytes that were pushed, under the media type that they were pushed as.

        Raises:
            ManifestUnknown: There is no such manifest, or one that the client does not accept. Distribution and
                GitLab answer likewise, so clients take it as "not here in a form that you read".
        """
        repository = self._registry.repository(route.repository)
        manifest = await repository.find_manifest(route.reference, renew=access.may_push(route.repository))
        headers = request.headers
        if not is_acceptable(headers.get(b"accept"), manifest.media_type):
            raise ManifestUnknown(
                f"the manifest is of the type {manifest.media_type}, which the request does not accept",
                detail={"digest": manifest.digest, "mediaType": manifest.media_type},
                hint=f"send Accept: {manifest.media_type}, or */*",
            )
        if_none_match = headers.get(b"if-none-match")
        if if_none_match is not None and is_unchanged(if_none_match.decode("latin-1"), manifest.digest):
            return Response(304, _validators(manifest.digest, isinstance(route.reference, Digest)))
        answer = _headers(manifest, isinstance(route.reference, Digest))
        if request.scope["method"] == "HEAD":
            return Response(200, answer)
        return Response(200, answer, await repository.manifest_bytes(manifest))

    async def put(self, route: PutManifest, request: Request, _access: Access) -> Response:
        """Take a manifest and point the tags at it, all or nothing; durable when it is answered.

        Raises:
            ManifestBlobUnknown: What it is made of is not all there; one error for each digest that is missing.
            ManifestTooLarge: Before the rest of it is read.
        """
        raw = await request.read(max_bytes=self._max_bytes)
        manifest = await self._registry.repository(route.repository).put_manifest(
            raw, media_type=request.text(b"content-type"), digest=route.digest, tags=route.tags
        )
        reference = route.digest or route.tags[0]
        location = f"{self._origins.of(request)}/v2/{route.repository}/manifests/{reference}"
        headers: list[Header] = [
            (b"content-length", b"0"),
            (b"location", location.encode("ascii")),
            (b"docker-content-digest", manifest.digest.encode("ascii")),
            (b"etag", entity_tag(manifest.digest)),
        ]
        if manifest.subject is not None:
            headers.append((b"oci-subject", manifest.subject.encode("ascii")))
        if route.digest is not None and route.tags:
            headers.append((b"oci-tag", ", ".join(route.tags).encode("ascii")))
        return Response(201, headers)

    async def delete(self, route: DeleteManifest, _request: Request, _access: Access) -> Response:
        """Take away a tag alone, or a manifest with every tag that points at it."""
        repository = self._registry.repository(route.repository)
        if isinstance(route.reference, Digest):
            await repository.delete_manifest(route.reference)
        else:
            await repository.delete_tag(route.reference)
        return Response(202, [(b"content-length", b"0")])


@lru_cache(maxsize=4_096)
def _headers(manifest: StoredManifest, by_digest: bool) -> tuple[Header, ...]:  # noqa: FBT001 - cached by position
    """Return the headers of a manifest. They depend on nothing else, and the same few are asked for all day."""
    return (
        (b"content-type", manifest.media_type.encode("ascii")),
        (b"content-length", b"%d" % manifest.size),
        *_validators(manifest.digest, by_digest),
    )


def _validators(digest: Digest, by_digest: bool) -> tuple[Header, ...]:  # noqa: FBT001
    return (
        (b"docker-content-digest", digest.encode("ascii")),
        (b"etag", entity_tag(digest)),
        IMMUTABLE if by_digest else _REVALIDATE,
        _VARY,
    )
