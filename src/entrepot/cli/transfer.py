"""`entrepot pull`, `push` and `copy`: images on their way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from entrepot.cli.arguments import Platforms, one_platform, platforms
from entrepot.cli.options import Options

if TYPE_CHECKING:
    from entrepot.cli.output import Output
    from entrepot.client import Client, Pulled

__all__ = ["copy", "pull", "push"]

_Referrers = Annotated[
    bool, typer.Option("--referrers", help="Also signatures and whatever else refers to it.")
]


def pull(
    options: Options,
    references: Annotated[list[str], typer.Argument(metavar="REF…", help="Images on registries.")],
    *,
    platform: Platforms = None,
    all_platforms: Annotated[bool, typer.Option("--all-platforms", help="Every image of an index.")] = False,
    referrers: _Referrers = False,
) -> None:
    """Fetch images into the image store.

    Of an index it takes the image for this machine, unless platforms are named. Prints NAME@DIGEST.
    """
    wanted = platforms(platform)
    if wanted and all_platforms:
        raise typer.BadParameter("--platform and --all-platforms contradict each other")
    from entrepot.cli.session import run

    async def body(client: Client, output: Output) -> None:
        pulled = [
            await client.pull(reference, platforms=wanted, all_platforms=all_platforms, referrers=referrers)
            for reference in references
        ]
        output.result([_document(one) for one in pulled], map(str, pulled))

    run(options, body)


def push(
    options: Options,
    reference: Annotated[str, typer.Argument(metavar="REF", help="An image of the image store.")],
    target: Annotated[
        str | None, typer.Argument(metavar="TARGET", help="What it is to be called there.  [default: REF]")
    ] = None,
    *,
    platform: Annotated[
        str | None,
        typer.Option("--platform", metavar="P", help="Send this image of an index, not the index."),
    ] = None,
    referrers: _Referrers = False,
) -> None:
    """Send an image from the image store to a registry.

    Prints NAME@DIGEST.
    """
    wanted = one_platform(platform)
    from entrepot.cli.session import run

    async def body(client: Client, output: Output) -> None:
        pushed = await client.push(reference, target, platform=wanted, referrers=referrers)
        output.result(_document(pushed), [str(pushed)])

    run(options, body)


def copy(
    options: Options,
    source: Annotated[str, typer.Argument(metavar="SRC", help="REF, oci:DIR[:NAME] or local:NAME.")],
    destination: Annotated[str, typer.Argument(metavar="DST", help="The same, where it is to go.")],
    *,
    platform: Platforms = None,
    referrers: _Referrers = False,
) -> None:
    """Copy an image from one place to another.

    Byte for byte: the digest stays what it is. With platforms an index is copied with only their images.
    Prints NAME@DIGEST.
    """
    wanted = platforms(platform)
    from entrepot.cli.session import run

    async def body(client: Client, output: Output) -> None:
        copied = await client.copy(source, destination, platforms=wanted, referrers=referrers)
        output.result(_document(copied), [str(copied)])

    run(options, body)


def _document(pulled: Pulled) -> dict[str, Any]:
    result = pulled.result
    return {
        "name": pulled.name,
        "digest": pulled.digest,
        "media_type": result.descriptor.media_type,
        "size": result.descriptor.size,
        "moved_bytes": result.moved_bytes,
        "counts": {action.value: count for action, count in sorted(result.counts.items())},
        "referrers": [referrer.digest for referrer in result.referrers],
    }
