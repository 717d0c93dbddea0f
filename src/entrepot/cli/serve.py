"""`entrepot serve` and `entrepot config`: a registry's settings from options, file and environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from entrepot.cli.options import Options
from entrepot.cli.output import Output

__all__ = ["check", "serve"]

_Config = Annotated[Path | None, typer.Option("--config", "-c", metavar="FILE", help="Settings (TOML).")]


def serve(
    options: Options,
    *,
    root: Annotated[
        Path | None, typer.Option("--root", metavar="DIR", help="Where everything is kept.")
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="HOST:PORT", help="Where to listen.  [default: 127.0.0.1:5000]"),
    ] = None,
    config: _Config = None,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", min=1, help="Worker processes.")
    ] = None,
) -> None:
    """Run a registry.

    Without a configuration file it listens on this machine alone and keeps everything in ./entrepot-data.
    """
    from entrepot.server.config import load
    from entrepot.server.main import serve as serve_registry

    given = {"storage.root": str(root) if root else None, "http.listen": listen, "server.workers": workers}
    overrides = {key: value for key, value in given.items() if value is not None}
    raise typer.Exit(serve_registry(load(config, os.environ, overrides=overrides)))


def check(options: Options, *, config: _Config = None) -> None:
    """Read the settings, from the file and the environment, and report every problem."""
    from entrepot.server.config import load

    load(config, os.environ, overrides={})
    Output(as_json=options.json, quiet=options.quiet).result({"ok": True}, ["the configuration is usable"])
