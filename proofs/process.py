"""What a server's processes cost, read from /proc: memory, bytes read, and who serves which connection."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.processes import ProcessError
from bench.programs import ROOT

__all__ = [
    "MemoryWatch",
    "bytes_read",
    "bytes_written",
    "command_memory",
    "idle_memory",
    "proportional_memory",
    "serving_process",
    "tree",
    "wait_until_steady",
]

_SAMPLE_SECONDS = 0.02
_IDLE_SECONDS = 1.0


def tree(pid: int) -> list[int]:
    """Return a process and everything below it that lives now."""
    found, waiting = [], [pid]
    while waiting:
        process = waiting.pop()
        found.append(process)
        with suppress(OSError):
            for children in Path(f"/proc/{process}/task").glob("*/children"):
                waiting += map(int, children.read_text().split())
    return found


def proportional_memory(pid: int) -> int:
    """Return the bytes of memory that a process tree uses, a page shared by n processes counted as an nth (PSS)."""
    return sum(_field(process, "smaps_rollup", "Pss:") * 1024 for process in tree(pid))


def bytes_read(pid: int) -> int:
    """Return how many bytes a process tree has asked the kernel for by read and its kin, page cache or not."""
    return sum(_field(process, "io", "rchar:") for process in tree(pid))


def bytes_written(pid: int) -> dict[int, int]:
    """Return how many bytes each process of a tree has written by write and its kin."""
    return {process: _field(process, "io", "wchar:") for process in tree(pid)}


def _field(pid: int, file: str, name: str) -> int:
    """Return a number from a file of /proc, 0 if the process has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1])
    return 0


class MemoryWatch:
    """Samples a process tree's memory in a thread, within its context.

    Attributes:
        peak: The highest sample, in bytes.
        count: How many samples were taken.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory-watch")
        self.peak = 0
        self.count = 0

    def __enter__(self) -> Self:
        self.sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def sample(self) -> None:
        """Take one sample."""
        self.peak = max(self.peak, proportional_memory(self._pid))
        self.count += 1

    def wait(self, seconds: float) -> None:
        """Let samples be taken."""
        self._ended.wait(seconds)

    def _run(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            self.sample()


def idle_memory(pid: int) -> int:
    """Return the peak of a second in which nothing is asked of the processes."""
    with MemoryWatch(pid) as watch:
        watch.wait(_IDLE_SECONDS)
    return watch.peak


def command_memory(command: Sequence[str]) -> int:
    """Run a command to its end; the peak of its processes' memory.

    Raises:
        ProcessError: It failed.
    """
    with (
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
        ) as process,
        MemoryWatch(process.pid) as watch,
    ):
        output, _ = process.communicate()
    if process.returncode != 0:
        raise ProcessError(f"{' '.join(command)} failed ({process.returncode}):\n{output}")
    return watch.peak


def wait_until_steady(
    figure: Callable[[], int], *, tolerance: int, quiet_seconds: float, seconds: float
) -> None:
    """Wait until a figure has not risen by more than `tolerance` for a while, or the time is up."""
    now = time.monotonic()
    deadline, since, highest = now + seconds, now, figure()
    while now - since < quiet_seconds and now < deadline:
        time.sleep(0.1)
        now, latest = time.monotonic(), figure()
        if latest > highest + tolerance:
            since, highest = now, latest


def serving_process(pid: int, client_port: int, server_port: int) -> int | None:
    """Return which process of a tree has the server's end of a connection; None before one has accepted it."""
    inode = _inode(client_port, server_port)
    if inode is None:
        return None
    return next((process for process in tree(pid) if f"socket:[{inode}]" in _open_files(process)), None)


def _inode(client_port: int, server_port: int) -> str | None:
    """Return the inode of a loopback connection's server end (see `Documentation/networking/proc_net_tcp.rst`)."""
    wanted = (f"0100007F:{server_port:04X}", f"0100007F:{client_port:04X}")
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if (fields[1], fields[2]) == wanted and fields[9] != "0":
            return fields[9]
    return None


def _open_files(pid: int) -> Iterator[str]:
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                yield str(descriptor.readlink())
