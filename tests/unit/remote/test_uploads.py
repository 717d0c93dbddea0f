from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
import pytest

from entrepot.errors import (
    ConnectionFailed,
    Denied,
    DigestInvalid,
    DigestMismatch,
    ForbiddenURL,
    ProtocolViolation,
    SizeMismatch,
    Unavailable,
    VerificationError,
)
from entrepot.oci import Descriptor, Digest
from entrepot.remote import UploadMode
from entrepot.store import Origin
from entrepot.wire.exchange import Cause

pytestmark = pytest.mark.anyio

CONTENT = bytes(range(256)) * 400  # 100 KiB
UPLOADS = "/v2/demo/app/blobs/uploads/"
SESSION = "/v2/demo/app/blobs/uploads/one"
OPAQUE = f"{SESSION}?_state=a%2Bb%3D%3D&x=c+d"
CHUNKS = {"upload": UploadMode.CHUNKS, "chunk_bytes": 30_000}


class Uploads:
    """The uploads of a registry: one session at a time, each answer with a new state in its Location."""

    def __init__(self, odd: Any, peer: Any, *, minimum: int | None = None) -> None:
        self.odd = odd
        self.content: bytearray | None = None
        self.done: bytes | None = None
        self.begun = 0
        self.states = 0
        self.minimum = minimum
        for method, path in (
            ("POST", UPLOADS),
            ("PATCH", SESSION),
            ("PUT", SESSION),
            ("GET", SESSION),
            ("DELETE", SESSION),
        ):
            peer.on(method, path, getattr(self, method.lower()))

    def location(self, status: int, **headers: str) -> Any:
        self.states += 1
        fields = {
            "Location": f"{SESSION}?_state={self.states}%3D",
            **{k.replace("_", "-"): v for k, v in headers.items()},
        }
        if self.content:
            fields["Range"] = f"0-{len(self.content) - 1}"
        return self.odd.reply(status, headers=fields)

    def post(self, asked: Any) -> Any:
        self.begun += 1
        self.content = bytearray()
        return self.location(202, **({"OCI_Chunk_Min_Length": str(self.minimum)} if self.minimum else {}))

    def append(self, asked: Any) -> Any | None:
        if self.content is None:
            return self.odd.reply(404)
        assert asked.query["_state"] == [f"{self.states}="], "an upload goes on at its newest Location"
        given = asked.headers.get("content-range")
        if given is not None:
            assert re.fullmatch("[0-9]+-[0-9]+", given)
            first, last = map(int, given.split("-"))
            assert last - first + 1 == len(asked.body)
            if first != len(self.content):
                return self.location(416)
        self.content += asked.body
        return None

    def patch(self, asked: Any) -> Any:
        return self.append(asked) or self.location(202)

    def put(self, asked: Any) -> Any:
        refused = self.append(asked)
        if refused is not None:
            return refused
        assert self.content is not None
        digest = Digest(asked.query["digest"][0])
        if Digest.of(bytes(self.content), digest.algorithm) != digest:
            return self.odd.reply(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
        self.done, self.content = bytes(self.content), None
        headers = {"Location": f"/v2/demo/app/blobs/{digest}", "Docker-Content-Digest": digest}
        return self.odd.reply(201, headers=headers)

    def get(self, asked: Any) -> Any:
        return self.odd.reply(404) if self.content is None else self.location(204)

    def delete(self, asked: Any) -> Any:
        self.content = None
        return self.odd.reply(204)


async def test_post_then_put(odd: Any) -> None:
    """By default a blob is one POST and one PUT, at the Location as it was given."""
    async with odd.trial() as trial:
        uploads = Uploads(odd, trial.peer)
        await trial.repository.write_blob(odd.blob(CONTENT), odd.source(CONTENT))
    assert uploads.done == CONTENT
    post, put = trial.peer.asked
    assert (post.method, put.method) == ("POST", "PUT")
    assert put.headers["content-type"] == "application/octet-stream"
    assert put.headers["content-length"] == str(len(CONTENT))
    assert [e.bytes_sent for e in trial.exchanges] == [0, len(CONTENT)]


@pytest.mark.parametrize("location", [OPAQUE, "http://{host}" + OPAQUE])
async def test_a_location_is_opaque(odd: Any, location: str) -> None:
    """Relative or absolute, its query comes back byte for byte, with the digest behind it."""
    descriptor = odd.blob(CONTENT)
    async with odd.trial() as trial:
        trial.peer.on(
            "POST", UPLOADS, odd.reply(202, headers={"Location": location.format(host=trial.peer.host)})
        )
        trial.peer.on("PUT", SESSION, odd.reply(201))
        await trial.repository.write_blob(descriptor, odd.source(CONTENT))
    assert trial.peer.asked[1].target == f"{OPAQUE}&digest={descriptor.digest}"


async def test_a_location_elsewhere(odd: Any) -> None:
    """An upload may be sent to another host."""
    async with odd.trial() as trial, odd.peer().serving() as other:
        trial.peer.on("POST", UPLOADS, odd.reply(202, headers={"Location": f"http://{other.host}/up"}))
        other.on("PUT", "/up", odd.reply(201))
        await trial.repository.write_blob(odd.blob(CONTENT), odd.source(CONTENT))
    assert other.asked[0].body == CONTENT


@pytest.mark.parametrize("location", ["file:///tmp/x", "http://169.254.169.254/", None])
async def test_a_location_that_is_none(odd: Any, location: str | None) -> None:
    """A Location that we do not follow, or that is missing, ends the upload before a byte of it is sent."""
    async with odd.trial() as trial:
        headers = {"Location": location} if location else {}
        trial.peer.on("POST", UPLOADS, odd.reply(202, headers=headers))
        with pytest.raises((ForbiddenURL, ProtocolViolation)):
            await trial.repository.write_blob(odd.blob(CONTENT), odd.source(CONTENT))
    assert [a.method for a in trial.peer.asked] == ["POST"]


async def test_single_post(odd: Any) -> None:
    """One POST with the digest and the whole blob, and nothing else."""
    descriptor = odd.blob(CONTENT)
    async with odd.trial(upload=UploadMode.SINGLE) as trial:
        trial.peer.on("POST", UPLOADS, odd.reply(201, headers={"Location": "/v2/x"}))
        await trial.repository.write_blob(descriptor, odd.source(CONTENT))
    assert [(a.method, a.query, a.body) for a in trial.peer.asked] == [
        ("POST", {"digest": [descriptor.digest]}, CONTENT)
    ]


async def test_single_post_that_the_registry_does_not_do(odd: Any) -> None:
    """A 202 means that an upload has begun: the blob is sent again, to its Location."""
    async with odd.trial(upload=UploadMode.SINGLE) as trial:
        uploads = Uploads(odd, trial.peer)
        await trial.repository.write_blob(odd.blob(CONTENT), odd.source(CONTENT))
    assert uploads.done == CONTENT
    assert [a.method for a in trial.peer.asked] == ["POST", "PUT"]


async def test_chunks(odd: Any) -> None:
    """PATCHes in order with Content-Range, each at the Location of the answer before, and an empty PUT."""
    async with odd.trial(**CHUNKS) as trial:
        uploads = Uploads(odd, trial.peer)
        await trial.repository.write_blob(odd.blob(CONTENT), odd.source(CONTENT))
    assert uploads.done == CONTENT
    ranges = [a.headers["content-range"] for a in trial.peer.saw("PATCH")]
    assert ranges == ["0-29999", "30000-59999", "60000-89999", "90000-102399"]
    (put,) = trial.peer.saw("PUT")
    assert put.headers["content-length"] == "0"


@pytest.mark.parametrize(("minimum", "patches"), [(50_000, 3), (10, 4), (10**15, 1)])
async def test_a_registry_may_want_larger_chunks(odd: Any, minimum: int, patches: int) -> None:
    """OCI-Chunk-Min-Length is honoured when it is more than was asked for."""
    async with odd.trial(**CHUNKS) as trial:
        uploads = Uploads(odd, trial.peer, minimum=minimum)
        await trial.repository.write_blob(odd.blob(CONTENT), odd.source(CONTENT))
    assert uploads.done == CONTENT
    assert len(trial.peer.saw("PATCH")) == patches


@pytest.mark.parametrize("mode", list(UploadMode))
async def test_no_bytes(odd: Any, mode: UploadMode) -> None:
    """An empty blob is pushed in every mode, without a body."""
    async with odd.trial(upload=mode) as trial:
        uploads = Uploads(odd, trial.peer)
        await trial.repository.write_blob(odd.blob(b""), odd.source(b""))
    assert uploads.done == b""


async def test_another_algorithm_is_announced(odd: Any) -> None:
    """A digest that is not sha256 is named when the upload begins."""
    descriptor = Descriptor(media_type="x/y", digest=Digest.of(CONTENT, "sha512"), size=len(CONTENT))
    async with odd.trial() as trial:
        uploads = Uploads(odd, trial.peer)
        await trial.repository.write_blob(descriptor, odd.source(CONTENT))
    assert uploads.done == CONTENT
    assert trial.peer.asked[0].query == {"digest-algorithm": ["sha512"]}


async def test_a_chunk_out_of_order_is_answered_by_asking(odd: Any) -> None:
    """After a 416 the registry is asked where it is, and the upload goes on from there."""
    opened: list[int] = []
    async with odd.trial(**CHUNKS) as trial:
        uploads = Uploads(odd, trial.peer)

        def forgets(asked: Any) -> Any:
            assert uploads.content is not None
            del uploads.content[20_000:]
            return uploads.patch(asked)

        trial.peer.on("PATCH", SESSION, uploads.patch, uploads.patch, forgets, uploads.patch)
        await trial.repository.write_blob(odd.blob(CONTENT), odd.source(CONTENT, opened=opened))
    assert uploads.done == CONTENT
    assert [a.headers["content-range"] for a in trial.peer.saw("PATCH")][2:4] == [
        "60000-89999",
        "20000-49999",
    ]
    status = trial.exchanges[4]
    assert (status.method, status.status, status.cause) == ("GET", 204, Cause.RESUME)
    assert opened == [0, 0]
    assert trial.waits == []


@pytest.mark.parametrize("kept", [0, 1, 2, 12_345, 30_000])
async def test_a_patch_that_breaks(odd: Any, kept: int) -> None:
    """What arrived of a broken PATCH is kept: the upload goes on behind it, or begins again if that is unclear."""
    async with odd.trial(**CHUNKS) as trial:
        uploads = Uploads(odd, trial.peer)

        def breaks(asked: Any) -> Any:
            assert uploads.content is not None
            uploads.content += asked.body[:kept]
            return odd.reply(raw=b"")

        trial.peer.on("PATCH", SESSION, breaks, uploads.patch)
        await trial.repository.write_blob(odd.blob(CONTENT), odd.source(CONTENT))
    assert uploads.done == CONTENT
    assert uploads.begun == (1 if kept > 1 else 2)


@pytest.mark.parametrize("kept", [0, 50_000])
async def test_a_put_that_breaks(odd: Any, kept: int) -> None:
    """A monolithic upload that breaks goes on with what is missing."""
    async with odd.trial() as trial:
        uploads = Uploads(odd, trial.peer)

        def breaks(asked: Any) -> Any:
            assert uploads.content is not None
            uploads.content += asked.body[:kept]
            return odd.reply(raw=b"")

        trial.peer.on("PUT", SESSION, breaks, uploads.put)
        await trial.repository.write_blob(odd.blob(CONTENT), odd.source(CONTENT))
    assert uploads.done == CONTENT
    if kept:
        assert [a.headers["content-range"] for a in trial.peer.saw("PATCH")] == ["50000-102399"]


async def test_a_put_that_breaks_while_it_is_being_sent(odd: Any) -> None:
    """The peer goes away before it has read the body."""
    content = CONTENT * 100
    async with odd.trial() as trial:
        uploads = Uploads(odd, trial.peer)
        trial.peer.on("PUT", SESSION, odd.reply(raw=b"", reads=1000), uploads.put)
        await trial.repository.write_blob(odd.blob(content), odd.source(content))
    assert uploads.done == content


async def test_a_put_whose_answer_was_lost(odd: Any) -> None:
    """The upload is gone and the blob is there: nothing is sent again."""
    descriptor = odd.blob(CONTENT)
    async with odd.trial() as trial:
        uploads = Uploads(odd, trial.peer)

        def loses(asked: Any) -> Any:
            uploads.put(asked)
            return odd.reply(raw=b"")

        trial.peer.on("PUT", SESSION, loses)
        trial.peer.on("HEAD", f"/v2/demo/app/blobs/{descriptor.digest}", odd.reply(length=len(CONTENT)))
        await trial.repository.write_blob(descriptor, odd.source(CONTENT))
    assert uploads.done == CONTENT
    assert len(trial.peer.saw("PUT")) == 1


async def test_an_upload_that_is_gone_begins_again(odd: Any) -> None:
    """A session that the registry has forgotten costs a new one."""
    async with odd.trial(**CHUNKS) as trial:
        uploads = Uploads(odd, trial.peer)

        def forgets(asked: Any) -> Any:
            uploads.content = None
            return uploads.patch(asked)

        trial.peer.on("PATCH", SESSION, uploads.patch, forgets, uploads.patch)
        await trial.repository.write_blob(odd.blob(CONTENT), odd.source(CONTENT))
    assert uploads.done == CONTENT
    assert uploads.begun == 2


@pytest.mark.parametrize("status", [500, 502, 503, 429])
async def test_a_fault_of_the_server(odd: Any, status: int) -> None:
    """After a fault the registry is asked where it is; when it stays away, the upload is cancelled."""
    async with odd.trial(**CHUNKS) as trial:
        uploads = Uploads(odd, trial.peer)
        trial.peer.on("PATCH", SESSION, uploads.patch, odd.reply(status), uploads.patch)
        await trial.repository.write_blob(odd.blob(CONTENT), odd.source(CONTENT))
    assert uploads.done == CONTENT
    assert len(trial.waits) == 1


async def test_faults_without_end(odd: Any) -> None:
    """Attempts without progress are bounded, and the last word is the server's."""
    async with odd.trial(**CHUNKS) as trial:
        Uploads(odd, trial.peer)
        trial.peer.on(
            "PATCH", SESSION, odd.reply(503, b'{"errors":[{"code":"UNAVAILABLE","message":"full"}]}')
        )
        with pytest.raises(Unavailable, match="full"):
            await trial.repository.write_blob(odd.blob(CONTENT), odd.source(CONTENT))
    assert len(trial.peer.saw("PATCH")) == odd.limits.max_attempts
    assert trial.peer.saw("DELETE")


async def test_a_416_that_never_agrees_with_its_status(odd: Any) -> None:
    """A registry that refuses the offset which it names itself is not asked for ever."""
    async with odd.trial(**CHUNKS) as trial:
        uploads = Uploads(odd, trial.peer)
        trial.peer.on("PATCH", SESSION, uploads.patch, lambda _: uploads.location(416))
        with pytest.raises(Exception, match="range invalid"):
            await trial.repository.write_blob(odd.blob(CONTENT), odd.source(CONTENT))
    assert len(trial.peer.asked) < 20


@pytest.mark.parametrize("wrong", [CONTENT[:-1], CONTENT + b"x", b"x" + CONTENT[1:]])
@pytest.mark.parametrize("options", [{}, CHUNKS, {"upload": UploadMode.SINGLE}])
async def test_a_source_that_lies_never_completes_an_upload(
    odd: Any, wrong: bytes, options: dict[str, Any]
) -> None:
    """The lie is found before the last bytes leave, and the upload is cancelled."""
    async with odd.trial(**options) as trial:
        uploads = Uploads(odd, trial.peer)
        with pytest.raises(VerificationError):
            await trial.repository.write_blob(odd.blob(CONTENT), odd.source(wrong, piece=1000))
    assert uploads.done is None
    assert uploads.content is None
    if options != {"upload": UploadMode.SINGLE}:
        assert trial.peer.saw("DELETE")


async def test_a_registry_that_claims_success_too_early(odd: Any) -> None:
    """A 201 before the body was sent is not believed."""
    content = CONTENT * 200
    async with odd.trial() as trial:
        Uploads(odd, trial.peer)
        trial.peer.on("PUT", SESSION, odd.reply(201, reads=10))
        with pytest.raises((ProtocolViolation, ConnectionFailed)):
            await trial.repository.write_blob(odd.blob(content), odd.source(content))


async def test_a_registry_that_has_something_else(odd: Any) -> None:
    """The digest in the answer is held against ours, in the same algorithm."""
    async with odd.trial() as trial:
        Uploads(odd, trial.peer)
        trial.peer.on("PUT", SESSION, odd.reply(201, headers={"Docker-Content-Digest": Digest.of(b"else")}))
        with pytest.raises(DigestMismatch) as caught:
            await trial.repository.write_blob(odd.blob(CONTENT), odd.source(CONTENT))
    assert caught.value.peer == trial.peer.host


async def test_a_refusal_is_final(odd: Any) -> None:
    """What the registry refuses is not tried again, and the upload is cancelled."""
    async with odd.trial() as trial:
        uploads = Uploads(odd, trial.peer)
        trial.peer.on(
            "PUT", SESSION, odd.reply(400, b'{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}')
        )
        with pytest.raises(DigestInvalid, match="no"):
            await trial.repository.write_blob(odd.blob(CONTENT), odd.source(CONTENT))
        trial.peer.on("POST", UPLOADS, odd.reply(403))
        with pytest.raises(Denied):
            await trial.repository.write_blob(odd.blob(CONTENT), odd.source(CONTENT))
    assert uploads.content is None
    assert len(trial.peer.saw("DELETE")) == 1


@pytest.mark.parametrize("options", [{}, CHUNKS, {"upload": UploadMode.SINGLE}])
async def test_cancelled_it_leaves_nothing(odd: Any, options: dict[str, Any]) -> None:
    """A cancelled write cancels its upload at the registry."""
    stuck = anyio.Event()
    ends: list[type[BaseException] | None] = []

    @asynccontextmanager
    async def never_ends(offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        async def chunks() -> AsyncIterator[bytes]:
            yield CONTENT[:40_000]
            stuck.set()
            await anyio.sleep_forever()

        try:
            async with aclosing(chunks()) as opened:
                yield opened
        finally:
            ends.append(sys.exc_info()[0])

    async with odd.trial(**options) as trial:
        uploads = Uploads(odd, trial.peer)
        async with anyio.create_task_group() as group:
            group.start_soon(trial.repository.write_blob, odd.blob(CONTENT), never_ends)
            await stuck.wait()
            group.cancel_scope.cancel()
        assert uploads.content is None
        assert uploads.done is None
        begun = options.get("upload") is not UploadMode.SINGLE
        assert len(trial.peer.saw("DELETE")) == (1 if begun else 0)
        assert ends == [anyio.get_cancelled_exc_class()]


async def test_a_cancelling_that_hangs_is_left(odd: Any) -> None:
    """A registry that does not answer the DELETE delays the error for a moment only."""
    from dataclasses import replace

    async def silent(_: Any) -> Any:
        await anyio.sleep_forever()

    async with odd.trial(limits=replace(odd.limits, cancel_timeout_seconds=0.05)) as trial:
        Uploads(odd, trial.peer)
        trial.peer.on("DELETE", SESSION, silent)
        with pytest.raises(SizeMismatch):
            await trial.repository.write_blob(odd.blob(CONTENT), odd.source(CONTENT[:-1]))


async def test_a_mount(odd: Any) -> None:
    """A mount names the digest and the neighbour; 201 means that nothing needs to be sent."""
    digest = Digest.of(CONTENT)
    async with odd.trial() as trial:
        trial.peer.on("POST", UPLOADS, odd.reply(201))
        assert await trial.repository.mount(digest, Origin(trial.peer.host, "team/base"))
        assert not await trial.repository.mount(digest, Origin("elsewhere.example", "team/base"))
    (asked,) = trial.peer.asked
    assert asked.query == {"mount": [digest], "from": ["team/base"]}
    assert trial.exchanges[0].cause is Cause.MOUNT


async def test_a_mount_that_becomes_an_upload(odd: Any) -> None:
    """A 202 has begun an upload, which the write goes on with."""
    async with odd.trial() as trial:
        uploads = Uploads(odd, trial.peer)
        assert not await trial.repository.mount(Digest.of(CONTENT), Origin(trial.peer.host, "team/base"))
        await trial.repository.write_blob(odd.blob(CONTENT), odd.source(CONTENT))
    assert uploads.done == CONTENT
    assert uploads.begun == 1


async def test_a_mount_that_nobody_goes_on_with(odd: Any) -> None:
    """The upload of a mount that led nowhere is cancelled when the connection is closed."""
    async with odd.trial() as trial:
        uploads = Uploads(odd, trial.peer)
        assert not await trial.repository.mount(Digest.of(CONTENT), Origin(trial.peer.host, "team/base"))
        await trial.remote.close()
    assert uploads.content is None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
async def test_a_mount_that_is_refused_is_no_error(odd: Any, status: int) -> None:
    """Whatever the registry has against the mount, the blob can still be written."""
    async with odd.trial() as trial:
        trial.peer.on("POST", UPLOADS, odd.reply(status))
        assert not await trial.repository.mount(Digest.of(CONTENT), Origin(trial.peer.host, "team/base"))


async def test_a_blob_that_is_there_already_when_the_upload_begins(odd: Any) -> None:
    """A registry may answer the POST with 201: it has the blob."""
    async with odd.trial() as trial:
        trial.peer.on("POST", UPLOADS, odd.reply(201))
        await trial.repository.write_blob(odd.blob(CONTENT), odd.source(CONTENT))
    assert len(trial.peer.asked) == 1


async def test_a_session_that_is_confused_is_left_for_another(odd: Any) -> None:
    """An offset that is refused and then confirmed by the status is not tried again: a new upload begins."""
    async with odd.trial(**CHUNKS) as trial:
        uploads = Uploads(odd, trial.peer)
        trial.peer.on("PATCH", SESSION, uploads.patch, lambda _: uploads.location(416), uploads.patch)
        await trial.repository.write_blob(odd.blob(CONTENT), odd.source(CONTENT))
    assert uploads.done == CONTENT
    assert uploads.begun == 2
    assert len(trial.peer.saw("DELETE")) == 1


@pytest.mark.parametrize("raw", [None, b""])
async def test_a_source_is_not_closed_while_it_is_read(odd: Any, raw: bytes | None) -> None:
    """An early answer, or none at all, finds the source in the middle of a read, which is ended first."""
    closed: list[str] = []

    async def stalls() -> AsyncIterator[bytes]:
        yield CONTENT[:1000]
        await anyio.sleep_forever()

    @asynccontextmanager
    async def open_at(offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        async with aclosing(stalls()) as chunks:
            yield chunks
        closed.append("closed")

    async with odd.trial() as trial:
        Uploads(odd, trial.peer)
        trial.peer.on("PUT", SESSION, odd.reply(403, b"no", reads=1000, raw=raw))
        with pytest.raises((Denied, ConnectionFailed)):
            await trial.repository.write_blob(odd.blob(CONTENT), open_at)
    assert set(closed) == {"closed"}


async def test_a_single_post_that_is_answered_before_it_is_read(odd: Any) -> None:
    """A registry that does not want the body has it cut off, and gets it when it asks for it."""
    content = CONTENT * 100
    async with odd.trial(upload=UploadMode.SINGLE) as trial:
        uploads = Uploads(odd, trial.peer)
        uploads.content = bytearray()
        trial.peer.on(
            "POST",
            UPLOADS,
            odd.reply(202, headers={"Location": f"{SESSION}?_state=0="}, reads=0),
            uploads.post,
        )
        await trial.repository.write_blob(odd.blob(content), odd.source(content))
    assert uploads.done == content
