"""The way back from a response to an error of ours.

The status is believed before the code where they say different things about access, since *absent* and
*forbidden* are different answers: a 401 or 403 never becomes "unknown", whatever its body calls it. Elsewhere
the code decides, then the status, then what was asked for.

    { "errors": [ { "code": "<identifier>", "message": "<words>", "detail": <any JSON> }, … ] }

is what the specification asks for ("Error Codes"). Others were seen, and their words are found too:
`{"message": …}`, `{"error": …}`, `{"errors": [{"status": …, "message": …}]}`, plain text, pages of HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from entrepot.errors import (
    BY_CODE,
    BlobUnknown,
    BlobUploadUnknown,
    Denied,
    ManifestBlobUnknown,
    ManifestTooLarge,
    ManifestUnknown,
    NameUnknown,
    RangeInvalid,
    RegistryError,
    SizeInvalid,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    Unknown,
    Unsupported,
    UnsupportedMediaType,
)
from entrepot.text import printable
from entrepot.wire.redact import redact_body

__all__ = ["Refusal", "problem"]

MAX_MESSAGE_CHARACTERS = 500

_BY_STATUS: dict[int, type[RegistryError]] = {
    401: Unauthorized,
    403: Denied,
    405: Unsupported,
    413: SizeInvalid,
    415: UnsupportedMediaType,
    416: RangeInvalid,
    429: TooManyRequests,
    501: Unsupported,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}
# These say more than any code does.
_STATUS_DECIDES = frozenset({401, 403, 413, 416, 429})
_ABSENT = (BlobUnknown, BlobUploadUnknown, ManifestUnknown, NameUnknown)

_DIGEST = re.compile(r"\b[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-fA-F0-9]{32,128}\b")
_TITLE = re.compile(r"<(title|h1)[^>]*>(.*?)</\1", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A response that is not what was asked for.

    Attributes:
        status: Its status.
        headers: Its header fields, names in any case.
        body: The beginning of its body.
        peer: The registry.
        subject: What was asked for, in words: `127.0.0.1:5000/demo/app:v1`.
        absent: What it means when that is not there.
        manifest: Whether a manifest was being pushed.
        retry_after: Seconds that the response asks us to wait.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    peer: str
    subject: str
    absent: type[RegistryError] = NameUnknown
    manifest: bool = False
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class _Said:
    """What one entry of `errors` says."""

    code: str = ""
    message: str = ""
    detail: Any = None


def problem(refusal: Refusal) -> RegistryError:
    """Return the error that a response means. Never fails, whatever the body is."""
    said = list(_said(refusal))
    first = said[0] if said else _Said()
    kind = _kind(refusal, first.code)
    hint = _challenge_hint(refusal) if kind is Unauthorized else None
    message = _message(refusal, said, kind)
    detail = first.detail
    if kind is ManifestBlobUnknown:
        return ManifestBlobUnknown(
            message,
            missing=_missing(said),
            detail=detail,
            hint=hint,
            peer=refusal.peer,
            status=refusal.status,
        )
    error = kind(message, detail=detail, hint=hint, peer=refusal.peer, status=refusal.status)
    if isinstance(error, TooManyRequests | Unavailable):
        error.retry_after = refusal.retry_after
    if isinstance(error, Unknown):
        error.received_code = first.code or None
    if isinstance(error, RangeInvalid):
        error.size = _size(refusal.headers)
    return error


def _kind(refusal: Refusal, code: str) -> type[RegistryError]:
    status = refusal.status
    by_status = _by_status(refusal)
    by_code = BY_CODE.get(code)
    if by_code in {None, Unknown} or status in _STATUS_DECIDES:
        return by_status
    if refusal.manifest and by_code in {BlobUnknown, ManifestUnknown} and status in {400, 404}:
        return ManifestBlobUnknown  # zot says BLOB_UNKNOWN when a layer of a pushed manifest is missing
    if by_code in {Unauthorized, Denied, TooManyRequests} or (by_code in _ABSENT and status >= 500):
        return by_status
    assert by_code is not None
    return UnsupportedMediaType if by_code is Unsupported and status == 415 else by_code


def _by_status(refusal: Refusal) -> type[RegistryError]:
    if refusal.status == 404:
        return refusal.absent
    if refusal.status == 413 and refusal.manifest:
        return ManifestTooLarge
    return _BY_STATUS.get(refusal.status, Unknown)


def _message(refusal: Refusal, said: list[_Said], kind: type[RegistryError]) -> str:
    words = "; ".join(dict.fromkeys(entry.message for entry in said if entry.message))[
        :MAX_MESSAGE_CHARACTERS
    ]
    if not words:
        words = kind.code.replace("_", " ").lower() if kind is not Unknown else f"status {refusal.status}"
    return f"{words}: {refusal.subject}"


def _said(refusal: Refusal) -> Iterator[_Said]:
    """Yield what the body says, in order; at least its words when it is no error document."""
    try:
        tree = msgspec.json.decode(refusal.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        words = _plain_words(refusal)
        if words:
            yield _Said(message=words)
        return
    errors = tree.get("errors") if isinstance(tree, dict) else tree
    entries = errors if isinstance(errors, list) else [tree]
    for entry in entries[:1000]:
        if isinstance(entry, dict):
            yield _Said(_code(entry.get("code")), _words(entry), entry.get("detail"))
        elif isinstance(entry, str):
            yield _Said(message=_clean(entry))


def _words(entry: dict[str, Any]) -> str:
    for field in ("message", "error_description", "error", "details", "title"):
        value = entry.get(field)
        if isinstance(value, str) and value.strip():
            return _clean(value)
    return ""


def _plain_words(refusal: Refusal) -> str:
    """Return the words of a body that is no JSON: a page's title, or the first line of a text."""
    text = refusal.body.decode("utf-8", "replace")
    content_type = next((v for k, v in refusal.headers.items() if k.lower() == "content-type"), "")
    if "html" in content_type.lower() or text.lstrip()[:1] == "<":
        found = _TITLE.search(text)
        title = _clean(_TAG.sub(" ", found[2])) if found else ""
        return f"status {refusal.status} with a web page{f' titled {title!r}' if title else ''}"
    return _clean(text.strip().partition("\n")[0])


