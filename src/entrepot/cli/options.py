"""The options that every command takes, before its verb or after it.

Typer builds a command from a function's signature, so `verb` adds these options to it and hands the function
what was given as its first argument, an `Options`. What stands after the verb wins.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from entrepot.cli import failures

__all__ = ["JSON_HELP", "Options", "before_the_verb", "parse_size", "verb"]

JSON_HELP: Final = "Write JSON to stdout, for programs."
_UNITS: Final = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
_SIZE: Final = re.compile(r"([0-9]{1,12})\s*(k|m|g|ki|mi|gi)?b?", re.IGNORECASE)
_STORE_VARIABLE: Final = "ENTREPOT_STORE"
_TRACE_SUFFIX: Final = ".jsonl"


def parse_size(text: str) -> int:
    """Read a number of bytes: `1048576`, `5MB`, `16MiB`.

    Raises:
        typer.BadParameter: It is none, or 0.
    """
    matched = _SIZE.fullmatch(text.strip())
    size = int(matched[1]) * _UNITS[(matched[2] or "").lower()] if matched else 0
    if size < 1:
        raise typer.BadParameter(f"not a size, such as 16MiB: {text!r}")
    return size


def _parse_trace(text: str) -> Path:
    path = Path(text)
    if path.suffix != _TRACE_SUFFIX:
        raise typer.BadParameter(f"a trace is lines of JSON, in a file named …{_TRACE_SUFFIX}: {text!r}")
    return path


def _parse_upload(text: str) -> str:
    # the names of remote.UploadMode, which costs too much to import before it is known that we need it
    if text not in {"put", "single", "chunks"}:
        raise typer.BadParameter(f"not one of put, single, chunks: {text!r}")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was given for the options that every command takes.

    Attributes:
        debug: Show the conversation with registries on stderr.
        trace: Where to write it.
        plain_http: Speak http.
        insecure: Do not verify certificates.
        cacert: Certificates that are trusted besides the system's.
        quiet: No progress, no notes.
        json: Data on stdout as JSON, errors on stderr too.
        jobs: How many transfers at a time; None for the default.
        store: Where the image store is; None for the default.
        upload: How blobs are pushed; None for the default.
        chunk_size: Bytes of a chunk, when blobs are pushed in chunks.
    """

    debug: bool = False
    trace: Path | None = None
    plain_http: bool = False
    insecure: bool = False
    cacert: Path | None = None
    quiet: bool = False
    json: bool = False
    jobs: int | None = None
    store: Path | None = None
    upload: str | None = None
    chunk_size: int | None = None

    @property
    def image_store(self) -> Path:
        """Return where the image store is."""
        if self.store is not None:
            return self.store
        if os.environ.get(_STORE_VARIABLE):
            return Path(os.environ[_STORE_VARIABLE])
        data = os.environ.get("XDG_DATA_HOME") or Path("~/.local/share").expanduser()
        return Path(data) / "entrepot" / "images"


_DECLARED: Final[dict[str, Any]] = {
    "debug": Annotated[bool | None, typer.Option("--debug", help="Show each exchange on stderr.")],
    "trace": Annotated[
        Path | None,
        typer.Option(
            "--trace", parser=_parse_trace, metavar="FILE.jsonl", help="Write each exchange to a file."
        ),
    ],
    "plain_http": Annotated[bool | None, typer.Option("--plain-http", help="Speak http, not https.")],
    "insecure": Annotated[bool | None, typer.Option("--insecure", help="Do not verify certificates.")],
    "cacert": Annotated[
        Path | None, typer.Option("--cacert", metavar="FILE", help="Also trust these certificates (PEM).")
    ],
    "quiet": Annotated[bool | None, typer.Option("--quiet", "-q", help="No progress on stderr.")],
    "json": Annotated[bool | None, typer.Option("--json", help=JSON_HELP)],
    "jobs": Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, max=64, metavar="N", help="Transfers at a time.")
    ],
    "store": Annotated[
        Path | None,
        # not typer's envvar: the environment would then override what stands before the verb
        typer.Option(
            "--store", metavar="DIR", help=f"Where the image store is.  [env var: {_STORE_VARIABLE}]"
        ),
    ],
    "upload": Annotated[
        str | None,
        typer.Option("--upload", parser=_parse_upload, metavar="HOW", help="Push by put, single or chunks."),
    ],
    "chunk_size": Annotated[
        int | None,
        typer.Option(
            "--chunk-size", parser=parse_size, metavar="SIZE", help="Push in chunks of, say, 16MiB."
        ),
    ],
}
"""How each field of `Options` is declared to typer; None is "not given here"."""


def verb(command: Callable[..., None]) -> Callable[..., None]:
    """Make a command of a function whose first parameter is `options: Options`.

    Errors of ours end it with one message on stderr and an exit code; see `failures`.
    """
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

    @functools.wraps(command)
    def run(context: typer.Context, **given: Any) -> None:  # noqa: ANN401 - typer's
        options = _merge(context.obj, given)
        with failures.reported(as_json=options.json):
            command(options, **{parameter.name: given[parameter.name] for parameter in own})

    _declare(run, own)
    return run


def before_the_verb(callback: Callable[..., None]) -> Callable[..., None]:
    """Make a group's callback of a function, which takes the options that stand before the verb."""
    own = list(inspect.signature(callback, eval_str=True).parameters.values())

    @functools.wraps(callback)
    def run(context: typer.Context, **given: Any) -> None:  # noqa: ANN401 - typer's
        # an outer group's options are in the object that the context has inherited
        context.obj = {**(context.obj or {}), **dict(_given(given))}
        callback(**{parameter.name: given[parameter.name] for parameter in own})

    _declare(run, own)
    return run


def _declare(function: Callable[..., None], own: list[inspect.Parameter]) -> None:
    """Give a function the signature that typer is to see."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        *(parameter.replace(kind=keyword) for parameter in own),
        *(
            inspect.Parameter(name, keyword, annotation=declared, default=None)
            for name, declared in _DECLARED.items()
        ),
    ]
    # without it, inspect would look at the function inside
    del function.__wrapped__  # type: ignore[attr-defined]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


def _given(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for field in fields(Options):
        if values.get(field.name) is not None:
            yield field.name, values[field.name]


def _merge(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Options:
    return Options(**{**dict(_given(before or {})), **dict(_given(after))})
