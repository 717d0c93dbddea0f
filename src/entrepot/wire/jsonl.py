"""Records as lines of JSON: one object a line, `record` says which kind. Read back without loss."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from entrepot.errors import DigestInvalid, InvalidDocument, StoreError
from entrepot.oci.digest import Digest
from entrepot.wire.exchange import Record

__all__ = ["JsonLinesFile", "read_records", "record_to_line"]

MAX_LINE_BYTES = 1 << 20


def record_to_line(record: Record) -> bytes:
    """Return a record as a line of JSON, its newline included."""
    return _encoder.encode(record) + b"\n"


def read_records(lines: Iterable[bytes]) -> Iterator[Record]:
    """Read records back; empty lines are passed over.

    Raises:
        InvalidDocument: A line is no record; its path names the line, as in `line 3: $.status`.
    """
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _read(line, number)


class JsonLinesFile:
    """A sink that writes records to a file, each when it is complete. A context manager.

    The file is opened at once, so that it is known whether that works before anything is transferred. It is
    made for its owner alone (0600): a trace says what somebody has, and where.

    Args:
        path: The file; what was in it is lost.

    Raises:
        StoreError: The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError as error:
            raise _not_written(path, error) from None
        _keep_private(descriptor)
        self.path = path
        self._file = os.fdopen(descriptor, "wb", buffering=0)

    def __call__(self, record: Record) -> None:
        """Write a record; it is in the file when this returns.

        Raises:
            StoreError: It could not be written, as when the disk is full.
        """
        line = record_to_line(record)
        try:
            # a pipe, and a disk that is nearly full, take less than they are given
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            raise _not_written(self.path, error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _not_written(path: Path, error: OSError) -> StoreError:
    return StoreError(f"the trace cannot be written, {(error.strerror or str(error)).lower()}: {path}")


def _keep_private(descriptor: int) -> None:
    """Take the rights of others away from a file that was there before; a pipe or a terminal is left alone."""
    if hasattr(os, "fchmod") and stat.S_ISREG(os.fstat(descriptor).st_mode):
        with suppress(OSError):
            os.fchmod(descriptor, 0o600)


def _read(line: bytes, number: int) -> Record:
    if len(line) > MAX_LINE_BYTES:
        raise InvalidDocument(f"has more than {MAX_LINE_BYTES} bytes", path=f"line {number}")
    try:
        return _decoder.decode(line)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        where = f"line {number}: {path.removesuffix('`')}" if path else f"line {number}"
        raise InvalidDocument(message.replace("`", ""), path=where) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidDocument(f"is not JSON, {error}", path=f"line {number}") from None


def _from_json(kind: type[object], value: object) -> object:
    if kind is Digest and isinstance(value, str):
        try:
            return Digest(value)
        except DigestInvalid as error:
            raise ValueError(error.message) from None
    raise TypeError(f"Expected `str`, got `{type(value).__name__}`")


def _to_json(value: object) -> object:
    return str(value)


_encoder = msgspec.json.Encoder(enc_hook=_to_json)
_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record, dec_hook=_from_json)
