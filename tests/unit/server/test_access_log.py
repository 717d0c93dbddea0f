"""The access log: whole lines, in order, and never in the way."""

from __future__ import annotations

import json
import os
import threading

import pytest

from entrepot.server.access_log import MAX_WRITE_BYTES, AccessLog, _blocks
from entrepot.server.requests import Request

pytestmark = pytest.mark.anyio


def request(path=b"/v2/", query=b"", **headers):
    async def receive():
        raise AssertionError

    lines = [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
    return Request({"headers": lines, "method": "GET", "raw_path": path, "query_string": query}, receive)


def read(descriptor):
    with os.fdopen(descriptor, "rb") as file:
        return [json.loads(line) for line in file]


async def test_lines():
    """Each request is a line, in order; odd bytes are escaped and long values are cut."""
    out, into = os.pipe()
    log = AccessLog(into)
    log.write(request(b'/v2/a"\n\xff'), "::1", status=404, sent=3, seconds=0.0123)
    log.write(
        request(b"/" + b"x" * 10_000, user_agent=b"\x1b[31m" + b"y" * 10_000),
        "",
        status=200,
        sent=0,
        seconds=1,
    )
    log.close()
    os.close(into)
    first, second = read(out)
    assert first["path"] == '/v2/a"\n\\xff'
    assert (first["status"], first["sent"], first["milliseconds"], first["remote"]) == (404, 3, 12.3, "::1")
    assert "aborted" not in first
    assert len(second["path"]) == 1_024
    assert len(second["agent"]) == 256


async def test_query():
    """Values of parameters that the registry does not know are withheld."""
    out, into = os.pipe()
    log = AccessLog(into)
    log.write(request(query=b"digest=sha256:a&token=s3cret&n=5&sig&x=%0A"), "", status=200, sent=0, seconds=0)
    log.close()
    os.close(into)
    assert read(out)[0]["path"] == "/v2/?digest=sha256:a&token=-&n=5&sig=-&x=-"


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "0af7651916cd43dd8448eb211c80319c"),
        (b"00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01", ""),
        (b"00-" + b'"' * 32 + b"-b7ad6b7169203331-01", ""),
        (b"", ""),
    ],
)
async def test_trace(header, trace):
    """The trace id is that of traceparent, if it is well-formed."""
    out, into = os.pipe()
    log = AccessLog(into)
    log.write(request(traceparent=header), "", status=200, sent=0, seconds=0)
    log.close()
    os.close(into)
    assert read(out)[0].get("trace", "") == trace


async def test_slow_reader():
    """A reader that does not read stops nothing: lines wait, then are dropped and counted, and come when it reads."""
    out, into = os.pipe()
    log = AccessLog(into)
    asked = request(b"/" + b"x" * 1_000)
    for _ in range(6_000):
        log.write(asked, "", status=200, sent=0, seconds=0)
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(read(out)))
    reader.start()
    log._thread.submit(lambda: None).result()
    log.write(asked, "", status=200, sent=0, seconds=0)
    log.close()
    os.close(into)
    reader.join()
    dropped = sum(line.get("dropped", 0) for line in lines)
    written = sum("path" in line for line in lines)
    assert dropped > 0
    assert written + dropped == 6_001


async def test_closed_reader():
    """A log that nobody can read any more is no reason to fail."""
    out, into = os.pipe()
    os.close(out)
    log = AccessLog(into)
    log.write(request(), "", status=200, sent=0, seconds=0)
    log.close()
    os.close(into)


def test_blocks():
    """What is written at once fits into a pipe in one piece, and ends where a line ends."""
    lines = [b"x" * n for n in (10, 4_000, 90, 4_095, 1, 1)]
    blocks = _blocks(lines)
    assert b"".join(blocks) == b"".join(line + b"\n" for line in lines)
    assert all(len(block) <= MAX_WRITE_BYTES and block.endswith(b"\n") for block in blocks)
