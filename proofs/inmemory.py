"""A registry that holds whole bodies and keeps nothing on disk: what the proofs must not take for a good one."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import AsyncIterator

from entrepot.server.asgi import Message, Receive, Scope, Send

__all__ = ["InMemory"]

_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>blobs/uploads|blobs|manifests|tags)/(?P<reference>[^/]*)")


class InMemory:
    """An ASGI application that answers what the proofs ask, for one worker process."""

    def __init__(self) -> None:
        self._uploads: dict[str, bytes] = {}
        self._blobs: dict[str, bytes] = {}
        self._manifests: dict[tuple[str, str], bytes] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, after the whole of its body was read."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        body = b"".join([part async for part in _parts(receive)])
        status, headers, answer = self._answer(scope, body)
        headers = {"content-length": str(len(answer)), **headers}
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": encoded})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer})

    def _answer(self, scope: Scope, body: bytes) -> tuple[int, dict[str, str], bytes]:
        matched = _PATH.fullmatch(scope["path"])
        if matched is None:
            return 200, {}, b'{"repositories": []}'
        name, kind, reference = matched["name"], matched["kind"], matched["reference"]
        method: str = scope["method"]
        if kind == "blobs/uploads":
            return self._upload(method, name, reference, scope["query_string"].decode(), body)
        if kind == "blobs":
            return _found(self._blobs.get(reference))
        if kind == "tags":
            tags = sorted(tag for repository, tag in self._manifests if repository == name and ":" not in tag)
            return 200, {}, json.dumps({"name": name, "tags": tags}).encode()
        return self._manifest(method, name, reference, body)

    def _upload(
        self, method: str, name: str, upload: str, query: str, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        if method == "POST":
            upload = secrets.token_hex(16)
            self._uploads[upload] = b""
        elif upload not in self._uploads:
            return 404, {}, b"{}"
        self._uploads[upload] += body
        if method == "PUT":
            data = self._uploads.pop(upload)
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            self._blobs[digest] = data
            return (201 if digest in query.replace("%3A", ":") else 400), {}, b""
        standing = {
            "location": f"/v2/{name}/blobs/uploads/{upload}",
            "range": f"0-{max(len(self._uploads[upload]) - 1, 0)}",
        }
        return (204 if method == "GET" else 202), standing, b""

    def _manifest(
        self, method: str, name: str, reference: str, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        if method == "PUT":
            digest = "sha256:" + hashlib.sha256(body).hexdigest()
            self._manifests[name, digest] = self._manifests[name, reference] = body
            return 201, {"docker-content-digest": digest}, b""
        if method == "DELETE":
            return (202 if self._manifests.pop((name, reference), None) is not None else 404), {}, b""
        return _found(self._manifests.get((name, reference)))


def _found(data: bytes | None) -> tuple[int, dict[str, str], bytes]:
    return (404, {}, b"{}") if data is None else (200, {}, data)


async def _parts(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            return
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def _live(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
