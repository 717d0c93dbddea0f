"""The composition root of the client's commands: a `Client` made of the options, and its recorder's sinks."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

from entrepot.cli.options import Options
from entrepot.cli.output import Output
from entrepot.cli.progress import Lines, Progress
from entrepot.client import Client
from entrepot.copying import DEFAULT_JOBS
from entrepot.errors import StoreError
from entrepot.remote import RemoteOptions, UploadMode
from entrepot.text import printable
from entrepot.wire.exchange import Record
from entrepot.wire.record import Recorder, Sink

__all__ = ["remote_options", "run", "sinks", "trace"]


def run(options: Options, body: Callable[[Client, Output], Awaitable[None]]) -> None:
    """Run a command's body with a client, and close everything when it ends, however it ends."""
    output = Output(as_json=options.json, quiet=options.quiet)

    def warn(registry: str, text: str) -> None:
        output.note(f"warning: {registry} says: {printable(text)}")

    async def command(recorder: Recorder) -> None:
        async with Client(
            image_store=options.image_store,
            remote=remote_options(options),
            recorder=recorder,
            jobs=options.jobs or DEFAULT_JOBS,
            on_warning=warn,
        ) as client:
            await body(client, output)

    with ExitStack() as stack:
        asyncio.run(command(Recorder(sinks(options, output, stack))))


def sinks(options: Options, output: Output, stack: ExitStack) -> list[Sink]:
    """Return who is told about the conversation; files are closed with the stack.

    Raises:
        StoreError: The trace cannot be written; nothing has been sent yet.
    """
    found: list[Sink] = []
    if options.debug:
        found.append(Lines(sys.stderr, colour=sys.stderr.isatty() and not os.environ.get("NO_COLOR")))
    elif not options.quiet:
        found.append(Progress(output))
    if options.trace is not None:
        found.append(trace(options.trace, output, stack))
    return found


def trace(path: Path, output: Output, stack: ExitStack) -> Sink:
    """Return a sink that writes a trace. A disk that gets full costs the trace, not the transfer, and is told once.

    Raises:
        StoreError: The file cannot be made.
    """
    from entrepot.wire.jsonl import JsonLinesFile

    file: JsonLinesFile | None = stack.enter_context(JsonLinesFile(path))

    def write(record: Record) -> None:
        nonlocal file
        if file is None:
            return
        try:
            file(record)
        except StoreError as error:
            file = None
            output.warning(f"{error.message}; what follows is missing from it")

    return write


def remote_options(options: Options) -> RemoteOptions:
    """Return how registries are reached; a chunk size without `--upload` means chunks."""
    defaults = RemoteOptions()
    upload = options.upload or ("chunks" if options.chunk_size else defaults.upload)
    return RemoteOptions(
        plain_http=options.plain_http,
        insecure=options.insecure,
        cacert=options.cacert,
        upload=UploadMode(upload),
        chunk_bytes=options.chunk_size or defaults.chunk_bytes,
    )
