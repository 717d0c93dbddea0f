"""`entrepot inspect`: an image as a tree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from entrepot.cli.arguments import Ref, one_platform
from entrepot.cli.options import Options
from entrepot.text import printable, size

if TYPE_CHECKING:
    from entrepot.cli.output import Output
    from entrepot.client import Client, Inspected
    from entrepot.client.inspection import Image

__all__ = ["inspect", "lines"]


def inspect(
    options: Options,
    reference: Ref,
    *,
    platform: Annotated[
        str | None, typer.Option("--platform", metavar="P", help="This image of an index.")
    ] = None,
) -> None:
    """Show what an image is made of.

    An index with its images, and of each image its config, layers and history.
    """
    wanted = one_platform(platform)
    from entrepot.cli.session import run

    async def body(client: Client, output: Output) -> None:
        from entrepot.oci import encode

        tree = await client.inspect(reference, platform=wanted)
        output.result(json.loads(encode(tree)), (printable(line) for line in lines(tree)))

    run(options, body)


def lines(node: Inspected, *, indent: str = "") -> Iterator[str]:
    """Yield the tree as lines."""
    title = " ".join(filter(None, (_kind(node), node.platform, node.artifact_type)))
    yield f"{indent}{title}  {node.digest}  {size(node.size)}{'  absent' if node.absent else ''}"
    inner = indent + "  "
    if node.subject is not None:
        yield f"{inner}subject  {node.subject.digest}"
    for key, value in sorted(node.annotations.items()):
        yield f"{inner}annotation  {key}={value}"
    if node.config is not None:
        yield f"{inner}config  {node.config.digest}  {size(node.config.size)}  {node.config.media_type}"
    for number, layer in enumerate(node.layers, 1):
        yield f"{inner}layer {number}  {layer.digest}  {size(layer.size)}  {layer.media_type}"
    if node.content_size is not None:
        yield f"{inner}in all  {size(node.content_size)}"
    if node.image is not None:
        yield from _image(node.image, inner)
    for child in node.manifests:
        yield from lines(child, indent=inner)


def _kind(node: Inspected) -> str:
    if node.manifests or "index" in node.media_type or "list" in node.media_type:
        return "index"
    return "image" if node.image is not None else "manifest"


def _image(image: Image, indent: str) -> Iterator[str]:
    for name, value in (
        ("created", image.created),
        ("author", image.author),
        ("entrypoint", json.dumps(image.entrypoint) if image.entrypoint else None),
        ("cmd", json.dumps(image.cmd) if image.cmd else None),
        ("user", image.user),
        ("workdir", image.workdir),
        ("ports", ", ".join(image.ports)),
        ("volumes", ", ".join(image.volumes)),
        ("stop signal", image.stop_signal),
    ):
        if value:
            yield f"{indent}{name}  {value}"
    for entry in image.env:
        yield f"{indent}env  {entry}"
    for key, value in sorted(image.labels.items()):
        yield f"{indent}label  {key}={value}"
    for step in image.history:
        empty = "  (no layer)" if step.empty_layer else ""
        yield f"{indent}history  {' '.join(filter(None, (step.created, step.created_by or step.comment)))}{empty}"
