"""What is answered, and how it gets onto the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from entrepot.server.asgi import Header, Receive, Send

__all__ = ["Content", "Response", "deliver", "json_response"]


class Content(Protocol):
    """A body that is not in memory.

    Attributes:
        sent: Bytes that have been sent so far.
    """

    sent: int

    async def send(self, receive: Receive, send: Send) -> None:
        """Send the whole body, piece by piece.

        Raises:
            ConnectionFailed: The client has gone.
        """

    def close(self) -> None:
        """Give back what the body holds open, sent or not."""


class Response:
    """An answer.

    Attributes:
        status: Of the answer.
        headers: In lower case; Content-Length among them wherever it is known.
        body: All of it, or something that sends it.
        sent: Bytes of the body that have been sent.
    """

    __slots__ = ("body", "headers", "sent", "status")

    def __init__(self, status: int, headers: Sequence[Header], body: bytes | Content = b"") -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.sent = 0

    def adding(self, *headers: Header) -> Response:
        """Return the same answer with more headers."""
        return Response(self.status, [*self.headers, *headers], self.body)


async def deliver(
    response: Response, receive: Receive, send: Send, *, headers: Sequence[Header], head: bool
) -> None:
    """Send an answer.

    Args:
        response: The answer; it is closed in the end.
        receive: Tells when the client goes.
        send: Where to.
        headers: Those of every answer.
        head: The request was HEAD, so all is the same except that no body follows.

    Raises:
        ConnectionFailed: The client has gone.
    """
    body = response.body
    await send(
        {"type": "http.response.start", "status": response.status, "headers": [*response.headers, *headers]}
    )
    if isinstance(body, bytes):
        await send({"type": "http.response.body", "body": b"" if head else body})
        response.sent = 0 if head else len(body)
        return
    try:
        if head:
            await send({"type": "http.response.body", "body": b""})
        else:
            await body.send(receive, send)
    finally:
        response.sent = body.sent
        body.close()


def json_response(body: bytes, *headers: Header, media_type: bytes = b"application/json") -> Response:
    """Return a successful answer whose body is this JSON."""
    return Response(
        200, [(b"content-type", media_type), (b"content-length", b"%d" % len(body)), *headers], body
    )
