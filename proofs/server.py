"""Registries under proof: started, killed without warning, started again on what is left."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.processes import free_port, http_answers, poll, running
from bench.programs import ROOT, beside_python
from bench.servers import Server

from proofs.connection import Connection, Gone
from proofs.process import serving_process, tree

__all__ = ["WORKERS", "connections_to_each_worker", "kill", "registry", "root_of"]

WORKERS = 2
_SECONDS_TO_START = 30
_SECONDS_TO_DIE = 10
_CONNECTIONS_TRIED = 200
_LIKELY_ENOUGH = 8


def root_of(directory: Path) -> Path:
    """Return where the registry of this directory keeps everything."""
    return directory / "root"


@contextlib.contextmanager
def registry(directory: Path, *, wrong: str | None = None, workers: int = WORKERS) -> Iterator[Server]:
    """Run a registry on `DIRECTORY/root`, as its users start it, until the block ends or it is killed.

    Args:
        directory: Has the root and the log; what an earlier run left there is taken over.
        wrong: Which of `proofs.broken` to run in its place; None for the real one.
        workers: How many worker processes.
    """
    address, log = f"127.0.0.1:{free_port()}", directory / "server.log"
    program = [beside_python("entrepot"), "serve"]
    if wrong is not None:
        program = [sys.executable, "-m", "proofs.broken", wrong]
    command = [*program, "--root", str(root_of(directory)), "--listen", address, "--workers", str(workers)]
    with running(
        command,
        log=log,
        answers=lambda: http_answers(address),
        environment={"PYTHONPATH": str(ROOT), "ENTREPOT__LOG__ACCESS": "false"},
        directory=ROOT,
        seconds=_SECONDS_TO_START,
    ) as pid:
        yield Server(address, pid, log)


def kill(server: Server) -> None:
    """Kill every process of a registry at once, as a crash would, and wait until none of them runs."""
    processes = tree(server.pid)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    if not poll(lambda: not any(map(_runs, processes)), seconds=_SECONDS_TO_DIE):
        raise RuntimeError(f"processes that SIGKILL does not end: {[p for p in processes if _runs(p)]}")


def connections_to_each_worker(server: Server, *, workers: int = WORKERS) -> dict[int, Connection]:
    """Open connections until every worker process has one; by process. The caller closes them.

    The kernel spreads connections over the listening sockets by a hash of the ports, so a few tries are enough.
    """
    found: dict[int, Connection] = {}
    port = int(server.address.rsplit(":", 1)[1])
    for attempt in range(_CONNECTIONS_TRIED):
        connection = Connection(server.address)
        try:
            connection.request("GET", "/v2/")
            process = serving_process(server.pid, connection.port, port)
        except Gone:
            process = None
        if process is None or process in found:
            connection.close()
        else:
            found[process] = connection
        if len(found) == workers:
            return found
        if attempt > _LIKELY_ENOUGH:
            # the second worker may not listen yet
            poll(lambda: False, seconds=0.05)
    for connection in found.values():
        connection.close()
    raise RuntimeError(f"{len(found)} of {workers} workers take connections at {server.address}")


def _runs(pid: int) -> bool:
    """Whether a process is there and not merely waiting for its parent to notice its end."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}
