"""`/v2/`: from a request to its answer. The path of every pull and push, so nothing here is done twice."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from entrepot.errors import ConnectionFailed, EntrepotError, RegistryError
from entrepot.server import problems
from entrepot.server.access import Access, Authoriser
from entrepot.server.access_log import AccessLog
from entrepot.server.asgi import Header, Receive, Scope, Send
from entrepot.server.log import Log
from entrepot.server.metrics import Metrics
from entrepot.server.origins import Origins
from entrepot.server.requests import Request
from entrepot.server.responses import Response, deliver
from entrepot.server.router import match
from entrepot.server.routes import Route

__all__ = ["Api", "Handler"]

Handler: TypeAlias = Callable[[Any, Request, Access], Awaitable[Response]]
"""Answers one type of route, which is its first argument."""

CLIENT_GONE: Final = 499
"""What is logged for a request that nobody was there to get an answer to; nginx calls it the same."""

_UNANSWERED: Final = Response(CLIENT_GONE, ())
_BODILESS: Final = frozenset({"GET", "HEAD"})


class Api:
    """Routes, authorises, answers, counts and logs.

    Args:
        handlers: What answers each type of route.
        authoriser: Is asked before every handler.
        origins: Knows who a client behind a proxy is.
        metrics: Counts.
        access_log: Logs each request, if it is not None.
        log: Takes what failed.
        headers: Of every answer.
    """

    def __init__(
        self,
        *,
        handlers: Mapping[type[Route], Handler],
        authoriser: Authoriser,
        origins: Origins,
        metrics: Metrics,
        access_log: AccessLog | None,
        log: Log,
        headers: Sequence[Header],
    ) -> None:
        self._handlers = handlers
        self._authoriser = authoriser
        self._origins = origins
        self._metrics = metrics
        self._access_log = access_log
        self._log = log
        self._headers = tuple(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request.

        Raises:
            EntrepotError: The answer had begun and could not be finished; whoever runs us closes the connection.
        """
        began = time.perf_counter()
        request = Request(scope, receive)
        method: str = scope["method"]
        metrics = self._metrics
        metrics.in_flight += 1
        endpoint, response, aborted = "none", _UNANSWERED, True
        try:
            endpoint, response = await self._answer(request)
            if method not in _BODILESS:
                await request.drain()
            await deliver(response, receive, send, headers=self._headers, head=method == "HEAD")
            aborted = False
        except ConnectionFailed:
            pass  # the client has gone: nobody is left to be told
        except EntrepotError as error:
            self._log.error("an answer broke off", path=_path(scope), error=str(error))
            raise
        finally:
            metrics.in_flight -= 1
            seconds, status, sent = time.perf_counter() - began, response.status, response.sent
            metrics.record(endpoint, method, status, seconds=seconds, received=request.received, sent=sent)
            if self._access_log is not None:
                remote = self._origins.client(request)
                self._access_log.write(
                    request, remote, status=status, sent=sent, seconds=seconds, aborted=aborted
                )

    async def _answer(self, request: Request) -> tuple[str, Response]:
        """Return the endpoint's name and its answer; an error becomes one."""
        scope = request.scope
        endpoint = "none"
        try:
            route = match(scope["method"], scope["raw_path"], scope["query_string"])
            endpoint = type(route).__name__
            access = self._authoriser.authorise(route, request)
            return endpoint, await self._handlers[type(route)](route, request, access)
        except ConnectionFailed:
            raise
        except RegistryError as error:
            if error.peer is not None:
                self._log.error("another registry's error got out", path=_path(scope), error=repr(error))
            return endpoint, problems.render(error)
        except Exception as error:
            self._log.error("a request failed", path=_path(scope), error=repr(error), exc_info=error)
            return endpoint, problems.render(error)


def _path(scope: Scope) -> str:
    raw_path: bytes = scope["raw_path"]
    return raw_path[:1_024].decode("ascii", "backslashreplace")
