"""Which manifests a client takes (RFC 9110, section 12.5.1).

    Accept      ::= media-range ( OWS "," OWS media-range )*
    media-range ::= ( "*/*" | type "/*" | type "/" subtype ) ( OWS ";" OWS parameter )*

A manifest has one form only, so the question is whether that form is acceptable, not which one is best. Who sends
no Accept takes everything. `application/json` is taken to include every `+json`: people's scripts say so, and
what they get is JSON.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

__all__ = ["is_acceptable"]

_MAX_CACHED_BYTES: Final = 1_024


def is_acceptable(accept: bytes | None, media_type: str) -> bool:
    """Tell whether a client that sent this header takes content of this media type."""
    if not accept or accept == b"*/*":
        return True
    # Clients send the same few headers for ever.
    return (_cached if len(accept) <= _MAX_CACHED_BYTES else _judge)(accept, media_type)


def _judge(accept: bytes, media_type: str) -> bool:
    """Find the most specific range that covers the media type: its quality decides."""
    best, quality = 0, 0.0
    for media_range in accept.decode("latin-1").lower().split(","):
        name, *parameters = (part.strip() for part in media_range.split(";"))
        specificity = _specificity(name, media_type.lower())
        if specificity > best:
            best, quality = specificity, _quality(parameters)
    return quality > 0


_cached = lru_cache(maxsize=256)(_judge)


def _specificity(media_range: str, media_type: str) -> int:
    """Return how closely a range describes the media type; 0 when it does not."""
    if media_range == media_type:
        return 4
    if media_range == "application/json":
        return 3 if media_type.endswith("+json") else 0
    if media_range.endswith("/*") and media_range[:-1] == media_type[: len(media_range) - 1]:
        return 2
    # "*" alone is what Java's HttpURLConnection sends.
    return 1 if media_range in {"*/*", "*"} else 0


def _quality(parameters: list[str]) -> float:
    """Return the weight, 1 when there is none; a malformed one is no reason to refuse."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 1.0
    return 1.0
