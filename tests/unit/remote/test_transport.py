from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from yarl import URL

from entrepot.errors import (
    ConfigError,
    ConnectionFailed,
    ForbiddenURL,
    InvalidReference,
    ManifestUnknown,
    ProtocolViolation,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    VerificationError,
)
from entrepot.oci import Digest, mediatype
from entrepot.reference import Tag
from entrepot.remote import Limits, RemoteOptions
from entrepot.remote.authorizer import AuthRequest, Scope, SendAuthRequest
from entrepot.remote.message import Body
from entrepot.remote.proxies import Proxies
from entrepot.remote.session import Session
from entrepot.remote.urls import Hop, Reach, Reaches
from entrepot.wire.exchange import Cause
from entrepot.wire.record import Recorder

pytestmark = pytest.mark.anyio

PATH = "/v2/demo/app/manifests/v1"
UPLOADS = "/v2/demo/app/blobs/uploads/"
FOUND = {
    "Content-Type": mediatype.IMAGE_MANIFEST,
    "Docker-Content-Digest": Digest.of(b"x"),
    "Content-Length": "1",
}
TLS = Path(__file__).parent / "tls"


def tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")
    return context


async def test_requests_say_who_they_are_from_and_want_bytes_as_they_are(odd: Any) -> None:
    """User-Agent is ours, compression is not wanted, cookies are neither kept nor sent."""
    async with odd.trial() as trial:
        trial.peer.on("HEAD", PATH, odd.reply(headers={**FOUND, "Set-Cookie": "a=canary"}))
        await trial.repository.resolve(Tag("v1"))
        await trial.repository.resolve(Tag("v1"))
    first, second = trial.peer.asked
    assert first.headers["user-agent"].startswith("entrepot/")
    assert first.headers["accept-encoding"] == "identity"
    assert mediatype.IMAGE_INDEX in first.headers["accept"]
    assert "cookie" not in second.headers
    assert [e.reused for e in trial.exchanges] == [False, True]
    assert {e.connection for e in trial.exchanges} == {1}


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_what_may_pass_is_tried_again(odd: Any, status: int) -> None:
    """A request that changes nothing is repeated after a fault of the server."""
    async with odd.trial() as trial:
        trial.peer.on("HEAD", PATH, odd.reply(status), odd.reply(headers=FOUND))
        await trial.repository.resolve(Tag("v1"))
    assert [(e.status, e.cause, e.attempt, e.parent) for e in trial.exchanges] == [
        (status, Cause.INITIAL, 1, None),
        (200, Cause.RETRY, 2, 1),
    ]
    assert trial.waits == [0.125]


async def test_attempts_end_with_the_words_of_the_server(odd: Any) -> None:
    """When all attempts are used up, the error is what the server said last."""
    async with odd.trial() as trial:
        body = b'{"errors":[{"code":"UNAVAILABLE","message":"too full"}]}'
        trial.peer.on("GET", "/v2/demo/app/tags/list", odd.reply(503, body))
        with pytest.raises(Unavailable, match="too full"):
            [_ async for _ in trial.repository.tags()]
    assert len(trial.peer.asked) == odd.limits.max_attempts


async def test_retry_after_is_honoured(odd: Any) -> None:
    """The server's pause is waited for, in seconds or until a date."""
    async with odd.trial() as trial:
        date = "Tue, 14 Nov 2023 22:13:29 GMT"
        busy = [odd.reply(429, headers={"Retry-After": value}) for value in ("7", date)]
        trial.peer.on("HEAD", PATH, *busy, odd.reply(headers=FOUND))
        await trial.repository.resolve(Tag("v1"))
    assert trial.waits == [7.0, 9.0]


async def test_a_pause_that_is_too_long_is_an_error_at_once(odd: Any) -> None:
    """Nobody waits an hour unasked: the error says how long it would be."""
    async with odd.trial() as trial:
        trial.peer.on("GET", "/v2/demo/app/tags/list", odd.reply(429, headers={"Retry-After": "3600"}))
        with pytest.raises(TooManyRequests) as caught:
            [_ async for _ in trial.repository.tags()]
    assert caught.value.retry_after == 3600
    assert trial.waits == []


