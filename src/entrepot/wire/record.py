"""Records being made: who sends a request reports to a `Recorder`, who wants to see gives it a sink.

A record is redacted when it is made, not when it is shown, so that no sink can leak what it never had.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeAlias
from weakref import WeakKeyDictionary

from entrepot.oci.descriptor import Descriptor
from entrepot.text import printable
from entrepot.wire.exchange import Action, Cause, Decision, Exchange, Record, Times
from entrepot.wire.redact import MAX_ERROR_BYTES, redact_body, redact_headers, redact_url

__all__ = ["Milestone", "Recorder", "Recording", "Sink"]

Sink: TypeAlias = Callable[[Record], object]
"""Receives each record when it is complete; called on the event loop's thread, so it must not block for long."""

Milestone: TypeAlias = Literal["dns", "connect", "tls", "send", "first_byte"]

Headers: TypeAlias = Iterable[tuple[str, str]]


class Recorder:
    """Makes records and hands them to its sinks; without a sink it does next to nothing.

    Exchanges are numbered from 1 in the order in which they begin, and arrive at the sinks in the order in
    which they end. Connections are numbered in the order in which they are first used.

    Args:
        sinks: Who receives the records.
        wall: Seconds since the epoch.
        monotonic: Seconds on a clock that never jumps.
    """

    def __init__(
        self,
        sinks: Sequence[Sink] = (),
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._sinks = tuple(sinks)
        self._wall = wall
        self._monotonic = monotonic
        self._begun = 0
        self._connections: WeakKeyDictionary[object, int] = WeakKeyDictionary()
        self._connected = 0

    @property
    def active(self) -> bool:
        """Tell whether anybody is looking; if not, nothing needs to be measured."""
        return bool(self._sinks)

    def begin(
        self,
        method: str,
        url: str,
        *,
        phase: str = "",
        cause: Cause = Cause.INITIAL,
        parent: int | None = None,
        attempt: int = 1,
        headers: Headers = (),
    ) -> Recording:
        """Begin to record an exchange.

        Args:
            method: As on the wire.
            url: As on the wire; redacted here.
            phase: What it is for, in words.
            cause: Why it is begun.
            parent: The exchange that caused this one.
            attempt: 1 for the first.
            headers: Of the request; redacted here.
        """
        if not self._sinks:
            return _SILENT
        self._begun += 1
        return Recording(
            self._emit,
            self._monotonic,
            id=self._begun,
            parent=parent,
            cause=cause,
            phase=phase,
            began=self._wall(),
            method=method,
            url=redact_url(url),
            attempt=attempt,
            request_headers=redact_headers(headers),
        )

    def decide(
        self,
        descriptor: Descriptor,
        *,
        kind: Literal["blob", "manifest"],
        role: str,
        action: Action,
        reason: str,
        platform: str | None = None,
    ) -> None:
        """Record why a piece of content was or was not moved."""
        if self._sinks:
            self._emit(
                Decision(
                    at=self._wall(),
                    digest=descriptor.digest,
                    media_type=descriptor.media_type,
                    size=descriptor.size,
                    kind=kind,
                    role=role,
                    action=action,
                    reason=reason,
                    platform=platform,
                )
            )

    def connection(self, connection: object) -> tuple[int, bool]:
        """Return the number of a connection and whether it has been seen before; it is known by identity."""
        known = self._connections.get(connection)
        if known is not None:
            return known, True
        self._connected += 1
        self._connections[connection] = self._connected
        return self._connected, False

    def _emit(self, record: Record) -> None:
        for sink in self._sinks:
            sink(record)


class Recording:
    """One exchange while it goes on. Whoever begins one finishes it, also when it fails."""

    __slots__ = ("_emit", "_error_body", "_facts", "_finished", "_monotonic", "_start", "_times", "id")

    def __init__(self, emit: Sink, monotonic: Callable[[], float], **facts: object) -> None:
        self._emit = emit
        self._monotonic = monotonic
        self._facts: dict[str, object] = facts
        self._error_body = bytearray()
        self._times: dict[str, float] = {}
        self._start = monotonic()
        self._finished = False
        self.id: int | None = facts["id"]  # type: ignore[assignment]  # an int, see Recorder.begin

    def mark(self, milestone: Milestone) -> None:
        """Note that a phase is over now."""
        self._times[milestone] = self._elapsed()

    def carried_by(self, connection: int, *, reused: bool) -> None:
        """Note which connection it is."""
        self._facts.update(connection=connection, reused=reused)

    def asked(self, headers: Headers) -> None:
        """Note that the head of the request has left, with these headers; they are redacted here."""
        self.mark("send")
        self._facts["request_headers"] = redact_headers(headers)

    def answered(self, status: int, headers: Headers) -> None:
        """Note that the head of the response is complete; its headers are redacted here."""
        self.mark("first_byte")
        self._facts.update(status=status, response_headers=redact_headers(headers))

    def sent(self, count: int) -> None:
        """Note how many bytes of the request's body have left so far."""
        self._facts["bytes_sent"] = count

    def received(self, count: int) -> None:
        """Note how many bytes of the response's body have come so far."""
        self._facts["bytes_received"] = count

    def refused(self, body: bytes) -> None:
        """Note the body of a response that is an error; its beginning is kept, redacted."""
        self._error_body += body[: MAX_ERROR_BYTES - len(self._error_body)]

    def fail(self, why: str) -> None:
        """Note why no complete response came."""
        self._facts["failure"] = printable(why)

    def finish(self) -> None:
        """Complete the record and pass it on. Once; later calls do nothing."""
        if self._finished:
            return
        self._finished = True
        self._times["end"] = self._elapsed()
        if self._error_body:
            self._facts["error_body"] = redact_body(bytes(self._error_body))
        self._emit(Exchange(times=Times(**self._times), **self._facts))  # type: ignore[arg-type]  # see above

    def _elapsed(self) -> float:
        return round(self._monotonic() - self._start, 6)


class _Silent(Recording):
    """What is recorded when nobody is looking: nothing."""

    __slots__ = ()

    def __init__(self) -> None:
        self.id = None

    def mark(self, milestone: Milestone) -> None:
        """Do nothing."""

    def carried_by(self, connection: int, *, reused: bool) -> None:
        """Do nothing."""

    def asked(self, headers: Headers) -> None:
        """Do nothing."""

    def answered(self, status: int, headers: Headers) -> None:
        """Do nothing."""

    def sent(self, count: int) -> None:
        """Do nothing."""

    def received(self, count: int) -> None:
        """Do nothing."""

    def refused(self, body: bytes) -> None:
        """Do nothing."""

    def fail(self, why: str) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


_SILENT = _Silent()
