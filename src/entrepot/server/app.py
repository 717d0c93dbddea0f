"""The application, put together."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from entrepot.server import base
from entrepot.server.access import Anonymous
from entrepot.server.access_log import AccessLog
from entrepot.server.api import Api, Handler
from entrepot.server.asgi import Application, Header, Message, Receive, Scope, Send
from entrepot.server.blobs import Blobs
from entrepot.server.catalog import Catalog
from entrepot.server.config import Settings
from entrepot.server.log import Log
from entrepot.server.manifests import Manifests
from entrepot.server.metrics import Metrics
from entrepot.server.origins import Origins
from entrepot.server.referrers import Referrers
from entrepot.server.requests import Request
from entrepot.server.routes import (
    AppendUpload,
    BeginUpload,
    CancelUpload,
    CompleteUpload,
    DeleteBlob,
    DeleteManifest,
    Discover,
    GetBlob,
    GetManifest,
    GetUpload,
    ListReferrers,
    ListRepositories,
    ListTags,
    MountBlob,
    PushBlob,
    PutManifest,
    Route,
    Support,
)
from entrepot.server.tags import Tags
from entrepot.server.uploads import Uploads
from entrepot.storage.registry import Registry

__all__ = ["Entrepot", "assemble", "handlers"]

_LIVE: Final = b"ok\n"


def handlers(registry: Registry, origins: Origins) -> dict[type[Route], Handler]:
    """Return what answers each type of route."""
    blobs, manifests, uploads = Blobs(registry), Manifests(registry, origins), Uploads(registry, origins)
    return {
        Support: base.support,
        Discover: base.discover,
        GetBlob: blobs.get,
        DeleteBlob: blobs.delete,
        GetManifest: manifests.get,
        PutManifest: manifests.put,
        DeleteManifest: manifests.delete,
        BeginUpload: uploads.begin,
        PushBlob: uploads.push,
        MountBlob: uploads.mount,
        GetUpload: uploads.status,
        AppendUpload: uploads.append,
        CompleteUpload: uploads.complete,
        CancelUpload: uploads.cancel,
        ListTags: Tags(registry).get,
        ListReferrers: Referrers(registry).get,
        ListRepositories: Catalog(registry).get,
    }


def common_headers(warnings: tuple[str, ...]) -> list[Header]:
    """Return the headers of every answer of `/v2/`."""
    return [
        (b"docker-distribution-api-version", b"registry/2.0"),
        (b"x-content-type-options", b"nosniff"),
        *((b"warning", _warning(text)) for text in warnings),
    ]


def _warning(text: str) -> bytes:
    """Return a Warning as the specification wants it: `299 - "text"`, without a date ("Warnings")."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{quoted}"'.encode("ascii")


class Entrepot:
    """Gives `/v2/` to the API, `/livez` an answer, and everything else to the site.

    Args:
        api: Answers below `/v2/`.
        site: Answers elsewhere; called in a thread, once, when it is first needed.
    """

    def __init__(self, api: Application, site: _Site) -> None:
        self._api = api
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        path: bytes = scope["raw_path"]
        if path.startswith(b"/v2/") or path == b"/v2":
            await self._api(scope, receive, send)
        elif path == b"/livez":
            await _live(scope, send)
        else:
            await self._site(scope, receive, send)


async def _live(scope: Scope, send: Send) -> None:
    """Answer that this process runs. Nothing else is asked, so nothing else can make an orchestrator kill it."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(_LIVE))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else _LIVE})


class _Site:
    """The site, loaded in a thread when it is first needed, so that pulls go on meanwhile; counted and logged."""

    def __init__(
        self,
        registry: Registry,
        metrics: Metrics,
        origins: Origins,
        *,
        worker: str,
        access_log: AccessLog | None,
    ) -> None:
        self._registry = registry
        self._metrics = metrics
        self._origins = origins
        self._worker = worker
        self._access_log = access_log
        self._loading: asyncio.Future[Application] | None = None

    def _load(self) -> Application:
        from entrepot.server.site import build

        return build(self._registry, self._metrics, self._origins, worker=self._worker)

    async def _loaded(self) -> Application:
        if self._loading is None or (self._loading.done() and self._loading.exception() is not None):
            self._loading = asyncio.ensure_future(asyncio.to_thread(self._load))
        return await asyncio.shield(self._loading)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        began = time.perf_counter()
        status, sent = 500, 0
        method: str = scope["method"]

        async def observe(message: Message) -> None:
            nonlocal status, sent
            status = message.get("status", status)
            if method == "HEAD" and "body" in message:
                message = {**message, "body": b""}
            sent += len(message.get("body", b""))
            await send(message)

        request = Request(scope, receive)
        try:
            site = await self._loaded()
            # To the site HEAD is GET, so that their headers are the same.
            await site({**scope, "method": "GET"} if method == "HEAD" else scope, receive, observe)
        finally:
            seconds = time.perf_counter() - began
            self._metrics.record("Site", method, status, seconds=seconds, received=0, sent=sent)
            if self._access_log is not None:
                remote = self._origins.client(request)
                self._access_log.write(request, remote, status=status, sent=sent, seconds=seconds)


def assemble(
    settings: Settings,
    registry: Registry,
    *,
    metrics: Metrics,
    log: Log,
    access_log: AccessLog | None,
    worker: str,
) -> Entrepot:
    """Put the application together.

    Args:
        settings: What it does and does not do.
        registry: The storage, open.
        metrics: Counts the requests of this worker.
        log: Takes what failed.
        access_log: Takes each request; None for none.
        worker: The name of this worker among those of the registry.
    """
    origins = Origins(settings.http.public_url, settings.trusted_proxies)
    authoriser = Anonymous(
        may_push=settings.anonymous_may_push,
        read_only=settings.registry.read_only,
        delete=settings.registry.delete,
    )
    api = Api(
        handlers=handlers(registry, origins),
        authoriser=authoriser,
        origins=origins,
        metrics=metrics,
        access_log=access_log,
        log=log,
        headers=common_headers(settings.registry.warnings),
    )
    return Entrepot(api, _Site(registry, metrics, origins, worker=worker, access_log=access_log))
