"""A conversation with one registry: what is asked, followed, repeated, authorised; and what its refusals mean."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import anyio
from yarl import URL

from entrepot.errors import ConnectionFailed, ProtocolViolation
from entrepot.remote.authorizer import Authorizer, AuthRequest, AuthResponse
from entrepot.remote.hosts import Hopeless, base_url
from entrepot.remote.message import Body, Request
from entrepot.remote.notices import Notices
from entrepot.remote.options import RemoteOptions
from entrepot.remote.problems import Refusal, problem
from entrepot.remote.proxies import Proxies
from entrepot.remote.retry import RETRIED_STATUSES, Retries
from entrepot.remote.session import Response, Session
from entrepot.remote.urls import Hop, Reaches, same_origin
from entrepot.wire.exchange import Cause
from entrepot.wire.record import Recorder

__all__ = ["Transport"]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(slots=True)
class _Trail:
    """How a request came to be sent: for the record, and to know when to stop.

    Attributes:
        cause: Why the next exchange is begun.
        parent: The exchange that caused it.
        attempt: Which attempt of the request it belongs to.
        last: The exchange that was begun last.
    """

    cause: Cause
    parent: int | None
    attempt: int = 1
    last: int | None = None

    def leads_to(self, cause: Cause) -> None:
        """Note that the last exchange causes another."""
        self.cause, self.parent = cause, self.last


class Transport:
    """Everything that is said to one registry goes through here.

    Args:
        peer: The registry as references name it, `host[:port]`; what errors call it.
        api_host: Where it really is (`Reference.api_host`).
        options: How it is reached.
        recorder: Each exchange is recorded there.
        authorizer: Who knows the credentials; without one nothing is ever authorised.
        proxies: Which proxies to use.
        retries: How patiently; by default as `options.limits` says.
        notices: Where warnings are collected.
    """

    def __init__(
        self,
        peer: str,
        api_host: str,
        *,
        options: RemoteOptions,
        recorder: Recorder | None = None,
        authorizer: Authorizer | None = None,
        proxies: Proxies | None = None,
        retries: Retries | None = None,
        notices: Notices | None = None,
    ) -> None:
        self.peer = peer
        self.options = options
        self.recorder = recorder or Recorder()
        self.notices = notices or Notices(peer)
        self.retries = retries or Retries(
            max_attempts=options.limits.max_attempts,
            max_retry_after_seconds=options.limits.max_retry_after_seconds,
        )
        self._api_host = api_host
        self._authorizer = authorizer
        self._session = Session(options, self.recorder, proxies or Proxies())
        self._reaches = Reaches()
        self._base: URL | None = None
        self._base_lock = anyio.Lock()

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    @asynccontextmanager
    async def exchange(self, request: Request) -> AsyncIterator[Response]:
        """Send a request and give its response, redirects followed and faults retried.

        Raises:
            RegistryError: The registry refuses, with the class that its answer means.
            ConnectionFailed: It cannot be reached, or the connection broke.
            ProtocolViolation: It answered with a status that is neither expected nor an error, or not in HTTP.
            ForbiddenURL: It leads to where we do not go.
        """
        response = await self._persevere(request)
        try:
            await self._judge(request, response)
            yield response
        except BaseException:
            await response.abort()
            raise
        await response.close()

    async def _persevere(self, request: Request) -> Response:
        """Send a request as often as `retries` allows; return the first response that is final."""
        trail = _Trail(request.cause, request.parent)
        while True:
            next_attempt = trail.attempt + 1
            try:
                response = await self._follow(request, trail)
            except Hopeless:
                raise
            except ConnectionFailed:
                wait = self.retries.wait_before(next_attempt) if request.repeatable else None
                if wait is None:
                    raise
            else:
                wait = self._wait_after(request, response, next_attempt)
                if wait is None:
                    return response
                await response.refusal(self.options.limits.max_error_bytes)
                await response.close()
            await self.retries.sleep(wait)
            trail.leads_to(Cause.RETRY)
            trail.attempt = next_attempt

    def _wait_after(self, request: Request, response: Response, next_attempt: int) -> float | None:
        """Return how long to wait before a request is sent again; None when the response is final."""
        if (
            not request.repeatable
            or response.status not in RETRIED_STATUSES
            or response.status in request.expect
        ):
            return None
        return self.retries.wait_before(next_attempt, self.retries.retry_after(response.headers))

    async def _follow(self, request: Request, trail: _Trail) -> Response:
        """Send a request, answer one challenge, follow redirects."""
        hop = request.to if isinstance(request.to, Hop) else await self._home(request.to)
        home = await self._base_url()
        authorization = await self._authorization(request) if same_origin(hop.url, home) else None
        challenged = False
        for _ in range(self.options.limits.max_redirects + 2):
            response = await self._send(request, hop, trail, authorization)
            try:
                if response.status == 401 and not challenged and same_origin(hop.url, home):
                    challenged = True
                    authorization = await self._answer(request, response)
                    if authorization is None:
                        return response
                    trail.leads_to(Cause.CHALLENGE)
                elif response.status in _REDIRECTS and "Location" in response.headers:
                    hop = response.follow("Location")
                    if not same_origin(hop.url, home):
                        authorization = None
                    trail.leads_to(Cause.REDIRECT)
                    request = _redirected(request, response.status)
                else:
                    return response
            except BaseException:
                await response.abort()
                raise
            await response.close()
        raise ProtocolViolation(
            f"redirected more than {self.options.limits.max_redirects} times: {request.subject}",
            peer=self.peer,
        )

    async def _send(self, request: Request, hop: Hop, trail: _Trail, authorization: str | None) -> Response:
        headers = list(request.headers)
        if authorization is not None:
            headers.append(("Authorization", authorization))
        recording = self.recorder.begin(
            request.method,
            str(hop.url),
            phase=request.phase,
            cause=trail.cause,
            parent=trail.parent,
            attempt=trail.attempt,
            headers=headers,
        )
        trail.last = recording.id
        response = await self._session.send(
            request.method, hop, headers=headers, body=request.body, recording=recording
        )
        self.notices.collect(response.headers.getall("Warning", ()))
        return response

    async def _judge(self, request: Request, response: Response) -> None:
        """Raise what a response means that is not an expected one."""
        if response.status in request.expect:
            return
        if response.status < 400:
            expected = " or ".join(map(str, sorted(request.expect)))
            raise ProtocolViolation(
                f"{self.peer} answered {response.status} where {expected} was due: {request.subject}",
                peer=self.peer,
            )
        raise problem(
            Refusal(
                status=response.status,
                headers=response.headers,
                body=await response.refusal(self.options.limits.max_error_bytes),
                peer=self.peer,
                subject=request.subject,
                absent=request.absent,
                manifest=request.manifest,
                retry_after=self.retries.retry_after(response.headers),
            )
        )

    async def _home(self, path: str) -> Hop:
        base = await self._base_url()
        return Hop(URL(f"{base}{path}", encoded=True), None, self._reaches, self.peer)

    async def _base_url(self) -> URL:
        if self._base is None:
            async with self._base_lock:
                if self._base is None:
                    self._base = await base_url(self._api_host, self.options)
        return self._base

    async def _authorization(self, request: Request) -> str | None:
        return await self._authorizer.authorization(request.scopes) if self._authorizer else None

    async def _answer(self, request: Request, response: Response) -> str | None:
        """Let the authorizer answer a 401; its token requests are exchanges of their own."""
        if self._authorizer is None:
            return None

        async def send(asked: AuthRequest) -> AuthResponse:
            return await self._send_auth(asked, response)

        return await self._authorizer.answer(
            response.headers.getall("WWW-Authenticate", ()), request.scopes, send
        )

    async def _send_auth(self, asked: AuthRequest, challenge: Response) -> AuthResponse:
        """Send a request to a token service. It is not redirected: it may carry a password."""
        hop = challenge.hop.follow(asked.url, given_as="the realm")
        recording = self.recorder.begin(
            asked.method, str(hop.url), phase=asked.phase, cause=Cause.TOKEN, parent=challenge.exchange
        )
        body = Body.of(asked.form) if asked.form is not None else None
        response = await self._session.send(
            asked.method, hop, headers=asked.headers, body=body, recording=recording
        )
        try:
            content = await response.read(self.options.limits.max_error_bytes)
        finally:
            await response.close()
        return AuthResponse(response.status, tuple(response.headers.items()), content)


def _redirected(request: Request, status: int) -> Request:
    """Return the request to send to where a redirect leads: the same, except that 303 asks for a GET."""
    if status != 303 or request.method in {"GET", "HEAD"}:
        return request
    return replace(request, method="GET", body=None)
