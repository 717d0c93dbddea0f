"""Lists in pages (distribution-spec, "Listing Tags", "Listing Referrers"; RFC 8288 for `Link`).

With `n` a page has that many entries, at most `router.MAX_PAGE`, and a Link when there are more. Without it the
whole list is sent: read in slices and passed on as it is read, so that its length costs no memory. A list that fits
into one slice has a Content-Length; a longer one has not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeAlias
from urllib.parse import quote

import msgspec

from entrepot.server.asgi import Header
from entrepot.server.bodies import PiecesContent
from entrepot.server.responses import Response, json_response
from entrepot.server.routes import Page

__all__ = ["SLICE", "Fetch", "answer", "next_link"]

SLICE: Final = 1_000
"""Entries that are read at a time."""

Fetch: TypeAlias = Callable[[int, str], Awaitable[Sequence[str]]]
"""Returns at most so many entries after that one, in byte order."""


async def answer(page: Page, fetch: Fetch, *, path: str, opening: bytes, closing: bytes) -> Response:
    """Answer with a part of a list, or all of it.

    Args:
        page: Which part.
        fetch: Reads a slice.
        path: Of the endpoint, for the Link.
        opening: The JSON document up to the first entry.
        closing: The JSON document after the last entry.
    """
    if page.n is None:
        return await _whole(page.last, fetch, opening, closing)
    # One more than asked for tells whether there is a next page; of n=0 it tells that the repository exists.
    entries = await fetch(page.n + 1, page.last)
    shown = entries[: page.n]
    body = opening + _inside(shown) + closing
    if page.n == 0 or len(entries) <= page.n:
        return json_response(body)
    return json_response(body, next_link(path, {"n": str(page.n), "last": shown[-1]}))


async def _whole(last: str, fetch: Fetch, opening: bytes, closing: bytes) -> Response:
    first = await fetch(SLICE, last)
    if len(first) < SLICE:
        return json_response(opening + _inside(first) + closing)
    pieces = PiecesContent(_pieces(first, fetch, opening, closing))
    return Response(200, [(b"content-type", b"application/json")], pieces)


async def _pieces(
    entries: Sequence[str], fetch: Fetch, opening: bytes, closing: bytes
) -> AsyncIterator[bytes]:
    yield opening + _inside(entries)
    while len(entries) == SLICE:
        entries = await fetch(SLICE, entries[-1])
        if entries:
            yield b"," + _inside(entries)
    yield closing


def _inside(entries: Sequence[str]) -> bytes:
    """Return the entries as JSON, without the brackets around them."""
    return msgspec.json.encode([str(entry) for entry in entries])[1:-1]


def next_link(path: str, parameters: Mapping[str, str]) -> Header:
    """Return the Link to the next page. It is relative: some clients use no more of it than path and query."""
    query = "&".join(f"{key}={quote(value, safe='')}" for key, value in parameters.items())
    return (b"link", f'<{path}?{query}>; rel="next"'.encode("ascii"))
