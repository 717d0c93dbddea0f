"""Pushing a blob (distribution-spec, "Pushing blobs"): in one piece, in chunks, and on after a fault.

An upload is a session at a Location that the registry hands out anew with each answer, to be used byte for
byte. Its requests are never simply repeated: after a fault nobody knows what arrived. The registry is asked
(`GET`, "To get the current status"), and the upload goes on from there, or begins again if it is gone. One
that is given up is cancelled, so that it does not lie around.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace

import anyio

from entrepot.errors import (
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    ConnectionFailed,
    EntrepotError,
    ProtocolViolation,
    RangeInvalid,
    RegistryError,
)
from entrepot.oci.descriptor import Descriptor
from entrepot.oci.digest import Digest
from entrepot.remote.endpoints import Endpoints
from entrepot.remote.hosts import Hopeless
from entrepot.remote.message import Body, Request
from entrepot.remote.options import UploadMode
from entrepot.remote.outgoing import OutgoingBlob
from entrepot.remote.retry import RETRIED_STATUSES
from entrepot.remote.session import Response
from entrepot.remote.transport import Transport
from entrepot.remote.urls import Hop, query, with_parameters
from entrepot.store import OpenAt
from entrepot.wire.exchange import Cause

__all__ = ["BlobUpload", "cancel_upload"]

_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,19})")
_OCTETS = ("Content-Type", "application/octet-stream")
# The specification asks for 201 and 202; registries were seen to give the others.
_CREATED = frozenset({200, 201, 204})
_ACCEPTED = frozenset({200, 202, 204})


class BlobUpload:
    """One blob being pushed to one repository.

    Args:
        transport: The registry.
        endpoints: The repository.
        descriptor: The blob.
        location: An upload that has been begun already, by a mount that did not come about.
    """

    def __init__(
        self,
        transport: Transport,
        endpoints: Endpoints,
        descriptor: Descriptor,
        *,
        location: Hop | None = None,
    ) -> None:
        self._transport = transport
        self._endpoints = endpoints
        self._descriptor = descriptor
        self._subject = endpoints.subject(descriptor.digest)
        self._location = location
        self._mode = transport.options.upload
        self._chunk_bytes = max(1, transport.options.chunk_bytes)
        self._offset = 0
        self._last: int | None = None

    async def write(self, open_at: OpenAt) -> None:
        """Push the blob. Cancelled or failed, the upload is cancelled at the registry as well as can be.

        Raises:
            VerificationError: The source does not hold what the descriptor says, or the registry says so.
            RegistryError: The registry refuses.
            ConnectionFailed: It broke too often without progress.
        """
        async with OutgoingBlob(self._descriptor, open_at) as outgoing:
            try:
                await self._persevere(outgoing)
            except BaseException:
                await self._cancel()
                raise

    async def _persevere(self, outgoing: OutgoingBlob) -> None:
        """Upload, and after a fault go on, as often as the retries allow without progress."""
        attempt, reached = 1, 0
        while True:
            try:
                await self._upload(outgoing)
                return
            except (ConnectionFailed, RegistryError) as error:
                attempt = 2 if self._offset > reached else attempt + 1
                reached = self._offset
                wait = self._transport.retries.wait_before(attempt, getattr(error, "retry_after", None))
                if wait is None or not _can_go_on(error):
                    raise
                if not isinstance(error, RangeInvalid):
                    await self._transport.retries.sleep(wait)
                if await self._resynchronise(error):
                    return

    async def _upload(self, outgoing: OutgoingBlob) -> None:
        """Send what is missing and close the upload."""
        size = self._descriptor.size
        if size == 0:
            await outgoing.verify_empty()
        if self._location is None and await self._begin(outgoing):
            return
        if self._mode is UploadMode.CHUNKS or self._offset:
            while self._offset < size:
                await self._patch(outgoing)
        await self._put(outgoing)

    async def _begin(self, outgoing: OutgoingBlob) -> bool:
        """Begin an upload, or try the single POST. True when the registry has the whole blob now."""
        self._offset = 0
        if self._mode is UploadMode.SINGLE:
            # once: a registry that fails at it gets the ordinary way
            self._mode = UploadMode.PUT
            request = self._single_post(outgoing)
        else:
            request = self._post()
        async with self._transport.exchange(request) as response:
            if response.status == 201:
                self._check_complete(response, outgoing if request.body is not None else None)
                return True
            self._accept(response)
            minimum = response.headers.get("OCI-Chunk-Min-Length", "")
            if minimum.isascii() and minimum.isdigit():
                self._chunk_bytes = max(self._chunk_bytes, int(minimum[:18]))
        return False

    def _post(self) -> Request:
        """Return end-4a, or end-4c for a digest that is not sha256."""
        algorithm = self._descriptor.digest.algorithm
        path = self._endpoints.uploads()
        announced = "" if algorithm == "sha256" else f"?{query(('digest-algorithm', algorithm))}"
        request = self._request("POST", f"{path}{announced}", "begin an upload", expect=_ACCEPTED | {201})
        return replace(request, repeatable=True)  # an upload too many is no harm: it expires

    def _single_post(self, outgoing: OutgoingBlob) -> Request:
        """Return end-4b."""
        return self._request(
            "POST",
            f"{self._endpoints.uploads()}?{query(('digest', self._descriptor.digest))}",
            "send the whole blob at once",
            expect=_ACCEPTED | {201},
            body=self._whole(outgoing),
        )

    async def _patch(self, outgoing: OutgoingBlob) -> None:
        """Send one chunk, or after a fault in the middle of a monolithic upload, the rest (end-5)."""
        assert self._location is not None
        size = self._descriptor.size
        step = self._chunk_bytes if self._mode is UploadMode.CHUNKS else size
        start, stop = self._offset, min(self._offset + step, size)
        request = self._request(
            "PATCH",
            self._location,
            f"send bytes {start}-{stop - 1}",
            expect=_ACCEPTED | {201},
            headers=(("Content-Range", f"{start}-{stop - 1}"),),
            body=outgoing.body(start, stop),
        )
        async with self._transport.exchange(request) as response:
            self._accept(response)
            received = _received(response)
            self._offset = stop if received is None or received > stop else received
            if self._offset <= start:
                raise ProtocolViolation(
                    f"{self._transport.peer} accepted a chunk and has none of it: {self._subject}",
                    peer=self._transport.peer,
                )

    async def _put(self, outgoing: OutgoingBlob) -> None:
        """Close the upload, with the whole blob if none of it has been sent (end-6)."""
        assert self._location is not None
        whole = self._offset == 0
        url = with_parameters(self._location.url, ("digest", self._descriptor.digest))
        request = self._request(
            "PUT",
            replace(self._location, url=url),
            "send the whole blob" if whole else "close the upload",
            expect=_CREATED,
            body=self._whole(outgoing) if whole else None,
        )
        async with self._transport.exchange(request) as response:
            self._check_complete(response, outgoing)
            self._location = None

    async def _resynchronise(self, error: EntrepotError) -> bool:
        """Find out after a fault what the registry has (end-13). True when it has the whole blob already."""
        if self._location is None:
            return False
        before, self._offset = self._offset, 0
        request = self._request("GET", self._location, "where did it stop?", expect=_ACCEPTED)
        try:
            async with self._transport.exchange(
                replace(request, repeatable=True, cause=Cause.RESUME)
            ) as response:
                received = _received(response)
                if "Location" in response.headers:
                    self._accept(response)
        except (BlobUploadUnknown, BlobUploadInvalid, BlobUnknown):
            self._location = None
            return await self._is_there()
        # `0-0` is what some say of an empty upload and others of one byte: begin again rather than guess.
        # The same holds if the offset that was refused is confirmed.
        stuck = isinstance(error, RangeInvalid) and received == before
        if received is None or received <= 1 or received > self._descriptor.size or stuck:
            await self._cancel()
        else:
            self._offset = received
        return False

    async def _cancel(self) -> None:
        location, self._location = self._location, None
        if location is not None:
            await cancel_upload(self._transport, self._endpoints, self._descriptor.digest, location)

    async def _is_there(self) -> bool:
        """Tell whether the blob is there: the answer to the closing PUT may be what was lost."""
        request = self._endpoints.blob("HEAD", self._descriptor.digest, "was it completed?", "pull", "push")
        try:
            async with self._transport.exchange(replace(request, parent=self._last)) as response:
                return response.content_length == self._descriptor.size
        except RegistryError:
            return False

    def _request(
        self,
        method: str,
        to: str | Hop,
        phase: str,
        *,
        expect: frozenset[int],
        headers: tuple[tuple[str, str], ...] = (),
        body: Body | None = None,
    ) -> Request:
        return Request(
            method=method,
            to=to,
            subject=self._subject,
            phase=phase,
            headers=(*headers, _OCTETS) if body is not None else headers,
            body=body,
            expect=expect,
            absent=BlobUploadUnknown if isinstance(to, Hop) else BlobUnknown,
            scopes=self._endpoints.scopes("pull", "push"),
            repeatable=False,
            parent=self._last,
        )

    def _whole(self, outgoing: OutgoingBlob) -> Body | None:
        """Return the whole blob as a body; an empty one is none, and has been verified before."""
        return outgoing.body(0, self._descriptor.size) if self._descriptor.size else None

    def _accept(self, response: Response) -> None:
        """Take the new Location of the upload; who answers a chunk without one means the same again."""
        self._last = response.exchange
        if "Location" in response.headers or self._location is None:
            self._location = response.follow("Location")

    def _check_complete(self, response: Response, outgoing: OutgoingBlob | None) -> None:
        """Hold what the registry calls complete against what was sent, if anything was, and its digest."""
        if outgoing is not None and not outgoing.verified:
            raise ProtocolViolation(
                f"{self._transport.peer} completed the upload before all of it was sent: {self._subject}",
                peer=self._transport.peer,
            )
        response.require_digest(self._descriptor.digest)


async def cancel_upload(transport: Transport, endpoints: Endpoints, digest: Digest, location: Hop) -> None:
    """Cancel an upload (end-14) as well as can be, shielded from cancellation for a few seconds.

    "Clients SHOULD ignore any failures."
    """
    request = Request(
        method="DELETE",
        to=location,
        subject=endpoints.subject(digest),
        phase="cancel the upload",
        expect=frozenset({200, 202, 204}),
        absent=BlobUploadUnknown,
        scopes=endpoints.scopes("pull", "push"),
        repeatable=False,
    )
    seconds = transport.options.limits.cancel_timeout_seconds
    with anyio.move_on_after(seconds, shield=True), suppress(EntrepotError):
        async with transport.exchange(request):
            pass


def _received(response: Response) -> int | None:
    """Return how many bytes an upload has, by `Range: 0-<end-of-range>`; None when that is not said."""
    found = _RANGE.fullmatch(response.headers.get("Range", "").strip())
    return int(found[1]) + 1 if found else None


def _can_go_on(error: ConnectionFailed | RegistryError) -> bool:
    """Tell whether an upload may succeed after this fault."""
    if isinstance(error, RegistryError):
        return isinstance(error, RangeInvalid | BlobUploadUnknown) or error.status in RETRIED_STATUSES
    return not isinstance(error, Hopeless)
