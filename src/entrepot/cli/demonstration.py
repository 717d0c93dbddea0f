"""The steps of `entrepot demo`, each with a heading; the conversation in between draws itself."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from anyio import to_thread

from entrepot.cli.options import Options
from entrepot.cli.output import Output
from entrepot.cli.progress import Lines, Tally
from entrepot.cli.session import remote_options, trace
from entrepot.cli.throwaway import ThrowawayRegistry
from entrepot.client import Client, Pulled
from entrepot.images import itself
from entrepot.images.comparing import Member, differences, expected, found
from entrepot.images.itself import Part
from entrepot.images.layers import Layer, pack
from entrepot.oci.descriptor import Descriptor
from entrepot.remote import UploadMode
from entrepot.text import size
from entrepot.wire.exchange import Action
from entrepot.wire.record import Recorder, Sink

__all__ = ["Demonstration"]

_NAME: Final = "demo/entrepot:latest"
_CHUNK_BYTES: Final = 4 << 20
_MOST_PROBLEMS: Final = 10


@dataclass(slots=True)
class _Findings:
    """What has been looked at, and what was wrong with it."""

    digests: int = 0
    files: int = 0
    problems: list[str] = field(default_factory=list)


class Demonstration:
    """Assembles, pushes, pulls, verifies and compares. A context manager, since it may write a trace.

    Args:
        options: How to show it, and how to reach the registry.
        directory: Where layers and image stores go.
        registry: Where the image goes and comes back from.
    """

    def __init__(self, options: Options, directory: Path, registry: ThrowawayRegistry) -> None:
        self._options = options
        self._directory = directory
        self._registry = registry
        self._stream = sys.stderr if options.json else sys.stdout
        self._output = Output(as_json=options.json, quiet=options.quiet)
        self._tally = Tally()
        self._stack = ExitStack()
        self._recorder = Recorder()
        self._reference = f"{registry.host}/{_NAME}"
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        self._recorder = Recorder(self._sinks())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    async def run(self) -> bool:
        """Go through the steps and tell whether everything was as it should be."""
        self._heading("Assemble an image of Entrepot, and one for another platform that shares its layers")
        layers = await to_thread.run_sync(self._pack)
        wanted = [await to_thread.run_sync(expected, part.entries) for part, _ in layers]
        async with self._client("here") as client:
            _, root = await client.build(self._reference, itself.recipes(layers))
        self._heading(f"Push it to {self._registry.host}, one layer in chunks of {size(_CHUNK_BYTES)}")
        await self._push_in_chunks(
            max((layer for _, layer in layers), key=lambda layer: layer.descriptor.size)
        )
        async with self._client("here") as client:
            await client.push(self._reference)
        self._heading("Pull it into an empty image store")
        async with self._client("there") as client:
            pulled = await client.pull(self._reference, all_platforms=True)
        self._heading("Verify every digest and compare every file")
        findings = await to_thread.run_sync(self._examine, root, pulled, layers, wanted)
        self._conclude(pulled, findings)
        return not findings.problems

    def explain(self) -> None:
        """Say how to use the registry that goes on running, and how to end it."""
        host = self._registry.host
        self._output.result(
            {"host": host, "pid": self._registry.pid, "directory": str(self._directory)},
            [
                "",
                f"The registry goes on at http://{host}; everything is in {self._directory}. Try",
                f"    entrepot inspect {self._reference}",
                f"    entrepot pull {self._reference} --debug",
                f"    curl http://{host}/v2/demo/entrepot/tags/list",
                f"and stop it with    kill {self._registry.pid} && rm -r {self._directory}",
            ],
        )

    # -- steps

    def _pack(self) -> list[tuple[Part, Layer]]:
        target = self._directory / "layers"
        target.mkdir()
        return [
            (part, pack(part.entries, target / str(number), created_by=f"entrepot demo: {part.title}"))
            for number, part in enumerate(itself.parts())
        ]

    async def _push_in_chunks(self, layer: Layer) -> None:
        """Send one layer by PATCHes; the push that follows will find it there."""
        async with self._client("here", in_chunks=True) as client:
            await client.push_blob(self._reference, layer.descriptor)

    def _examine(
        self,
        root: Descriptor,
        pulled: Pulled,
        layers: Sequence[tuple[Part, Layer]],
        wanted: Sequence[dict[str, Member]],
    ) -> _Findings:
        findings = _Findings()
        if pulled.digest != root.digest:
            findings.problems.append(f"the root came back as another: {pulled.digest}")
        blobs = self._directory / "there" / "blobs"
        for path in sorted(blobs.glob("*/*")):
            findings.digests += 1
            if _digest_of(path, path.parent.name) != f"{path.parent.name}:{path.name}":
                findings.problems.append(f"the content is not what its name says: {path}")
        for (part, layer), members in zip(layers, wanted, strict=True):
            digest = layer.descriptor.digest
            had = found(blobs / digest.algorithm / digest.encoded)
            findings.files += len(had)
            findings.problems += [f"{part.title}: {problem}" for problem in differences(members, had)]
        return findings

    # -- telling

    def _client(self, store: str, *, in_chunks: bool = False) -> Client:
        remote = remote_options(self._options)
        if in_chunks:
            remote = replace(
                remote, upload=UploadMode.CHUNKS, chunk_bytes=self._options.chunk_size or _CHUNK_BYTES
            )
        # one transfer at a time, so that the conversation reads from top to bottom
        jobs = self._options.jobs or 1
        return Client(image_store=self._directory / store, remote=remote, recorder=self._recorder, jobs=jobs)

    def _sinks(self) -> list[Sink]:
        found: list[Sink] = [self._tally]
        if not self._options.quiet:
            colour = self._stream.isatty() and not os.environ.get("NO_COLOR")
            found.append(Lines(self._stream, colour=colour))
        if self._options.trace is not None:
            found.append(trace(self._options.trace, self._output, self._stack))
        return found

    def _heading(self, text: str) -> None:
        if not self._options.quiet:
            print(f"\n== {text}", file=self._stream, flush=True)

    def _conclude(self, pulled: Pulled, findings: _Findings) -> None:
        tally, seconds = self._tally, time.monotonic() - self._began
        actions = {
            action.value: tally.actions.get(action, 0) for action in Action if tally.actions.get(action)
        }
        document: dict[str, Any] = {
            "image": str(pulled),
            "exchanges": tally.exchanges,
            "bytes_sent": tally.sent,
            "bytes_received": tally.received,
            "decisions": actions,
            "digests_verified": findings.digests,
            "files_compared": findings.files,
            "problems": findings.problems,
            "seconds": round(seconds, 2),
        }
        fine = not findings.problems
        self._output.result(
            document,
            [
                "",
                f"== {'Everything came back as it went' if fine else 'Something is wrong'}",
                str(pulled),
                f"{tally.exchanges} exchanges in {seconds:.1f} s",
                f"{size(tally.sent)} sent, {size(tally.received)} received",
                f"content: {', '.join(f'{count} {action}' for action, count in actions.items())}",
                (
                    f"{findings.digests} digests verified, {findings.files} files compared: "
                    f"{'all the same' if fine else f'{len(findings.problems)} problems'}"
                ),
                *findings.problems[:_MOST_PROBLEMS],
            ],
        )


def _digest_of(path: Path, algorithm: str) -> str:
    import hashlib

    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"
