"""`entrepot build`: an image from directories and tars, onto nothing."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from entrepot.cli.arguments import one_platform
from entrepot.cli.options import Options

if TYPE_CHECKING:
    from entrepot.cli.output import Output
    from entrepot.client import Client
    from entrepot.images.layers import Layer

__all__ = ["build"]


def build(
    options: Options,
    *,
    tag: Annotated[str, typer.Option("--tag", "-t", metavar="NAME", help="What the image is to be called.")],
    layer: Annotated[
        list[Path] | None,
        typer.Option(
            "--layer", metavar="DIR|TAR", help="A layer, the lowest first; a directory's content or a tar."
        ),
    ] = None,
    platform: Annotated[
        str | None, typer.Option("--platform", metavar="P", help="What it runs on.  [default: this machine]")
    ] = None,
    entrypoint: Annotated[
        list[str] | None,
        typer.Option("--entrypoint", metavar="WORD", help="A word of the entrypoint; repeat it."),
    ] = None,
    cmd: Annotated[
        list[str] | None,
        typer.Option("--cmd", metavar="WORD", help="A word of the default command; repeat it."),
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", metavar="NAME=VALUE", help="May be repeated.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="NAME=VALUE", help="May be repeated.")
    ] = None,
    workdir: Annotated[str | None, typer.Option("--workdir", metavar="DIR", help="Where it starts.")] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="As whom it runs.")] = None,
) -> None:
    """Assemble an image from directories and tars.

    The same input gives the same digest: names are sorted, owners are 0, times are SOURCE_DATE_EPOCH or 0.
    Prints NAME@DIGEST.
    """
    wanted = one_platform(platform)
    epoch = _epoch()
    labels = dict(_pair(text, "--label") for text in label or ())
    environment = tuple("=".join(_pair(text, "--env")) for text in env or ())
    from entrepot.cli.session import run
    from entrepot.oci import Platform, Process

    process = Process(
        user=user,
        env=environment or None,
        entrypoint=tuple(entrypoint) if entrypoint else None,
        cmd=tuple(cmd) if cmd else None,
        working_dir=workdir,
        labels=labels or None,
    )

    async def body(client: Client, output: Output) -> None:
        from entrepot.images.build import Recipe

        with tempfile.TemporaryDirectory(prefix="entrepot-build-") as scratch:
            layers = [
                _pack(path, Path(scratch) / str(number), epoch) for number, path in enumerate(layer or ())
            ]
            recipe = Recipe(wanted or Platform.of_this_machine(), layers, process, epoch)
            name, descriptor = await client.build(tag, [recipe])
        document = {
            "name": name,
            "digest": descriptor.digest,
            "media_type": descriptor.media_type,
            "size": descriptor.size,
        }
        output.result(document, [f"{name}@{descriptor.digest}"])

    run(options, body)


def _pack(path: Path, target: Path, epoch: int) -> Layer:
    from entrepot.images.layers import pack, recompress, tree

    created_by = f"entrepot build --layer {path.name}"
    if path.is_dir():
        return pack(tree(path), target, epoch=epoch, created_by=created_by)
    return recompress(path, target, created_by=created_by)


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"{option} wants NAME=VALUE: {text!r}")
    return name, value


def _epoch() -> int:
    """Return the time that everything is stamped with (https://reproducible-builds.org/specs/source-date-epoch/)."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise typer.BadParameter(f"SOURCE_DATE_EPOCH is not a number of seconds: {text!r}")
    return int(text)
