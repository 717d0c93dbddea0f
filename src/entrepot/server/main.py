"""The process that `entrepot serve` is: it makes the root ready, holds the port, and runs the workers.

The workers are Granian's; what it does and does not do, and what follows from that, is in docs/adr. SIGTERM and SIGINT
end the registry: no new requests, those in flight may take `server.drain-seconds`.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from entrepot import __version__
from entrepot.server import ports
from entrepot.server.config import Settings
from entrepot.server.worker import PARENT_VARIABLE, SETTINGS_VARIABLE
from entrepot.storage.preparation import prepare

__all__ = ["serve"]

_BACKLOG: Final = 16_384
_READ_BYTES: Final = 192 * 1024
"""How much of a connection is read at a time. Uploads come in pieces of this size (64 KiB halved their rate); what a
reader has not taken may wait in as much (408 KiB cost each stalled one a mebibyte in all); and no
request may have a longer head: more is refused with 431 before we see it."""
_RESPAWN_SECONDS: Final = 0.5
_SPARE_DESCRIPTORS: Final = 256
"""Beside the connections: databases, logs, what libraries hold."""
_DESCRIPTORS_PER_CONNECTION: Final = 2
"""The connection, and the blob that is sent or received over it."""
_FEW_CONNECTIONS: Final = 1_024
"""Fewer than this may be too few for a registry, and somebody should know."""


def serve(settings: Settings) -> int:
    """Run the registry until it is told to stop, and return the exit code.

    Raises:
        ConfigError: The address cannot be used.
        StoreError: The address or the root is in use, or the root cannot be used.
    """
    with ports.hold(*settings.address) as address, prepare(settings.for_storage()) as _:
        connections = _connections(settings.http.max_connections)
        _announce(settings, address)
        with _worker_environment(settings), _no_main_module():
            return _run(settings, address, connections)


def _announce(settings: Settings, address: ports.Address) -> None:
    who = "push and pull" if settings.anonymous_may_push else "pull"
    sys.stderr.write(
        f"Entrepot {__version__} serves {settings.for_storage().root} at {address.url}\n"
        f"Everybody who can reach it may {who}. Stop it with Ctrl-C.\n"
    )
    sys.stderr.flush()


def _run(settings: Settings, address: ports.Address, connections: int) -> int:
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces, Loops
    from granian.http import HTTP1Settings
    from granian.log import LogLevels

    multiprocessing.set_start_method("spawn", force=True)
    runner = Granian(
        "entrepot.server.worker:create",
        factory=True,
        address=address.host,
        port=address.port,
        interface=Interfaces.ASGI,
        workers=settings.server.workers,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        backlog=_BACKLOG,
        backpressure=connections,
        http1_settings=HTTP1Settings(
            header_read_timeout=settings.http.header_timeout_seconds * 1_000,
            max_buffer_size=_READ_BYTES,
        ),
        respawn_failed_workers=True,
        respawn_interval=_RESPAWN_SECONDS,
        workers_kill_timeout=settings.server.drain_seconds,
        log_dictconfig=_runner_log(),
        log_level=LogLevels.warning,
    )
    try:
        runner.serve()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


def _runner_log() -> dict[str, Any]:
    """Return where the runner's own messages go: to standard error, since standard output is for the access log."""
    handler = {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "formatter": "generic"}
    return {"handlers": {"console": handler, "access": handler}}


def _connections(wanted: int) -> int:
    """Allow this process and its workers as many open files as `wanted` connections need, or as many as we may.

    Returns:
        How many connections that is enough for.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _DESCRIPTORS_PER_CONNECTION * wanted + _SPARE_DESCRIPTORS
    limit = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    possible = min(wanted, (limit - _SPARE_DESCRIPTORS) // _DESCRIPTORS_PER_CONNECTION)
    if possible < min(wanted, _FEW_CONNECTIONS):
        sys.stderr.write(
            f"warning: a process may have {hard} files open, enough for {possible} connections: "
            "raise the limit (ulimit -Hn)\n"
        )
    return max(possible, 1)


@contextmanager
def _worker_environment(settings: Settings) -> Iterator[None]:
    """Put what workers need to know into the environment that they are given."""
    os.environ[SETTINGS_VARIABLE] = settings.to_json()
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    try:
        yield
    finally:
        del os.environ[SETTINGS_VARIABLE], os.environ[PARENT_VARIABLE]


@contextmanager
def _no_main_module() -> Iterator[None]:
    """Keep spawned workers from running the main script again, as multiprocessing has them do: they need nothing of it.

    It would cost each the import of the whole command line, and a script without the usual guard would serve again.
    """
    attributes: dict[str, Any] = vars(sys.modules["__main__"])
    kept: dict[str, Any] = {
        name: attributes.pop(name) for name in ("__file__", "__spec__") if name in attributes
    }
    attributes["__spec__"] = None
    try:
        yield
    finally:
        attributes.update(kept)
