"""Lists that a registry gives in pages, joined by `Link` fields (RFC 8288).

    Link       ::= link-value ( "," link-value )*
    link-value ::= "<" URI-Reference ">" ( ";" link-param )*

Only `rel="next"` means anything here. The registry drives the loop, so it is bounded: so many pages, so many
bytes in all, no page twice, and every page at the registry's own origin.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

from entrepot.errors import ForbiddenURL, ProtocolViolation
from entrepot.remote.message import Request
from entrepot.remote.session import Response
from entrepot.remote.transport import Transport
from entrepot.remote.urls import Hop, same_origin
from entrepot.wire.redact import redact_url

__all__ = ["next_link", "pages"]

_LINK_VALUE = re.compile(r"<([^>]*)>((?:\s*;\s*[^\s=;,]+(?:\s*=\s*(?:\"(?:[^\"\\]|\\.)*\"|[^\s\";,]*))?)*)")
_REL = re.compile(r";\s*rel\s*=\s*(?:\"([^\"]*)\"|([^\s\";,]+))", re.IGNORECASE)


async def pages(transport: Transport, request: Request) -> AsyncIterator[tuple[Response, bytes]]:
    """Yield each page's response and its body, until there is no next one.

    Raises:
        ProtocolViolation: The pages have no end: too many, too large, or a circle.
        ForbiddenURL: The next page would be at another origin.
    """
    limits = transport.options.limits
    left = limits.max_list_bytes
    seen: set[str] = set()
    for _ in range(limits.max_list_pages):
        async with transport.exchange(request) as response:
            content = await response.read(left)
            following = next_link(response.headers.getall("Link", ()))
            hop = _next_hop(transport, response, following) if following is not None else None
            yield response, content
        left -= len(content)
        if hop is None:
            return
        if str(hop.url) in seen:
            raise ProtocolViolation(
                f"the pages of {transport.peer} go in a circle: {redact_url(str(hop.url))}",
                peer=transport.peer,
            )
        seen.add(str(hop.url))
        request = replace(request, to=hop, phase=f"{request.phase.removesuffix(', next page')}, next page")
    raise ProtocolViolation(
        f"{transport.peer} gives more than {limits.max_list_pages} pages: {request.subject}",
        peer=transport.peer,
    )


def next_link(values: Iterable[str]) -> str | None:
    """Return the URI reference of the link whose relation is `next`, if there is one."""
    for value in values:
        for found in _LINK_VALUE.finditer(value):
            rel = _REL.search(found[2])
            if rel and "next" in (rel[1] or rel[2] or "").lower().split():
                return found[1]
    return None


def _next_hop(transport: Transport, response: Response, link: str) -> Hop:
    hop = response.hop.follow(link, given_as="the Link")
    if not same_origin(hop.url, response.hop.url):
        shown = redact_url(link)
        raise ForbiddenURL(
            f"the next page from {transport.peer} is at another host: {shown}", peer=transport.peer
        )
    return hop
