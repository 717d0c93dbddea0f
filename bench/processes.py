"""Start other programs, know when they answer, and end each by its process id.

Every process is the leader of its own group and dies with the process that started it, so that a
test run that is killed leaves nothing behind.
"""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bench.programs import program

TMPFS = Path("/dev/shm")
SETTINGS = ("ENTREPOT__", "OCI_")
SECONDS_TO_STOP = 20
LOG_LINES_SHOWN = 40


class ProcessError(Exception):
    """A program failed or did not answer; the message ends with what it printed."""


@contextlib.contextmanager
def scratch(name: str) -> Iterator[Path]:
    """Make a directory on tmpfs if there is one, and take it away at the end.

    The path is short: a UNIX socket's may have no more than 107 characters.
    """
    parent = TMPFS if os.access(TMPFS, os.W_OK) else None
    directory = Path(tempfile.mkdtemp(prefix=f"entrepot-{name}-", dir=parent))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def free_port() -> int:
    """Ask the kernel for a loopback port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def poll(probe: Callable[[], bool], *, seconds: float) -> bool:
    """Ask until the answer is yes or the time is up. The only place where we sleep."""
    deadline = time.monotonic() + seconds
    while not probe():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def http_answers(address: str, path: str = "/v2/") -> bool:
    """Whether a server at `host:port` answers a GET with a status below 500."""
    connection = http.client.HTTPConnection(address, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def inherited() -> dict[str, str]:
    """Copy our environment without settings of the registry or of the conformance suite: tests give those."""
    return {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    *,
    log: Path,
    answers: Callable[[], bool],
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    seconds: float = 20,
) -> Iterator[int]:
    """Run a server until the block ends: its process id, once it answers.

    What it prints goes to `log`. At the end it gets SIGTERM, and what is left of its process group
    after `SECONDS_TO_STOP` gets SIGKILL.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            [program("setpriv"), "--pdeathsig", "TERM", "--", *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**inherited(), **(environment or {})},
            cwd=directory,
            start_new_session=True,
        )
    try:
        poll(lambda: process.poll() is not None or answers(), seconds=seconds)
        if process.poll() is not None or not answers():
            raise ProcessError(f"{_words(command)} does not answer (status {process.poll()}):\n{tail(log)}")
        yield process.pid
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a group leader politely, then whatever of its group is left."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(SECONDS_TO_STOP)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def output_of(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    seconds: float = 120,
) -> str:
    """Run a program to its end: what it wrote to stdout, or an error with all that it wrote."""
    done = subprocess.run(
        [*map(str, command)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**inherited(), **(environment or {})},
        cwd=directory,
        timeout=seconds,
        check=False,
    )
    if done.returncode != 0:
        raise ProcessError(f"{_words(command)} failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    return done.stdout


def tail(log: Path) -> str:
    """Read the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:])


def _words(command: Sequence[str | Path]) -> str:
    return " ".join(map(str, command))