async def test_a_broken_connection_is_tried_again(odd: Any) -> None:
    """A connection that is closed without an answer costs an attempt, not the request."""
    async with odd.trial() as trial:
        trial.peer.on("HEAD", PATH, odd.reply(raw=b""), odd.reply(headers=FOUND))
        await trial.repository.resolve(Tag("v1"))
    first, second = trial.exchanges
    assert first.status is None
    assert first.failure
    assert (second.cause, second.parent) == (Cause.RETRY, first.id)


async def test_nobody_listens(odd: Any) -> None:
    """An unreachable registry is named, and one on this machine is not waited for."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        for options in ({}, {"plain_http": False}):
            async with odd.trial(host=host, **options) as trial:
                with pytest.raises(ConnectionFailed, match=host) as caught:
                    await trial.repository.resolve(Tag("v1"))
            assert caught.value.peer == host
            assert trial.waits == []


@pytest.mark.parametrize(
    "raw", [b"SSH-2.0-OpenSSH_9\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n"]
)
async def test_an_answer_that_is_not_http(odd: Any, raw: bytes) -> None:
    """Another protocol, or a head without end, is an error that says so."""
    async with odd.trial() as trial:
        trial.peer.on("GET", "/v2/demo/app/tags/list", odd.reply(raw=raw))
        with pytest.raises(ProtocolViolation, match="not HTTP"):
            [_ async for _ in trial.repository.tags()]


async def test_redirects_are_followed_and_recorded(odd: Any) -> None:
    """Each hop of a redirect is an exchange, linked to the one before; opaque queries arrive as they were."""
    async with odd.trial() as trial, odd.peer().serving() as cdn:
        trial.peer.on("HEAD", PATH, odd.reply(307, headers={"Location": "/moved?a=%2F%3d&b=c+d=="}))
        trial.peer.on(
            "HEAD", "/moved", odd.reply(302, headers={"Location": f"http://{cdn.host}/x?sig=canary%2B"})
        )
        cdn.on("HEAD", "/x", odd.reply(headers=FOUND))
        await trial.repository.resolve(Tag("v1"))
    assert trial.peer.asked[1].target == "/moved?a=%2F%3d&b=c+d=="
    assert cdn.asked[0].target == "/x?sig=canary%2B"
    assert [(e.cause, e.parent) for e in trial.exchanges] == [
        (Cause.INITIAL, None),
        (Cause.REDIRECT, 1),
        (Cause.REDIRECT, 2),
    ]
    assert "canary" not in repr(trial.records)


async def test_redirects_have_an_end(odd: Any) -> None:
    """A circle of redirects is an error after the tenth."""
    async with odd.trial() as trial:
        trial.peer.on(
            "GET", "/v2/demo/app/tags/list", odd.reply(307, headers={"Location": "/v2/demo/app/tags/list"})
        )
        with pytest.raises(ProtocolViolation, match="redirected more than 10 times"):
            [_ async for _ in trial.repository.tags()]
    assert len(trial.peer.asked) <= 12


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "http://169.254.169.254/latest", "ftp://x/", "http://[::1", ""]
)
async def test_redirects_to_where_we_do_not_go(odd: Any, location: str) -> None:
    """A redirect that the policy refuses is an error, and nothing is sent there."""
    async with odd.trial() as trial:
        trial.peer.on("GET", "/v2/demo/app/tags/list", odd.reply(307, headers={"Location": location}))
        with pytest.raises(ForbiddenURL):
            [_ async for _ in trial.repository.tags()]
    assert len(trial.exchanges) == 1


class Knows:
    """An authorizer that knows one token, and takes it from a token service when it is asked."""

    def __init__(self, *, realm: str | None = None) -> None:
        self.realm = realm
        self.known: str | None = None
        self.asked: list[tuple[list[str], list[str]]] = []

    async def authorization(self, scopes: Sequence[Scope]) -> str | None:
        return self.known

    async def answer(
        self, challenges: Sequence[str], scopes: Sequence[Scope], send: SendAuthRequest
    ) -> str | None:
        self.asked.append((list(challenges), [str(scope) for scope in scopes]))
        if self.realm is not None:
            headers = (("Authorization", "Basic canary"),)
            response = await send(
                AuthRequest(f"{self.realm}?service=s&scope=repository:demo/app:pull", headers=headers)
            )
            self.known = f"Bearer {response.body.decode()}"
        return self.known


def challenged(odd: Any, asked: Any) -> Any:
    if asked.headers.get("authorization") == "Bearer canary":
        return odd.reply(headers=FOUND)
    return odd.reply(401, headers={"WWW-Authenticate": 'Bearer realm="https://auth.example/t",service="s"'})


async def test_without_credentials_a_401_is_an_error_with_its_challenge(odd: Any) -> None:
    """Nobody to ask: the server's words and its challenge are all there is to say."""
    async with odd.trial() as trial:
        body = b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'
        headers = {"WWW-Authenticate": 'Basic realm="corp"'}
        trial.peer.on("GET", "/v2/demo/app/tags/list", odd.reply(401, body, headers=headers))
        with pytest.raises(Unauthorized, match="authentication required") as caught:
            [_ async for _ in trial.repository.tags()]
    assert caught.value.hint is not None
    assert 'Basic realm="corp"' in caught.value.hint


