"""Arguments that several commands take, and how they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from entrepot.oci.platform import Platform

__all__ = ["Platforms", "Ref", "one_platform", "platforms"]

Platforms: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--platform", metavar="P", help="Such as linux/arm64; may be given several times."),
]
Ref: TypeAlias = Annotated[
    str, typer.Argument(metavar="REF", help="REF on a registry, oci:DIR[:NAME] or local:NAME.")
]


def platforms(texts: list[str] | None) -> tuple[Platform, ...] | None:
    """Read platforms; None when none was given.

    Raises:
        InvalidReference: One of them is none.
    """
    from entrepot.oci.platform import Platform

    return tuple(Platform.parse(text) for text in texts) if texts else None


def one_platform(text: str | None) -> Platform | None:
    """Read a platform; None when none was given."""
    read = platforms([text] if text is not None else None)
    return read[0] if read else None
