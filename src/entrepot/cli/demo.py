"""`entrepot demo`: an image of Entrepot itself goes to a throw-away registry and back, step by step.

The steps are the client's own; what is shown of them is what `--debug` shows, by the same renderer.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from entrepot.cli.options import Options

__all__ = ["demo"]

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - what is made there has a name that nobody knows


def demo(
    options: Options,
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the registry running, and say how to use it.")
    ] = False,
) -> None:
    """Send an image to a throw-away registry and back, and watch.

    Assembles an image of Entrepot and its Python, with a second platform that shares its layers; pushes it, one
    layer in chunks; pulls it into an empty image store; verifies every digest and compares every file.
    """
    from entrepot.cli.demonstration import Demonstration
    from entrepot.cli.throwaway import ThrowawayRegistry

    with ExitStack() as stack:
        directory = stack.enter_context(_directory(keep=keep))
        registry = stack.enter_context(ThrowawayRegistry(directory / "registry", keep=keep))
        demonstration = stack.enter_context(Demonstration(options, directory, registry))
        fine = asyncio.run(demonstration.run())
        if keep:
            demonstration.explain()
    raise typer.Exit(0 if fine else 1)


@contextmanager
def _directory(*, keep: bool) -> Iterator[Path]:
    """Give a directory for everything, in memory where that can be had, and remove it unless it is kept."""
    parent = _MEMORY if _MEMORY.is_dir() else None
    if keep:
        yield Path(tempfile.mkdtemp(prefix="entrepot-demo-", dir=parent))
    else:
        with tempfile.TemporaryDirectory(prefix="entrepot-demo-", dir=parent) as directory:
            yield Path(directory)
