"""`entrepot blob get`: a blob's bytes, none of them shown before all are verified."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from entrepot.cli.options import Options

if TYPE_CHECKING:
    from entrepot.cli.output import Output
    from entrepot.client import Client

__all__ = ["get"]


def get(
    options: Options,
    reference: Annotated[str, typer.Argument(metavar="REPO@DIGEST", help="The blob.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write it.  [default: stdout]"),
    ] = None,
) -> None:
    """Write a blob to stdout or a file, byte for byte.

    It is kept in a temporary file until its digest has been verified.
    """
    from entrepot.cli.session import run

    async def body(client: Client, out: Output) -> None:
        if output is None:
            await client.blob(reference, out.raw)
        else:
            size = await client.save_blob(reference, output)
            out.note(f"{size} bytes written to {output}")

    run(options, body)