async def test_a_challenge_is_answered_once(odd: Any) -> None:
    """A 401 asks the authorizer, which may ask a token service; all of it is recorded, no secret is."""
    async with odd.peer().serving() as service:
        authorizer = Knows(realm=f"http://{service.host}/token")
        service.on("GET", "/token", odd.reply(body=b"canary"))
        async with odd.trial(authorizer=authorizer) as trial:
            trial.peer.on("HEAD", PATH, lambda asked: challenged(odd, asked))
            await trial.repository.resolve(Tag("v1"))
            await trial.repository.resolve(Tag("v1"))
    assert [(e.cause, e.parent, e.status) for e in trial.exchanges] == [
        (Cause.INITIAL, None, 401),
        (Cause.TOKEN, 1, 200),
        (Cause.CHALLENGE, 1, 200),
        (Cause.INITIAL, None, 200),
    ]
    assert authorizer.asked == [
        (['Bearer realm="https://auth.example/t",service="s"'], ["repository:demo/app:pull"])
    ]
    assert service.asked[0].headers["authorization"] == "Basic canary"
    assert "canary" not in repr(trial.records)
    assert ("authorization", "Bearer …") in trial.exchanges[2].request_headers


async def test_an_answer_that_does_not_help_is_not_repeated(odd: Any) -> None:
    """A second 401 is final."""
    authorizer = Knows()
    authorizer.known = "Bearer stale"
    async with odd.trial(authorizer=authorizer) as trial:
        trial.peer.on("GET", "/v2/demo/app/tags/list", lambda asked: challenged(odd, asked))
        with pytest.raises(Unauthorized):
            [_ async for _ in trial.repository.tags()]
    assert len(trial.peer.asked) == 2


@pytest.mark.parametrize("realm", ["file:///etc/passwd", "http://169.254.169.254/token"])
async def test_a_realm_is_a_url_like_any_other(odd: Any, realm: str) -> None:
    """No credentials go to a realm that the policy refuses."""
    async with odd.trial(authorizer=Knows(realm=realm)) as trial:
        trial.peer.on("HEAD", PATH, lambda asked: challenged(odd, asked))
        with pytest.raises(ForbiddenURL):
            await trial.repository.resolve(Tag("v1"))


async def test_credentials_stay_at_their_origin(odd: Any) -> None:
    """A redirect to another port of the same host carries no Authorization; one to the same origin does."""
    authorizer = Knows()
    authorizer.known = "Bearer canary"
    async with odd.trial(authorizer=authorizer) as trial, odd.peer().serving() as cdn:
        trial.peer.on("HEAD", PATH, odd.reply(307, headers={"Location": "/moved"}))
        trial.peer.on("HEAD", "/moved", odd.reply(307, headers={"Location": f"http://{cdn.host}/x"}))
        cdn.on("HEAD", "/x", odd.reply(401), odd.reply(headers=FOUND))
        with pytest.raises((Unauthorized, ManifestUnknown)):
            await trial.repository.resolve(Tag("v1"))
    assert [asked.headers.get("authorization") for asked in trial.peer.asked[:2]] == ["Bearer canary"] * 2
    assert all("authorization" not in asked.headers for asked in cdn.asked)
    assert authorizer.asked == []


