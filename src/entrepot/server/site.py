"""What is not `/v2/`: the front page, readiness, metrics. A Litestar application, loaded when somebody first asks."""

from __future__ import annotations

from html import escape
from typing import Any, Final, cast

from litestar import Litestar, MediaType, Request, Response, get

from entrepot import __version__
from entrepot.errors import EntrepotError
from entrepot.server.asgi import Application, Receive, Scope
from entrepot.server.metrics import Metrics, exposition
from entrepot.server.origins import Origins
from entrepot.server.requests import Request as RegistryRequest
from entrepot.storage.registry import Registry

__all__ = ["build"]

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Entrepot</title>
<meta name="viewport" content="width=device-width">
<style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:44rem;margin:4rem auto;padding:0 1rem}}
:root{{color-scheme:light dark}}
pre{{padding:1rem;border:1px solid;border-radius:.5rem;overflow-x:auto}}</style></head>
<body><h1>Entrepot {version}</h1><p>A registry for container images. Push one, pull it, look at it:</p>
<pre>{commands}</pre></body></html>
"""


def build(registry: Registry, metrics: Metrics, origins: Origins, *, worker: str) -> Application:
    """Return the application.

    Args:
        registry: Is asked whether it is ready, and has the other workers' metrics.
        metrics: Of this worker.
        origins: Knows under which name the client reaches us.
        worker: The name under which this worker's metrics are kept.
    """

    @get("/", include_in_schema=False)
    async def front_page(request: Request[Any, Any, Any]) -> Response[str]:
        host = (
            origins.of(
                RegistryRequest(cast("Scope", request.scope), cast("Receive", request.receive))
            ).partition("://")[2]
            or "HOST"
        )
        if "text/html" in request.headers.get("accept", ""):
            page = _PAGE.format(version=__version__, commands=escape(_commands(host)))
            return Response(page, media_type=MediaType.HTML)
        return Response(
            f"Entrepot {__version__}, a registry for container images\n\n{_commands(host)}\n",
            media_type=MediaType.TEXT,
        )

    @get("/readyz", include_in_schema=False)
    async def ready() -> Response[str]:
        try:
            await registry.check()
        except EntrepotError:
            return Response("the storage does not work\n", status_code=503, media_type=MediaType.TEXT)
        return Response("ok\n", media_type=MediaType.TEXT)

    @get("/metrics", include_in_schema=False)
    async def show_metrics() -> Response[bytes]:
        registry.scratch.put_metrics(worker, metrics.snapshot())
        page, media_type = exposition(registry.scratch.metrics(), version=__version__)
        return Response(page, headers={"content-type": media_type})

    return cast(
        "Application", Litestar([front_page, ready, show_metrics], openapi_config=None, logging_config=None)
    )


def _commands(host: str) -> str:
    return f"docker tag alpine {host}/alpine\ndocker push {host}/alpine\nentrepot inspect {host}/alpine"
