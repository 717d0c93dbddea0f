"""Pulling and deleting blobs (distribution-spec, "Pulling blobs", "Deleting Blobs")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from entrepot.errors import RangeInvalid
from entrepot.server import problems
from entrepot.server.access import Access
from entrepot.server.asgi import Header
from entrepot.server.bodies import BlobContent, MultipartContent
from entrepot.server.conditions import entity_tag, is_unchanged, may_send_range
from entrepot.server.ranges import Span, parse_range
from entrepot.server.requests import Request
from entrepot.server.responses import Response
from entrepot.server.routes import DeleteBlob, GetBlob
from entrepot.storage.content import StoredBlob
from entrepot.storage.registry import Registry

__all__ = ["IMMUTABLE", "Blobs"]

IMMUTABLE: Final = (b"cache-control", b"max-age=31536000, immutable")
"""For content by digest. Not `public`: whether a shared cache may keep it is for whoever grants access."""

_OCTETS: Final = (b"content-type", b"application/octet-stream")
_RANGES: Final = (b"accept-ranges", b"bytes")


class Blobs:
    """Answers for blobs."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def get(self, route: GetBlob, request: Request, access: Access) -> Response:
        """Answer with the blob, the parts of it that are asked for, or that the client has it already.

        For somebody who may push, 200 means that it stays there for at least half of the lease.
        """
        repository = self._registry.repository(route.repository)
        blob = await repository.find_blob(route.digest, renew=access.may_push(route.repository))
        digest = blob.digest.encode("ascii")
        headers = [_RANGES, IMMUTABLE, (b"etag", entity_tag(blob.digest)), (b"docker-content-digest", digest)]
        if_none_match = request.text(b"if-none-match")
        if if_none_match is not None and is_unchanged(if_none_match, blob.digest):
            return Response(304, headers)
        if request.scope["method"] == "HEAD":
            # "GET is the only method for which range handling is defined" (RFC 9110, section 14.2)
            return Response(200, _with_length(headers, blob.size))
        try:
            spans = _spans(request, blob)
        except RangeInvalid as error:
            return problems.render(error).adding((b"content-range", b"bytes */%d" % blob.size), _RANGES)
        reader = await repository.open_stored_blob(blob)
        if not spans:
            return Response(200, _with_length(headers, blob.size), BlobContent(reader, Span(0, blob.size)))
        if len(spans) > 1:
            return _multipart(headers, MultipartContent(reader, spans, size=blob.size))
        [span] = spans
        position = b"bytes %d-%d/%d" % (span.start, span.stop - 1, blob.size)
        content = BlobContent(reader, span)
        return Response(206, [*_with_length(headers, span.length), (b"content-range", position)], content)

    async def delete(self, route: DeleteBlob, _request: Request, _access: Access) -> Response:
        """Take the blob out of the repository; its bytes go when no repository has it."""
        await self._registry.repository(route.repository).delete_blob(route.digest)
        return Response(
            202, [(b"content-length", b"0"), (b"docker-content-digest", route.digest.encode("ascii"))]
        )


def _with_length(headers: Sequence[Header], length: int) -> list[Header]:
    return [_OCTETS, (b"content-length", b"%d" % length), *headers]


def _spans(request: Request, blob: StoredBlob) -> list[Span]:
    header = request.text(b"range")
    if header is None:
        return []
    if_range = request.text(b"if-range")
    if if_range is not None and not may_send_range(if_range, blob.digest):
        return []
    return parse_range(header, blob.size)


def _multipart(headers: Sequence[Header], content: MultipartContent) -> Response:
    length = (b"content-length", b"%d" % content.length)
    return Response(206, [(b"content-type", content.media_type), length, *headers], content)
