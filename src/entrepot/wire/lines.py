"""The conversation as lines: one for each exchange, one for each decision.

       3   HEAD   blob demo/app@sha256:58d12325f3c2      404                  2 ms            there already? no
       4   POST   uploads demo/app                       202                  5 ms            begin an upload
       5   PUT    upload demo/app …2591a                 201     4.8 MiB     40 ms  119 MiB/s send the whole blob
       =          sha256:58d12325f3c2 layer                      4.8 MiB                      uploaded: absent there

A mark before the method says why an exchange was begun when it was not by itself: see `MARKS`. What a peer
said is shown as text, never as something that a terminal acts upon.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import SplitResult, unquote, urlsplit

from entrepot.text import printable, size
from entrepot.wire.exchange import Cause, Decision, Exchange, Record

__all__ = ["MARKS", "LineRenderer", "render_lines"]

MARKS = {
    Cause.INITIAL: " ",
    Cause.CHALLENGE: "!",
    Cause.TOKEN: "*",
    Cause.REDIRECT: "→",
    Cause.RETRY: "↻",
    Cause.RESUME: "»",
    Cause.MOUNT: "+",
    Cause.RANGE: "‥",
}
"""What stands before the method, by cause."""

WHAT_COLUMNS = 44

_BOLD, _DIM, _RED, _GREEN, _YELLOW, _CYAN, _PLAIN = (f"\x1b[{n}m" for n in (1, 2, 31, 32, 33, 36, 0))

_MANIFEST = re.compile(r"/v2/(.+)/manifests/([^/]+)")
_BLOB = re.compile(r"/v2/(.+)/blobs/([^/]+)")
_UPLOAD = re.compile(r"/v2/(.+)/blobs/uploads/([^/]+)")
_UPLOADS = re.compile(r"/v2/(.+)/blobs/uploads/?")
_TAGS = re.compile(r"/v2/(.+)/tags/list")
_REFERRERS = re.compile(r"/v2/(.+)/referrers/([^/]+)")

_REFERRERS_TAG = re.compile(r"([a-z0-9]+-[0-9a-f]{12})[0-9a-f]{20,}")


class LineRenderer:
    """Draws records one at a time, as they come.

    The first host that is seen is named once, in a line of its own; later it is understood, and only other
    hosts are named with the exchanges that go there.

    Args:
        colour: Whether to colour the lines for a terminal.
    """

    def __init__(self, *, colour: bool = False) -> None:
        self._colour = colour
        self._home: str | None = None

    def render(self, record: Record) -> str:
        """Return the line of a record, without a newline at its end; the very first has a second line."""
        if isinstance(record, Decision):
            return self._decision(record)
        origin = _origin(record.url)
        line = self._exchange(record, "" if self._home in {None, origin} else origin)
        if self._home is None:
            self._home = origin
            return f"{self._paint(_DIM, f'talking to {origin}')}\n{line}"
        return line

    def _exchange(self, record: Exchange, elsewhere: str) -> str:
        what = _fit(f"{elsewhere} {_what(record.url)}" if elsewhere else _what(record.url), WHAT_COLUMNS)
        count = max(record.bytes_sent, record.bytes_received)
        columns = (
            self._paint(_DIM, f"{record.id:>5}"),
            self._paint(_CYAN, f" {MARKS[record.cause]} "),
            self._paint(_BOLD, f"{printable(record.method)[:7]:<7}"),
            f"{what:<{WHAT_COLUMNS}} ",
            self._status(record),
            f" {_moved(record):>11}",
            f" {_duration(record.times.end):>8}",
            self._paint(_DIM, f" {_rate(record, count):>11}"),
            f"  {self._why(record)}",
        )
        return "".join(columns).rstrip()

    def _status(self, record: Exchange) -> str:
        if record.status is None:
            return self._paint(_RED, "---")
        colour = _GREEN if record.status < 300 else _CYAN if record.status < 400 else _YELLOW
        if record.status >= 500 or record.failure:
            colour = _RED
        return self._paint(colour, f"{record.status:>3}")

    def _why(self, record: Exchange) -> str:
        words = printable(record.phase)
        if words.endswith("?"):
            words = f"{words} {_answer(record)}".rstrip()
        if record.attempt > 1:
            words += f" (attempt {record.attempt})"
        if record.failure:
            words += self._paint(_RED, f"; failed: {printable(record.failure)}")
        elif record.error_body and not (record.phase.endswith("?") and record.status == 404):
            words += self._paint(_RED, f"; it says {_first_words(record.error_body)}")
        return words.removeprefix("; ")

    def _decision(self, record: Decision) -> str:
        role = record.role if record.platform is None else f"{record.role} of {record.platform}"
        what = _fit(f"{record.digest.short} {printable(role)}", WHAT_COLUMNS)
        start = self._paint(_GREEN, f"{'=':>5}")
        middle = f"{'':10}{what:<{WHAT_COLUMNS}}     {size(record.size):>11}{'':21}"
        return f"{start}{middle}  {self._paint(_GREEN, record.action.value)}: {printable(record.reason)}"

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._colour else text


def render_lines(records: Iterable[Record], *, colour: bool = False) -> Iterator[str]:
    """Yield the line of each record."""
    renderer = LineRenderer(colour=colour)
    for record in records:
        yield renderer.render(record)


def _what(url: str) -> str:
    """Return in words what a URL of the specification names; the path of any other."""
    path = printable(_split(url).path)
    if path in {"/v2/", "/v2"}:
        return "the registry"
    if path == "/v2/_catalog":
        return "catalog"
    for pattern, words in (
        (_UPLOAD, "upload {0} …{1}"),
        (_UPLOADS, "uploads {0}"),
        (_MANIFEST, "manifest {0}{1}"),
        (_BLOB, "blob {0}{1}"),
        (_TAGS, "tags {0}"),
        (_REFERRERS, "referrers {0}{1}"),
    ):
        found = pattern.fullmatch(path)
        if found:
            last = found[2] if found.lastindex == 2 else ""
            return words.format(found[1], last[-5:] if pattern is _UPLOAD else _reference(last))
    return path or "/"


def _reference(text: str) -> str:
    """Return a tag or digest as references write it, digests and the tags made of them cut short."""
    algorithm, colon, encoded = unquote(text).partition(":")
    if colon:
        return printable(f"@{algorithm}:{encoded[:12]}")
    referrers = _REFERRERS_TAG.fullmatch(text)
    return printable(f":{referrers[1]}…" if referrers else f":{algorithm}" if algorithm else "")


def _origin(url: str) -> str:
    parts = _split(url)
    return printable(f"{parts.scheme}://{parts.netloc}")


def _split(url: str) -> SplitResult:
    """Take a URL apart; one that cannot be is all path."""
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", url, "", "")


def _answer(record: Exchange) -> str:
    """Return how a response answers the question that a phase asks."""
    if record.status is None:
        return ""
    if record.status >= 300 or record.status == 202:
        return {202: "no", 401: "log in first", 403: "forbidden", 404: "no"}.get(record.status, "")
    interrogative = record.phase.partition(" ")[0]
    if interrogative == "what":
        return _reference(_field(record, "docker-content-digest"))[1:]
    if interrogative == "where":
        return _field(record, "range")
    return "" if interrogative in {"which", "who"} else "yes"


def _field(record: Exchange, name: str) -> str:
    return next((printable(value) for key, value in record.response_headers if key == name), "")


def _first_words(body: str) -> str:
    """Return what an error says, on one line: its first message, else the beginning of its text."""
    try:
        entry = json.loads(body)["errors"][0]
        text = ": ".join(str(entry[key]) for key in ("code", "message") if entry.get(key))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        text = body
    return printable(" ".join(text.split()))[:160]


def _fit(text: str, columns: int) -> str:
    """Shorten a text in its middle: what it is stands at its beginning, which one at its end."""
    if len(text) <= columns:
        return text
    end = columns * 3 // 5
    return f"{text[: columns - end - 1]}…{text[-end:]}"


def _moved(record: Exchange) -> str:
    """Return how many bytes went which way; the larger of the two when both did."""
    if not record.bytes_sent and not record.bytes_received:
        return ""
    if record.bytes_sent > record.bytes_received:
        return f"↑ {size(record.bytes_sent)}"
    return f"↓ {size(record.bytes_received)}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 60 else f"{int(seconds // 60)}m{seconds % 60:04.1f}s"


def _rate(record: Exchange, count: int) -> str:
    """Return bytes a second, for bodies large enough for that to mean anything."""
    if count < 64 << 10 or not record.times.end:
        return ""
    return f"{size(int(count / record.times.end))}/s"
