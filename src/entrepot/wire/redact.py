"""What of an exchange may be written down: allow-lists, applied before anything is recorded.

A secret that is not known to be one cannot be listed, so nothing is withheld by name. Everything is withheld
unless it is known to be harmless: header fields, values of query parameters, and of a body only what the
peer said when it refused something.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from entrepot.text import printable

__all__ = ["MAX_ERROR_BYTES", "WITHHELD", "redact_body", "redact_headers", "redact_url"]

WITHHELD = "…"
"""Stands where a value was."""

MAX_ERROR_BYTES = 4 << 10
"""How much of the body of an error is kept."""

MAX_VALUE_CHARACTERS = 2048

_PLAIN_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-ranges",
        "age",
        "allow",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "date",
        "docker-content-digest",
        "docker-distribution-api-version",
        "etag",
        "host",
        "if-match",
        "if-none-match",
        "if-range",
        "last-modified",
        "oci-chunk-min-length",
        "oci-filters-applied",
        "oci-namespace",
        "oci-subject",
        "oci-tag",
        "range",
        "ratelimit-limit",
        "ratelimit-remaining",
        "retry-after",
        "server",
        "transfer-encoding",
        "user-agent",
        "via",
        "warning",
        "www-authenticate",
    }
)
_URL_HEADERS = frozenset({"location", "content-location"})

_PLAIN_PARAMETERS = frozenset(
    {
        "account",
        "artifactType",
        "digest",
        "digest-algorithm",
        "from",
        "last",
        "mount",
        "n",
        "ns",
        "scope",
        "service",
        "tag",
    }
)

_LINK = re.compile(r"<([^>]*)>")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,31}")
_USER_INFO = re.compile(r"//[^/?#]*@")
# A JSON web token, wherever it stands: registries repeat them in their error messages.
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?")
_URL_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>\\]+")
# not a challenge, whose scheme is followed by a parameter
_CREDENTIAL = re.compile(r"\b(basic|bearer)\s+(?![a-z_]+=[\"a-z])[a-z0-9+/=._~-]{6,}", re.IGNORECASE)


def redact_headers(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return the header fields that may be written down, names in lower case, in their order.

    `Authorization` is reduced to its scheme, URLs to what `redact_url` leaves of them.
    """
    return tuple(
        (name, value)
        for name, value in ((name.lower(), _header(name.lower(), value)) for name, value in headers)
        if value is not None
    )


def redact_url(url: str) -> str:
    """Return a URL without user information and without the values of parameters that are not known.

    Works on relative ones, and never fails: what cannot be taken apart is withheld as a whole.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return WITHHELD
    query = "&".join(_parameter(text) for text in parts.query.split("&")) if parts.query else ""
    shown = SplitResult(parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, "").geturl()
    return printable(_USER_INFO.sub("//", shown, count=1))[: 2 * MAX_VALUE_CHARACTERS]


def redact_body(body: bytes) -> str:
    """Return the beginning of the body of an error as text, with what looks like a credential withheld.

    Tokens and signed URLs turn up in the messages of errors; the words around them are what is wanted.
    """
    text = body[:MAX_ERROR_BYTES].decode("utf-8", "replace")
    text = _URL_IN_TEXT.sub(lambda found: redact_url(found[0]), text)
    text = _JWT.sub(WITHHELD, text)
    return printable(_CREDENTIAL.sub(lambda found: f"{found[1]} {WITHHELD}", text), keep="\n\t")


def _header(name: str, value: str) -> str | None:
    if name in _PLAIN_HEADERS:
        return printable(value)[:MAX_VALUE_CHARACTERS]
    if name in _URL_HEADERS:
        return redact_url(value)
    if name == "link":
        return _LINK.sub(lambda found: f"<{redact_url(found[1])}>", printable(value))[:MAX_VALUE_CHARACTERS]
    if name in {"authorization", "proxy-authorization"}:
        scheme = _SCHEME.fullmatch(value.partition(" ")[0])
        return f"{scheme[0]} {WITHHELD}" if scheme and " " in value else WITHHELD
    return None


def _parameter(text: str) -> str:
    name, equals, _ = text.partition("=")
    return text if name in _PLAIN_PARAMETERS else f"{name}{equals}{WITHHELD}" if equals else WITHHELD
