"""What happened between a client and a registry, as records that renderers can draw.

An `Exchange` is one request and its response, as they were on the wire: a redirect, a retry and a token
request are exchanges of their own, linked to the one that caused them. A `Decision` says why a piece of
content was or was not moved. Both are made to be written as lines of JSON and read back without loss.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, TypeAlias

import msgspec

from entrepot.oci.digest import Digest

__all__ = ["Action", "Cause", "Decision", "Exchange", "Record", "Times"]


class Cause(StrEnum):
    """Why an exchange was begun."""

    INITIAL = "initial"
    CHALLENGE = "challenge"
    TOKEN = "token"  # noqa: S105 - no secret
    REDIRECT = "redirect"
    RETRY = "retry"
    RESUME = "resume"
    MOUNT = "mount"
    RANGE = "range"


class Times(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Seconds since the exchange began at which each phase was over; absent when it could not be measured.

    A reused connection has no `dns` and no `connect`. `connect` includes the TLS handshake when `tls` is
    absent. `first_byte` is when the response's head was complete, `end` when its body was.
    """

    dns: float | None = None
    connect: float | None = None
    tls: float | None = None
    send: float | None = None
    first_byte: float | None = None
    end: float | None = None


class Exchange(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="exchange", tag_field="record"
):
    """One request and its response.

    Attributes:
        id: Unique within the trace, in the order in which exchanges began.
        parent: The exchange that caused this one.
        cause: Why it was begun.
        phase: What it is for, in words: `HEAD blob: there already?`.
        began: Seconds since the epoch.
        method: As on the wire.
        url: As on the wire, with the values of unknown query parameters withheld.
        request_headers: Those of the allow-list, lower case, in their order.
        status: None when no response came.
        response_headers: Those of the allow-list, lower case, in their order.
        error_body: The beginning of the body of a response that was an error.
        failure: Why no complete response came.
        times: See there.
        bytes_sent: Of the request's body.
        bytes_received: Of the response's body.
        connection: Which connection, numbered within the trace.
        reused: Whether the connection had carried an exchange before.
        attempt: 1 for the first, counted per request that was meant.
    """

    id: int
    parent: int | None = None
    cause: Cause = Cause.INITIAL
    phase: str = ""
    began: float
    method: str
    url: str
    request_headers: tuple[tuple[str, str], ...] = ()
    status: int | None = None
    response_headers: tuple[tuple[str, str], ...] = ()
    error_body: str | None = None
    failure: str | None = None
    times: Times = Times()
    bytes_sent: int = 0
    bytes_received: int = 0
    connection: int | None = None
    reused: bool = False
    attempt: int = 1


class Action(StrEnum):
    """What was done about a piece of content."""

    EXISTS = "exists"
    MOUNTED = "mounted"
    UPLOADED = "uploaded"
    DOWNLOADED = "downloaded"
    COPIED = "copied"
    SKIPPED = "skipped"


class Decision(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="decision", tag_field="record"
):
    """Why a piece of content was or was not moved.

    Attributes:
        at: Seconds since the epoch.
        digest: Of the content.
        media_type: Of the content.
        size: Of the content, in bytes.
        kind: Where it lives.
        role: What it is in its manifest: config, layer, manifest, …; `root` for what was asked for.
        action: What was done.
        reason: Why, in words.
        platform: What the content is for, if that is known.
    """

    at: float
    digest: Digest
    media_type: str
    size: int
    kind: Literal["blob", "manifest"]
    role: str
    action: Action
    reason: str
    platform: str | None = None


Record: TypeAlias = Exchange | Decision
