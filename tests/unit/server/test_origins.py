"""Where a request has reached us, and from whom it is."""

from __future__ import annotations

import ipaddress

import pytest

from entrepot.server.origins import Origins
from entrepot.server.requests import Request

PROXIES = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))


def request(headers, *, client="10.0.0.1", scheme="http"):
    async def receive():
        raise AssertionError

    lines = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return Request(
        {"headers": lines, "client": (client, 1), "scheme": scheme, "http_version": "1.1"}, receive
    )


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("host", "a.example:5000")], "http://a.example:5000"),
        ([("host", "[::1]:5000")], "http://[::1]:5000"),
        ([("host", "a.example"), ("x-forwarded-proto", "https")], "https://a.example"),
        (
            [("host", "a"), ("x-forwarded-host", "b.example"), ("x-forwarded-proto", "HTTPS")],
            "https://b.example",
        ),
        ([("host", "a"), ("x-forwarded-host", "evil.example, b.example")], "http://b.example"),
        (
            [("host", "a"), ("forwarded", 'for=1.2.3.4;proto=https;host="b.example:444"')],
            "https://b.example:444",
        ),
        (
            [("host", "a"), ("forwarded", "host=evil.example, Host=b.example;Proto=https")],
            "https://b.example",
        ),
        ([("host", "a"), ("forwarded", "for=1.2.3.4"), ("x-forwarded-host", "evil.example")], "http://a"),
        ([("host", "a"), ("x-forwarded-proto", "javascript")], ""),
        ([("host", "a/b")], ""),
        ([("host", "a b")], ""),
        ([("host", 'a"')], ""),
        ([("host", "a@b")], ""),
        ([("host", "a"), ("host", "b")], ""),
        ([("host", "")], ""),
        ([], ""),
    ],
)
def test_origin_behind_a_proxy(headers, expected):
    """The nearest proxy's word counts if it is trusted, and what is no host never gets out."""
    assert Origins(None, PROXIES).of(request(headers)) == expected


def test_origin_of_a_stranger():
    """Who is no trusted proxy is not believed."""
    headers = [("host", "a"), ("x-forwarded-host", "evil"), ("forwarded", "host=evil;proto=https")]
    assert Origins(None, PROXIES).of(request(headers, client="192.0.2.1")) == "http://a"
    assert Origins(None, ()).of(request(headers)) == "http://a"


def test_public_url():
    """What is configured beats everything."""
    assert Origins("https://x.example/", PROXIES).of(request([("host", "a")])) == "https://x.example"


@pytest.mark.parametrize(
    ("peer", "headers", "expected"),
    [
        ("192.0.2.1", [("x-forwarded-for", "1.2.3.4")], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [("x-forwarded-for", "1.2.3.4")], "1.2.3.4"),
        ("10.0.0.1", [("x-forwarded-for", "9.9.9.9, 1.2.3.4, 10.0.0.2")], "1.2.3.4"),
        ("10.0.0.1", [("x-forwarded-for", "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
        ("10.0.0.1", [("forwarded", 'for="[2001:db8::1]:4711", for=10.0.0.2')], "2001:db8::1"),
        ("10.0.0.1", [("forwarded", "for=1.2.3.4:99")], "1.2.3.4"),
        ("fd00::1", [("x-forwarded-for", "1.2.3.4")], "1.2.3.4"),
        ("::ffff:10.0.0.1", [("x-forwarded-for", "1.2.3.4")], "1.2.3.4"),
        ("", [("x-forwarded-for", "1.2.3.4")], ""),
    ],
)
def test_client(peer, headers, expected):
    """The client is who stands before the first of our proxies; whoever writes the header cannot pretend."""
    assert Origins(None, PROXIES).client(request(headers, client=peer)) == expected
