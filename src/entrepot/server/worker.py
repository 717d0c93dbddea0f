"""One worker process, as the runner imports it by name: `entrepot.server.worker:create`.

A worker is spawned, not forked, so what it needs to know comes through the environment: the settings in one variable,
and in another the process that started it. It ends when that process does, however that ended: a worker left behind
would share the port with the successor's.
"""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
from contextlib import suppress
from typing import Final

from entrepot.errors import EntrepotError
from entrepot.server.access_log import AccessLog
from entrepot.server.app import assemble
from entrepot.server.asgi import Application, Receive, Scope, Send
from entrepot.server.config import Settings
from entrepot.server.log import Log
from entrepot.server.metrics import Metrics
from entrepot.server.parent import follow
from entrepot.storage.registry import Registry

__all__ = ["PARENT_VARIABLE", "SETTINGS_VARIABLE", "Worker", "create"]

SETTINGS_VARIABLE: Final = "ENTREPOT_WORKER_SETTINGS"
PARENT_VARIABLE: Final = "ENTREPOT_WORKER_PARENT"

_METRICS_SECONDS: Final = 1.0
_UPKEEP_SECONDS: Final = 60.0
_COLLECTOR_THRESHOLDS: Final = (20_000, 20, 50)


def create() -> Worker:
    """Return the application, with the settings that the environment has for it."""
    parent = os.environ.get(PARENT_VARIABLE)
    return Worker(Settings.from_json(os.environ[SETTINGS_VARIABLE]), parent=int(parent) if parent else None)


class Worker:
    """The application and all that lives as long as it does: the storage, upkeep, metrics, logs.

    Args:
        settings: Those of the registry.
        parent: The process whose end is ours; None to live on.
    """

    def __init__(self, settings: Settings, *, parent: int | None = None) -> None:
        self._settings = settings
        self._parent = parent
        self._log = Log(settings.log.level)
        self._metrics = Metrics()
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._app: Application | None = None
        if parent is not None:
            follow(parent, serving=lambda: self._app is not None, drain_seconds=settings.server.drain_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or live through a lifespan (ASGI, "Lifespan Protocol")."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            assert self._app is not None, "the runner has no lifespan support"
            await self._app(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            registry = await Registry.open(self._settings.for_storage())
        except (EntrepotError, OSError) as error:
            self._log.error("a worker could not start", error=str(error))
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        access_log = AccessLog() if self._settings.log.access else None
        self._app = assemble(
            self._settings,
            registry,
            metrics=self._metrics,
            log=self._log,
            access_log=access_log,
            worker=self._name,
        )
        tasks = [asyncio.create_task(self._report(registry)), asyncio.create_task(self._maintain(registry))]
        self._calm_collector()
        await send({"type": "lifespan.startup.complete"})
        try:
            await receive()
        finally:
            await _stop(tasks)
            if access_log is not None:
                access_log.close()
            await registry.close()
        await send({"type": "lifespan.shutdown.complete"})

    def _calm_collector(self) -> None:
        """Keep Python's collector of cycles from looking through all modules again and again.

        What is loaded by now lives as long as the process, and a request makes no cycles. Measured: 7 to 14 % more
        manifests per second.
        """
        if self._parent is None:
            return  # somebody else's process
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_COLLECTOR_THRESHOLDS)

    async def _report(self, registry: Registry) -> None:
        """Put this worker's counts where the others find them, every second."""
        while True:
            try:
                registry.scratch.put_metrics(self._name, self._metrics.snapshot())
            except Exception as error:  # the scratch store may be lost at any time, and the registry goes on
                self._log.warning("metrics could not be shared", error=repr(error))
            await asyncio.sleep(_METRICS_SECONDS)

    async def _maintain(self, registry: Registry) -> None:
        """Keep the storage tidy, a round a minute."""
        while True:
            await asyncio.sleep(_UPKEEP_SECONDS)
            try:
                await registry.maintain()
            except Exception as error:  # the next round may succeed, and requests do not depend on it
                self._log.error("upkeep failed", error=repr(error), exc_info=error)


async def _stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task
