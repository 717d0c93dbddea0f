"""Kills at chosen places: SIGKILL as a worker enters the n-th of its system calls that can matter.

strace delivers the signal. It counts for each thread apart, so a boundary is named by the part that a thread plays,
the call, and how many of these the thread has entered since the push began.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import ProcessError, poll
from bench.programs import program

__all__ = ["Boundary", "Trace", "boundaries_of", "read_trace", "traced"]

CALLS = (
    "openat",
    "pwrite64",
    "ftruncate",
    "fsync",
    "fdatasync",
    "rename",
    "link",
    "unlink",
    "mkdir",
    "writev",
)
"""What changes files or makes them durable, and what sends an answer. Threads that wake each other are left out."""

_SECONDS_TO_ATTACH = 10
_LINE = re.compile(r"^(\d+) +(\w+)\(")


@dataclass(frozen=True, slots=True)
class Boundary:
    """One place: the part of a thread, the call, and the how manieth of them, from one."""

    part: str
    call: str
    number: int

    def __str__(self) -> str:
        return f"{self.part} {self.call} {self.number}"


@dataclass(frozen=True, slots=True)
class Trace:
    """The calls that each thread of a worker has entered.

    Attributes:
        worker: The process, whose first thread runs the event loop.
        calls: How many, by thread and call.
    """

    worker: int
    calls: Counter[tuple[int, str]]

    def parts(self) -> dict[str, list[int]]:
        """Return which threads play which part: the event loop, the catalog's writer, and all others."""
        threads = {thread for thread, _ in self.calls}
        writers = sorted({thread for thread, call in self.calls if call == "fdatasync"})
        others = sorted(threads - set(writers) - {self.worker})
        return {"loop": [self.worker], "catalog": writers, "others": others}


def boundaries_of(trace: Trace) -> list[Boundary]:
    """Return every boundary that a trace has seen."""
    found = []
    for part, threads in trace.parts().items():
        for call in CALLS:
            most = max((trace.calls[thread, call] for thread in threads), default=0)
            found += [Boundary(part, call, number) for number in range(1, most + 1)]
    return found


@contextmanager
def traced(
    worker: int, log: Path, *, threads: Sequence[int] | None = None, boundary: Boundary | None = None
) -> Iterator[None]:
    """Trace a worker's threads within the block, all or those given, and kill it at a boundary if one is given."""
    command = [program("strace"), "-f", "-qq", "-o", str(log), "-e", f"trace={','.join(CALLS)}"]
    if boundary is not None:
        command += ["-e", f"inject={boundary.call}:signal=SIGKILL:when={boundary.number}"]
    if threads is not None:
        command.remove("-f")  # it would take every thread
    wanted = _threads(worker) if threads is None else list(threads)
    for thread in [worker] if threads is None else wanted:
        command += ["-p", str(thread)]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        if not poll(lambda: _all_traced(worker, wanted), seconds=_SECONDS_TO_ATTACH):
            raise ProcessError(f"{' '.join(command)} does not attach to process {worker}")
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()


def read_trace(worker: int, log: Path) -> Trace:
    """Return what was traced."""
    calls: Counter[tuple[int, str]] = Counter()
    for line in log.read_text(errors="replace").splitlines():
        if matched := _LINE.match(line):
            calls[int(matched[1]), matched[2]] += 1
    return Trace(worker, calls)


def _threads(process: int) -> list[int]:
    return [int(path.name) for path in Path(f"/proc/{process}/task").iterdir()]


def _all_traced(process: int, threads: Iterable[int]) -> bool:
    return all(_is_traced(process, thread) for thread in threads)


def _is_traced(process: int, thread: int) -> bool:
    try:
        return "TracerPid:\t0\n" not in Path(f"/proc/{process}/task/{thread}/status").read_text()
    except OSError:  # it has ended
        return True
