"""The command line's entry point.

Importing a verb's module and declaring its options to typer costs a few milliseconds each. So only verbs that
stand on the command line are loaded; for the others, of which `--help` prints one line, the table below is
enough.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from entrepot import __version__
from entrepot.cli.options import before_the_verb, verb

__all__ = ["VERBS", "assemble", "main"]


@dataclass(frozen=True, slots=True)
class Verb:
    """Where a verb is.

    Attributes:
        module: The module of this package that has a function of the verb's name.
        summary: The first line of that function's docstring.
        below: For a group, the verbs below it; the functions are then theirs.
    """

    module: str
    summary: str
    below: tuple[str, ...] = ()


VERBS: Final[dict[str, Verb]] = {
    "serve": Verb("serve", "Run a registry."),
    "demo": Verb("demo", "Send an image to a throw-away registry and back, and watch."),
    "config": Verb("serve", "Look at the registry's configuration.", below=("check",)),
    "pull": Verb("transfer", "Fetch images into the image store."),
    "push": Verb("transfer", "Send an image from the image store to a registry."),
    "copy": Verb("transfer", "Copy an image from one place to another."),
    "images": Verb("listing", "List the image store."),
    "inspect": Verb("inspecting", "Show what an image is made of."),
    "digest": Verb("reading", "Print the digest that a reference stands for."),
    "manifest": Verb("reading", "Read manifests and configs.", below=("get", "config")),
    "blob": Verb("blob", "Read blobs.", below=("get",)),
    "tags": Verb("listing", "List the tags of a repository."),
    "repos": Verb("listing", "List the repositories of a registry."),
    "delete": Verb("delete", "Delete a tag or a manifest."),
    "build": Verb("build", "Assemble an image from directories and tars."),
}


def main() -> None:
    """Run the command line and end the program."""
    arguments = sys.argv[1:]
    try:
        assemble(arguments)(args=arguments, prog_name="entrepot")
    except KeyboardInterrupt:
        sys.exit(130)


def assemble(arguments: Collection[str]) -> typer.Typer:
    """Return the application, in which the verbs that are among the arguments can be run."""
    app = _new(_entrepot)
    for name, what in VERBS.items():
        if name not in arguments:
            app.command(name, help=what.summary)(_not_loaded)
        elif what.below:
            group = _new(_below(what))
            for below in what.below:
                group.command(below)(verb(_function(what.module, below)))
            app.add_typer(group, name=name)
        else:
            app.command(name)(verb(_function(what.module, name)))
    return app


def _new(callback: Callable[..., None]) -> typer.Typer:
    app = typer.Typer(
        no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
    )
    app.callback()(before_the_verb(callback))
    return app


def _print_version(asked: bool) -> None:  # noqa: FBT001 - typer's
    if asked:
        print(f"entrepot {__version__}")  # noqa: T201 - data
        raise typer.Exit


def _entrepot(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Entrepot: an OCI container registry and client that you can see through."""


def _below(what: Verb) -> Callable[..., None]:
    def group() -> None:
        """Nothing of its own: the options before the verb are all it takes."""

    group.__doc__ = what.summary
    return group


def _function(module: str, name: str) -> Callable[..., None]:
    function: Callable[..., None] = getattr(importlib.import_module(f"entrepot.cli.{module}"), name)
    return function


def _not_loaded() -> None:
    """Stand for a verb that is not on the command line, and so is not run."""
    raise AssertionError("a verb that runs is on the command line")