async def test_warnings_are_reported_once(odd: Any) -> None:
    """A registry's Warning is passed on, once, however often it comes."""
    async with odd.trial() as trial:
        trial.peer.on("HEAD", PATH, odd.reply(headers={**FOUND, "Warning": '299 - "moving soon"'}))
        await trial.repository.resolve(Tag("v1"))
        await trial.repository.resolve(Tag("v1"))
    assert trial.warnings == ["moving soon"]


@pytest.mark.parametrize("host", ["localhost:{port}", "127.0.0.1:{port}"])
async def test_this_machine_may_speak_plain_http(odd: Any, host: str) -> None:
    """A loopback registry without TLS is found out once, then spoken to in http."""
    async with odd.trial(host=host, plain_http=False) as trial:
        trial.peer.on("HEAD", PATH, odd.reply(headers=FOUND))
        await trial.repository.resolve(Tag("v1"))
        await trial.repository.resolve(Tag("v1"))
    assert all(e.url.startswith("http://") for e in trial.exchanges)
    assert len(trial.exchanges) == 2


async def test_this_machine_may_speak_tls_and_is_verified(odd: Any) -> None:
    """A loopback registry with TLS is not spoken to in plain http because its certificate is unknown."""
    async with odd.trial(tls=tls()) as trial:
        with pytest.raises(ConnectionFailed, match="certificate is not trusted") as caught:
            await trial.repository.resolve(Tag("v1"))
    assert caught.value.hint is not None
    assert trial.peer.asked == []
    assert trial.waits == []


@pytest.mark.parametrize("options", [{"cacert": TLS / "cert.pem"}, {"insecure": True}])
async def test_a_certificate_can_be_trusted_or_passed_over(odd: Any, options: dict[str, Any]) -> None:
    """`cacert` adds an authority, `insecure` skips verification; both speak https."""
    async with odd.trial(tls=tls(), **options) as trial:
        trial.peer.on("HEAD", PATH, odd.reply(headers=FOUND))
        await trial.repository.resolve(Tag("v1"))
    assert trial.exchanges[0].url.startswith("https://")


async def test_no_way_down_from_https(odd: Any) -> None:
    """A registry that speaks https cannot lead to http, on this machine neither."""
    async with odd.trial(tls=tls(), insecure=True) as trial, odd.peer().serving() as plain:
        trial.peer.on(
            "GET", "/v2/demo/app/tags/list", odd.reply(307, headers={"Location": f"http://{plain.host}/"})
        )
        with pytest.raises(ForbiddenURL, match="from https to http"):
            [_ async for _ in trial.repository.tags()]
    assert plain.asked == []


async def test_an_authority_that_is_none(odd: Any, tmp_path: Path) -> None:
    """A file of certificates that is missing or is none is named."""
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    for cacert in (empty, tmp_path / "missing.pem"):
        async with odd.trial(tls=tls(), cacert=cacert) as trial:
            with pytest.raises(ConfigError, match=cacert.name):
                await trial.repository.resolve(Tag("v1"))


async def test_a_silent_peer_is_given_up(odd: Any) -> None:
    """A peer that accepts and never answers costs the read timeout, not for ever."""
    import asyncio

    async def silent(_: Any) -> Any:
        await asyncio.Event().wait()

    limits = Limits(max_attempts=1, read_timeout_seconds=0.05)
    async with odd.trial(limits=limits) as trial:
        trial.peer.on("GET", "/v2/demo/app/tags/list", silent)
        with pytest.raises(ConnectionFailed, match="no answer in time"):
            [_ async for _ in trial.repository.tags()]


async def test_a_peer_that_stops_reading_is_given_up(odd: Any) -> None:
    """A body that nobody takes is not waited for longer than an answer would be."""
    content = bytes(64 << 20)
    limits = Limits(max_attempts=1, read_timeout_seconds=0.2, cancel_timeout_seconds=0.05)

    async with odd.trial(limits=limits) as trial:
        trial.peer.on("POST", UPLOADS, odd.reply(202, headers={"Location": "/up"}))
        trial.peer.on("PUT", "/up", odd.reply(reads=0, hangs=True))
        with pytest.raises(ConnectionFailed, match="no answer in time"):
            await trial.repository.write_blob(odd.blob(content), odd.source(content, piece=1 << 20))