def _clean(text: str) -> str:
    """Return words of a peer on one line, without what could act on a terminal, and not too many."""
    line = " ".join(redact_body(text.encode("utf-8", "replace")).split())
    return line.rstrip(".")[:MAX_MESSAGE_CHARACTERS]


def _code(value: object) -> str:
    return value.strip().upper().replace(" ", "_")[:64] if isinstance(value, str) else ""


def _missing(said: list[_Said]) -> tuple[str, ...]:
    """Return every digest that the entries name, in their order, from their details, else from their words."""
    found: dict[str, None] = {}
    for entry in said:
        for text in (_text(entry.detail), entry.message):
            digests = _DIGEST.findall(text)
            if digests:
                found.update(dict.fromkeys(digests))
                break
    return tuple(found)


def _text(detail: object) -> str:
    return detail if isinstance(detail, str) else msgspec.json.encode(detail).decode()


def _challenge_hint(refusal: Refusal) -> str:
    challenges = [value for name, value in refusal.headers.items() if name.lower() == "www-authenticate"]
    asked = f"; it asks for {printable(challenges[0])[:MAX_MESSAGE_CHARACTERS]}" if challenges else ""
    return f"log in to {refusal.peer}{asked}"


def _size(headers: Mapping[str, str]) -> int | None:
    """Return N of `Content-Range: bytes */N`, or N + 1 of an upload's `Range: 0-N`."""
    fields = {name.lower(): value for name, value in headers.items()}
    total = re.fullmatch(r"bytes \*/([0-9]{1,19})", fields.get("content-range", "").strip())
    if total:
        return int(total[1])
    received = re.fullmatch(r"(?:bytes=)?0-([0-9]{1,19})", fields.get("range", "").strip())
    return int(received[1]) + 1 if received else None
