"""Errors on their way to a person: one sentence, what the server said, a hint; and the exit code.

0  done      1  failed      2  usage      3  not found      4  denied      130  interrupted
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import typer

from entrepot import errors
from entrepot.errors import CopyError, EntrepotError, InvalidReference, RegistryError
from entrepot.text import printable

__all__ = ["DENIED", "FAILED", "NOT_FOUND", "USAGE", "describe", "exit_code", "render", "reported"]

FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
DENIED: Final = 4

_MALFORMED = (
    errors.InvalidReference,
    errors.ConfigError,
    errors.NameInvalid,
    errors.TagInvalid,
    errors.DigestInvalid,
)
_ABSENT = (errors.ManifestUnknown, errors.BlobUnknown, errors.NameUnknown)
_DENIED = (errors.Unauthorized, errors.Denied)


@contextmanager
def reported(*, as_json: bool) -> Iterator[None]:
    """End the program with a message and an exit code when an error of ours comes out of the body."""
    try:
        yield
    except EntrepotError as error:
        text = json.dumps({"error": describe(error)}) if as_json else render(error)
        print(text, file=sys.stderr)  # noqa: T201 - this is where errors are printed
        raise typer.Exit(exit_code(error)) from error
    except BrokenPipeError:
        # whoever read our output has seen enough; nothing may be flushed into the pipe at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FAILED) from None


def exit_code(error: EntrepotError) -> int:
    """Return what the program ends with."""
    if isinstance(error, _DENIED):
        return DENIED
    if isinstance(error, CopyError):
        # what was asked for was found, so something missing below it is a failure
        return DENIED if isinstance(error.__cause__, _DENIED) else FAILED
    if isinstance(error, _ABSENT):
        return NOT_FOUND
    # the same classes from a peer are its opinion of a request of ours
    return USAGE if isinstance(error, _MALFORMED) and error.peer is None else FAILED


def render(error: EntrepotError) -> str:
    """Return the message as lines: the sentence, what is behind it, the hint."""
    if isinstance(error, errors.ConfigError):
        return "\n".join(f"error: {printable(problem)}" for problem in error.problems)
    lines = [f"error: {_sentence(error)}"]
    if isinstance(error, InvalidReference) and error.position is not None:
        lines += [f"  {line}" for line in error.pointer().splitlines()]
    cause = error.__cause__
    while cause is not None:
        lines.append(f"  because: {_sentence(cause)}")
        cause = cause.__cause__ if isinstance(cause, EntrepotError) else None
    hint = next((found.hint for found in _chain(error) if found.hint), None)
    if hint:
        lines.append(f"hint: {printable(hint)}")
    return "\n".join(lines)


def describe(error: EntrepotError) -> dict[str, Any]:
    """Return the error for programs."""
    # the class of the error tree, not one that a module of ours derives for its own use
    kind = next(known.__name__ for known in type(error).__mro__ if known.__module__ == errors.__name__)
    found: dict[str, Any] = {"kind": kind, "message": error.message}
    if isinstance(error, RegistryError):
        found |= {"code": error.code, "status": error.status}
    if isinstance(error, CopyError):
        found |= {"side": error.side, "digest": error.digest}
    if isinstance(error, InvalidReference):
        found["position"] = error.position
    if isinstance(error, errors.ConfigError):
        found["problems"] = list(error.problems)
    found |= {"peer": error.peer, "hint": error.hint}
    if isinstance(error.__cause__, EntrepotError):
        found["cause"] = describe(error.__cause__)
    elif error.__cause__ is not None:
        found["cause"] = {"kind": type(error.__cause__).__name__, "message": str(error.__cause__)}
    return {key: value for key, value in found.items() if value is not None}


def _chain(error: BaseException | None) -> Iterator[EntrepotError]:
    while isinstance(error, EntrepotError):
        yield error
        error = error.__cause__


def _sentence(error: BaseException) -> str:
    if not isinstance(error, EntrepotError):
        return printable(str(error) or type(error).__name__)
    if not isinstance(error, RegistryError) or error.peer is None:
        return printable(error.message)
    status = f", status {error.status}" if error.status else ""
    return printable(f"{error.peer} said: {error.message} ({error.code}{status})")
