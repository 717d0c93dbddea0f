"""`entrepot digest`, `manifest get`, `manifest config`, `blob get`: bytes as they are stored."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from entrepot.cli.arguments import Ref, one_platform
from entrepot.cli.options import Options

if TYPE_CHECKING:
    from entrepot.cli.output import Output
    from entrepot.client import Client

__all__ = ["config", "digest", "get"]

_Pretty = Annotated[
    bool, typer.Option("--pretty", help="Indent it, for reading: the digest is then another.")
]
_Platform = Annotated[str | None, typer.Option("--platform", metavar="P", help="Of this image of an index.")]


def digest(options: Options, reference: Ref) -> None:
    """Print the digest that a reference stands for."""
    from entrepot.cli.session import run

    async def body(client: Client, output: Output) -> None:
        found = await client.digest(reference)
        document = {"digest": found.digest, "media_type": found.media_type, "size": found.size}
        output.result(document, [found.digest])

    run(options, body)


def get(options: Options, reference: Ref, *, platform: _Platform = None, pretty: _Pretty = False) -> None:
    """Write a manifest or index to stdout, byte for byte."""
    wanted = one_platform(platform)
    from entrepot.cli.session import run

    async def body(client: Client, output: Output) -> None:
        _write(output, (await client.manifest(reference, platform=wanted)).raw, pretty=pretty)

    run(options, body)


def config(options: Options, reference: Ref, *, platform: _Platform = None, pretty: _Pretty = False) -> None:
    """Write an image's config to stdout, byte for byte; of an index, this machine's unless a platform is named."""
    wanted = one_platform(platform)
    from entrepot.cli.session import run

    async def body(client: Client, output: Output) -> None:
        _write(output, await client.config(reference, platform=wanted), pretty=pretty)

    run(options, body)


def _write(output: Output, raw: bytes, *, pretty: bool) -> None:
    if pretty:
        raw = (json.dumps(json.loads(raw), indent=2, ensure_ascii=False) + "\n").encode()
    output.raw(raw)
