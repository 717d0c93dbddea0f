"""Ranges of bytes: the `Range` of a download (RFC 9110, section 14) and the `Content-Range` of an upload's chunk.

    Range           ::= "bytes=" OWS range-spec ( OWS "," OWS range-spec )* OWS
    range-spec      ::= first "-" [ last ] | "-" suffix-length

    Content-Range   ::= [ "bytes" SP ] first "-" last [ "/" ( complete-length | "*" ) ]

distribution-spec has chunks as `first-last` alone; the form of RFC 9110 is what other HTTP clients write.
Two deviations: a range whose last byte is before its first is malformed by RFC 9110, and so would be ignored,
but the conformance suite of distribution-spec asks for 416; and an empty blob has no range that can be
satisfied, but containerd asks for `bytes=0-` of everything, so there the header is ignored.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final, NamedTuple

from entrepot.errors import BlobUploadInvalid, RangeInvalid, SizeInvalid

__all__ = ["MAX_RANGES", "Span", "parse_content_range", "parse_range"]

MAX_RANGES: Final = 16
"""Ranges of one request that are answered; a header with more is ignored."""

_MAX_DIGITS: Final = 19  # of 2**63, above which nothing has a size
_SPEC = re.compile(rf"([0-9]{{0,{_MAX_DIGITS}}})-([0-9]{{0,{_MAX_DIGITS}}})")
_CHUNK = re.compile(
    rf"(?:bytes )?([0-9]{{1,{_MAX_DIGITS}}})-([0-9]{{1,{_MAX_DIGITS}}})(?:/(?:[0-9]{{1,{_MAX_DIGITS}}}|\*))?"
)


class Span(NamedTuple):
    """Bytes from `start` up to, not including, `stop`."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Return the number of bytes."""
        return self.stop - self.start


def parse_range(header: str, size: int) -> list[Span]:
    """Return the parts of `size` bytes that are asked for, in the order in which they are; [] for all of it.

    All of it is also the answer to what RFC 9110 lets a server ignore: another unit, malformed ranges,
    overlapping ones, and more than `MAX_RANGES`.

    Raises:
        RangeInvalid: None of the ranges lies within the bytes; knows their `size`.
    """
    unit, equals, specs = header.partition("=")
    if not equals or unit.strip().lower() != "bytes" or size == 0:
        return []
    parsed = [_SPEC.fullmatch(spec.strip()) for spec in specs.split(",", MAX_RANGES)]
    if len(parsed) > MAX_RANGES or any(spec is None or spec[0] == "-" for spec in parsed):
        return []
    spans = [span for spec in parsed if spec and (span := _resolve(spec[1], spec[2], size))]
    if not spans:
        error = RangeInvalid(f"there are {size} bytes, and none of them is in the range {header[:200]}")
        error.size = size
        raise error
    return [] if _overlap(spans) else spans


def _resolve(first: str, last: str, size: int) -> Span | None:
    """Return the part that exists of a range, None if none of it does."""
    if not first:
        length = min(int(last), size)
        return Span(size - length, size) if length else None
    start = int(first)
    stop = min(int(last) + 1, size) if last else size
    return Span(start, stop) if start < stop else None


def _overlap(spans: list[Span]) -> bool:
    ordered = sorted(spans)
    return any(after.start < before.stop for before, after in pairwise(ordered))


def parse_content_range(header: str, content_length: int | None) -> Span:
    """Return where a chunk belongs.

    Args:
        header: The value of Content-Range.
        content_length: Of the request; None when the body has no announced length.

    Raises:
        BlobUploadInvalid: The header is malformed.
        SizeInvalid: It does not have as many bytes as the body.
    """
    matched = _CHUNK.fullmatch(header.strip())
    if matched is None:
        raise BlobUploadInvalid(
            f"not the range of a chunk: {header[:200]!r}",
            hint="write Content-Range: FIRST-LAST, both included",
        )
    span = Span(int(matched[1]), int(matched[2]) + 1)
    if span.length < 1:
        raise BlobUploadInvalid(f"a chunk does not end before it begins: {header[:200]!r}")
    if content_length is not None and span.length != content_length:
        raise SizeInvalid(
            f"Content-Range is of {span.length} bytes and Content-Length is {content_length}: {header[:200]!r}"
        )
    return span
