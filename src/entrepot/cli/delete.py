"""`entrepot delete`: a tag alone, or a manifest with every tag that points at it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from entrepot.cli.options import Options

if TYPE_CHECKING:
    from entrepot.cli.output import Output
    from entrepot.client import Client

__all__ = ["delete"]


def delete(
    options: Options,
    reference: Annotated[
        str, typer.Argument(metavar="REF", help="NAME:TAG or NAME@DIGEST; also in oci:DIR.")
    ],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a tag or a manifest.

    NAME:TAG deletes that tag and nothing else. NAME@DIGEST deletes the manifest and every tag that points at
    it; they are named first, and you are asked.
    """
    from entrepot.cli.session import run

    async def body(client: Client, output: Output) -> None:
        names = await client.names_of(reference) if "@" in reference else []
        if "@" in reference:
            listed = ", ".join(names) if names else "none"
            output.note(f"tags that go with it: {listed}")
            _agree(reference, yes=yes)
        await client.delete(reference)
        output.result({"deleted": reference, "tags": names}, [f"deleted {reference}"])

    run(options, body)


def _agree(reference: str, *, yes: bool) -> None:
    """Ask whether to go on; off a terminal nobody can be asked, so there it has to be said beforehand.

    Raises:
        typer.BadParameter: Nobody has agreed.
        typer.Exit: Somebody has refused.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise typer.BadParameter(f"nobody can be asked here, so --yes is needed to delete {reference}")
    if not typer.confirm("Delete it?", err=True):
        raise typer.Exit(1)
