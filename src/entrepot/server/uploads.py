"""Pushing blobs (distribution-spec, "Pushing blobs").

An upload goes through POST, any number of PATCH and one PUT; `Range` on every answer says how far it has come, and
where none of these is expected the storage says so. What arrived of a request that broke off stays, so a client
that asks can go on from there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from entrepot.errors import RangeInvalid, RegistryError
from entrepot.reference import RepositoryName
from entrepot.server import problems
from entrepot.server.access import Access
from entrepot.server.asgi import Header
from entrepot.server.origins import Origins
from entrepot.server.ranges import parse_content_range
from entrepot.server.requests import Request
from entrepot.server.responses import Response
from entrepot.server.routes import (
    Action,
    AppendUpload,
    BeginUpload,
    CancelUpload,
    CompleteUpload,
    GetUpload,
    MountBlob,
    Permission,
    PushBlob,
)
from entrepot.storage.content import StoredBlob, UploadId, UploadStatus
from entrepot.storage.registry import Registry

__all__ = ["Uploads"]

_EMPTY: Final = (b"content-length", b"0")


class Uploads:
    """Answers for uploads."""

    def __init__(self, registry: Registry, origins: Origins) -> None:
        self._registry = registry
        self._origins = origins
        least = registry.settings.chunk_min_bytes
        self._chunk_min: list[Header] = [(b"oci-chunk-min-length", b"%d" % least)] if least else []

    async def begin(self, route: BeginUpload, request: Request, _access: Access) -> Response:
        """Begin an upload."""
        return await self._begin(request, route.repository, route.algorithm)

    async def push(self, route: PushBlob, request: Request, _access: Access) -> Response:
        """Take a whole blob in one request. Nobody knows the upload, so nothing of a failure is kept."""
        repository = self._registry.repository(route.repository)
        length = request.content_length
        upload = (await repository.begin_upload(algorithm=route.digest.algorithm)).upload
        try:
            blob = await repository.complete_upload(
                upload, route.digest, request.body(length=length), start=0, length=length
            )
        except BaseException:
            with suppress(RegistryError):
                await repository.cancel_upload(upload)
            raise
        return self._created(request, route.repository, blob)

    async def mount(self, route: MountBlob, request: Request, access: Access) -> Response:
        """Take a blob from another repository; begin an upload when that is not possible or not allowed.

        Never an error: containerd gives up a push when a mount is answered with 403 (containerd#14086), and it
        cannot tell whether the blob is absent or hidden from it.
        """
        if route.source is None or access.allows(Permission(route.source, Action.PULL)):
            repository = self._registry.repository(route.repository)
            blob = await repository.mount_blob(route.digest, route.source)
            if blob is not None:
                return self._created(request, route.repository, blob)
        algorithm = route.digest.algorithm if route.digest.computable else "sha256"
        return await self._begin(request, route.repository, algorithm)

    async def status(self, route: GetUpload, request: Request, _access: Access) -> Response:
        """Say how much has arrived."""
        status = await self._registry.repository(route.repository).upload_status(route.upload)
        return Response(204, self._progress(request, route.repository, status))

    async def append(self, route: AppendUpload, request: Request, _access: Access) -> Response:
        """Take a chunk, at the place that Content-Range says or else at the end."""
        try:
            start, length, body = _chunk(request)
            status = await self._registry.repository(route.repository).append_upload(
                route.upload, body, start=start, length=length
            )
        except RangeInvalid as error:
            return self._out_of_order(request, route.repository, route.upload, error)
        return Response(202, [_EMPTY, *self._progress(request, route.repository, status)])

    async def complete(self, route: CompleteUpload, request: Request, _access: Access) -> Response:
        """Take the last chunk if there is one, verify the whole and make it a blob; durable when it is answered."""
        try:
            start, length, body = _chunk(request)
            blob = await self._registry.repository(route.repository).complete_upload(
                route.upload, route.digest, None if length == 0 else body, start=start, length=length
            )
        except RangeInvalid as error:
            return self._out_of_order(request, route.repository, route.upload, error)
        return self._created(request, route.repository, blob)

    async def cancel(self, route: CancelUpload, _request: Request, _access: Access) -> Response:
        """Give the upload up, with all that has arrived."""
        await self._registry.repository(route.repository).cancel_upload(route.upload)
        return Response(204, ())

    async def _begin(self, request: Request, repository: RepositoryName, algorithm: str) -> Response:
        status = await self._registry.repository(repository).begin_upload(algorithm=algorithm)
        return Response(202, [_EMPTY, *self._chunk_min, *self._progress(request, repository, status)])

    def _progress(self, request: Request, repository: RepositoryName, status: UploadStatus) -> list[Header]:
        """Return where to go on.

        `0-0` stands for no byte as well as for one: Distribution says so, and docker insists on a Range.
        """
        location = f"{self._origins.of(request)}/v2/{repository}/blobs/uploads/{status.upload}"
        return [
            (b"location", location.encode("ascii")),
            (b"range", b"0-%d" % max(status.offset - 1, 0)),
            (b"docker-upload-uuid", status.upload.encode("ascii")),
        ]

    def _out_of_order(
        self, request: Request, repository: RepositoryName, upload: UploadId, error: RangeInvalid
    ) -> Response:
        status = UploadStatus(upload, error.size or 0)
        return problems.render(error).adding(*self._progress(request, repository, status))

    def _created(self, request: Request, repository: RepositoryName, blob: StoredBlob) -> Response:
        location = f"{self._origins.of(request)}/v2/{repository}/blobs/{blob.digest}"
        digest = (b"docker-content-digest", blob.digest.encode("ascii"))
        return Response(201, [_EMPTY, (b"location", location.encode("ascii")), digest])


def _chunk(request: Request) -> tuple[int | None, int | None, AsyncIterator[bytes]]:
    """Return where a chunk begins (None: at the end), how long it is (None: until it ends), and its bytes.

    Raises:
        SizeInvalid: Content-Range and Content-Length disagree; nothing has been read then.
        BlobUploadInvalid: Content-Range is malformed.
    """
    length = request.content_length
    header = request.text(b"content-range")
    if header is None:
        return None, length, request.body(length=length)
    span = parse_content_range(header, length)
    return span.start, span.length, request.body(length=span.length)
