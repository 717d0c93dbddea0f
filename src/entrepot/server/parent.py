"""A worker ends when the process that started it does: left behind, it would share the port with a successor's.

A thread waits for that. The kernel's own way (`PR_SET_PDEATHSIG`) sends one signal, and a worker that is just starting
may be between two owners of its handlers then: it was seen to stay for ever.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import Final

__all__ = ["follow"]

_AGAIN_SECONDS: Final = 1.0


def follow(parent: int, *, serving: Callable[[], bool], drain_seconds: float) -> None:
    """See to it that this process ends after its parent, whatever happens to that one.

    Args:
        parent: The process that has started this one.
        serving: Tells whether requests may be under way. If none can be, the end is at once; otherwise SIGTERM
            lets them finish.
        drain_seconds: How long they may take.
    """
    threading.Thread(
        target=_follow, args=(parent, serving, drain_seconds), name="parent", daemon=True
    ).start()


def _follow(parent: int, serving: Callable[[], bool], drain_seconds: float) -> None:
    _wait_for_end(parent)
    deadline = time.monotonic() + drain_seconds
    # again and again: a signal is lost on a process that has not set up its handlers
    while serving() and time.monotonic() < deadline:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_AGAIN_SECONDS)
    os._exit(1)


def _wait_for_end(parent: int) -> None:
    try:
        descriptor = os.pidfd_open(parent)
    except ProcessLookupError:
        return
    except OSError:
        # some sandboxes know no such call, or allow none
        while os.getppid() == parent:
            time.sleep(_AGAIN_SECONDS)
        return
    try:
        # opened too late, it may be somebody else's by that number
        if os.getppid() == parent:
            # not select.select: it takes no descriptor above 1023
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll()
    finally:
        os.close(descriptor)