async def test_a_source_that_takes_its_time_is_waited_for(odd: Any) -> None:
    """The peer is not blamed for what the source needs."""
    content = bytes(1000)
    limits = Limits(max_attempts=1, read_timeout_seconds=0.05)

    @asynccontextmanager
    async def slow(offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        async def chunks() -> AsyncIterator[bytes]:
            yield content[:500]
            await anyio.sleep(0.2)
            yield content[500:]

        yield chunks()

    async with odd.trial(limits=limits) as trial:
        trial.peer.on("POST", UPLOADS, odd.reply(202, headers={"Location": "/up"}))
        trial.peer.on("PUT", "/up", odd.reply(201))
        await trial.repository.write_blob(odd.blob(content), slow)


async def test_through_a_proxy(odd: Any) -> None:
    """A proxy gets the whole URL, and its credentials are neither recorded nor sent to the registry."""
    environ = {"HTTP_PROXY": "http://me:canary@127.0.0.1:{port}"}
    async with odd.trial(host="registry.example", environ=environ) as trial:
        trial.peer.on("HEAD", f"http://registry.example{PATH}", odd.reply(headers=FOUND))
        await trial.repository.resolve(Tag("v1"))
    (asked,) = trial.peer.asked
    assert asked.headers["host"] == "registry.example"
    assert asked.headers["proxy-authorization"].startswith("Basic ")
    assert "canary" not in repr(trial.records)


async def test_a_proxy_that_refuses(odd: Any) -> None:
    """An https registry is reached by CONNECT; a refusal is the proxy's, and is not repeated."""
    environ = {"HTTPS_PROXY": "127.0.0.1:{port}"}
    async with odd.trial(host="registry.example", environ=environ, plain_http=False) as trial:
        trial.peer.on("CONNECT", "registry.example:443", odd.reply(403))
        with pytest.raises(
            ConnectionFailed, match=r"the proxy refused to connect, status 403: registry\.example"
        ):
            await trial.repository.resolve(Tag("v1"))
    assert len(trial.peer.asked) == 1


async def test_a_host_that_turns_out_to_be_this_machine(odd: Any) -> None:
    """Whatever a name looked like, the address that it leads to is judged before it is connected to."""
    recorder = Recorder()
    session = Session(RemoteOptions(), recorder, Proxies())
    async with odd.peer().serving() as peer:
        url = URL(f"http://{peer.host}/", encoded=True)
        hop = Hop(url, Reach.PUBLIC, Reaches(), "registry.example")
        with pytest.raises(ForbiddenURL, match=r"this machine, 127\.0\.0\.1"):
            await session.send("GET", hop, headers=(), body=None, recording=recorder.begin("GET", str(url)))
        await session.close()
    assert peer.connections == 0


@pytest.mark.parametrize("host", ["demo", "a/b", "UPPER/x", ""])
async def test_a_registry_that_is_no_host(odd: Any, host: str) -> None:
    """A name without a dot or a port is not taken for a repository of Docker Hub."""
    async with odd.trial() as trial:
        with pytest.raises(InvalidReference):
            trial.remote.registry(host)
        assert trial.remote.registry("docker.io").host == "docker.io"
        assert trial.remote.registry("localhost:5000").host == "localhost:5000"


@pytest.mark.parametrize("announced", [99, 101])
async def test_a_body_that_is_not_as_long_as_announced(odd: Any, announced: int) -> None:
    """Neither cut nor waited for: it is an error that names the length."""
    recorder = Recorder()
    session = Session(RemoteOptions(), recorder, Proxies())
    body = Body(announced, Body.of(bytes(100)).open)
    async with odd.peer().serving() as peer:
        hop = Hop(URL(f"http://{peer.host}/"), None, Reaches(), peer.host)
        with pytest.raises(VerificationError, match=f"bytes than announced: .*{announced}"):
            await session.send("PUT", hop, headers=(), body=body, recording=recorder.begin("PUT", ""))
        await session.close()
