"""`entrepot images`, `tags` and `repos`: what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from entrepot.cli.options import Options

if TYPE_CHECKING:
    from entrepot.cli.output import Output
    from entrepot.client import Client

__all__ = ["images", "repos", "tags"]


def images(options: Options) -> None:
    """List the image store."""
    from entrepot.cli.session import run

    async def body(client: Client, output: Output) -> None:
        from entrepot.cli.output import table
        from entrepot.text import size

        found = await client.images()
        rows = [
            (image.name, image.descriptor.digest.short, size(image.size), ", ".join(image.platforms))
            for image in found
        ]
        document = [
            {
                "name": image.name,
                "digest": image.descriptor.digest,
                "media_type": image.descriptor.media_type,
                "size": image.size,
                "platforms": image.platforms,
            }
            for image in found
        ]
        output.result(document, table([("NAME", "DIGEST", "SIZE", "PLATFORMS"), *rows]) if rows else [])

    run(options, body)


def tags(
    options: Options,
    repository: Annotated[str, typer.Argument(metavar="REPO", help="A repository, or oci:DIR.")],
) -> None:
    """List the tags of a repository.

    In byte order; of a layout, the names in it.
    """
    from entrepot.cli.session import run

    async def body(client: Client, output: Output) -> None:
        if options.json:
            output.result([name async for name in client.tags(repository)], [])
        else:
            # line by line: a repository may have a hundred thousand
            async for name in client.tags(repository):
                output.line(name)

    run(options, body)


def repos(
    options: Options,
    registry: Annotated[str, typer.Argument(metavar="HOST", help="A registry: HOST[:PORT].")],
) -> None:
    """List the repositories of a registry.

    Not every registry shows them.
    """
    from entrepot.cli.session import run

    async def body(client: Client, output: Output) -> None:
        if options.json:
            output.result([name async for name in client.repositories(registry)], [])
        else:
            async for name in client.repositories(registry):
                output.line(name)

    run(options, body)
