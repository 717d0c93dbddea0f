from __future__ import annotations

import pytest
from yarl import URL

from entrepot.errors import ForbiddenURL
from entrepot.remote.urls import (
    Hop,
    Reach,
    Reaches,
    is_loopback,
    reach_of_address,
    same_origin,
    with_parameters,
)


def hop(url: str, **learned: Reach) -> Hop:
    reaches = Reaches()
    start = URL(url, encoded=True)
    if "here" in learned:
        reaches.learn(start, learned["here"])
    return Hop(start, None, reaches, "registry.example")


@pytest.mark.parametrize(
    ("base", "given", "expected"),
    [
        (
            "https://r.example/v2/a/blobs/uploads/",
            "/v2/a/blobs/uploads/1?_state=a%3D%3D",
            "https://r.example/v2/a/blobs/uploads/1?_state=a%3D%3D",
        ),
        ("https://r.example/v2/a/", "b?x=%2F", "https://r.example/v2/a/b?x=%2F"),
        ("https://r.example/v2/a", "?last=b", "https://r.example/v2/a?last=b"),
        ("https://r.example/v2/a", "//cdn.example/b", "https://cdn.example/b"),
        ("http://r.example/v2/a", "https://r.example/v2/a", "https://r.example/v2/a"),
        (
            "https://r.example/v2/a",
            "https://cdn.example/b?sig=A+b%2Bc==",
            "https://cdn.example/b?sig=A+b%2Bc==",
        ),
        ("https://r.example/v2/a", "https://user:secret@cdn.example/b", "https://cdn.example/b"),
        ("http://127.0.0.1:5000/v2/a", "http://127.0.0.1:5001/token", "http://127.0.0.1:5001/token"),
        ("http://127.0.0.1:5000/v2/a", "http://localhost:5001/token", "http://localhost:5001/token"),
        ("http://10.0.0.1/v2/a", "http://10.0.0.2/b", "http://10.0.0.2/b"),
        ("http://10.0.0.1/v2/a", "https://cdn.example/b", "https://cdn.example/b"),
        ("https://r.example/v2/a", "/v2/b#part", "https://r.example/v2/b"),
    ],
)
def test_a_url_that_may_be_followed(base: str, given: str, expected: str) -> None:
    """Relative and absolute URLs are resolved, and kept byte for byte otherwise."""
    assert str(hop(base).follow(given, given_as="the Location").url) == expected


@pytest.mark.parametrize(
    ("base", "given"),
    [
        ("https://r.example/v2/a", "http://r.example/v2/a"),
        ("https://r.example/v2/a", "file:///etc/passwd"),
        ("https://r.example/v2/a", "ftp://r.example/x"),
        ("https://r.example/v2/a", "gopher://r.example/x"),
        ("https://r.example/v2/a", "javascript:alert(1)"),
        ("https://r.example/v2/a", "https://127.0.0.1/x"),
        ("https://r.example/v2/a", "https://localhost/x"),
        ("https://r.example/v2/a", "https://LOCALHOST./x"),
        ("https://r.example/v2/a", "https://a.localhost/x"),
        ("https://r.example/v2/a", "https://[::1]/x"),
        ("https://r.example/v2/a", "https://[::ffff:127.0.0.1]/x"),
        ("https://r.example/v2/a", "https://[64:ff9b::a00:1]/x"),
        ("https://r.example/v2/a", "https://[2002:7f00:1::]/x"),
        ("https://r.example/v2/a", "https://0.0.0.0/x"),
        ("https://r.example/v2/a", "https://127.1/x"),
        ("https://r.example/v2/a", "https://2130706433/x"),
        ("https://r.example/v2/a", "https://0x7f000001/x"),
        ("https://r.example/v2/a", "https://0177.0.0.1/x"),
        ("https://r.example/v2/a", "https://10.1.2.3/x"),
        ("https://r.example/v2/a", "https://172.16.0.1/x"),
        ("https://r.example/v2/a", "https://192.168.1.1/x"),
        ("https://r.example/v2/a", "https://100.64.0.1/x"),
        ("https://r.example/v2/a", "https://169.254.169.254/latest/meta-data"),
        ("https://r.example/v2/a", "https://[fe80::1]/x"),
        ("https://r.example/v2/a", "https://[fd00::1]/x"),
        ("http://127.0.0.1:5000/v2/a", "http://169.254.169.254/x"),
        ("http://10.0.0.1/v2/a", "http://127.0.0.1/x"),
        ("http://10.0.0.1/v2/a", "http://169.254.169.254/x"),
        ("https://r.example/v2/a", "https://cdn.example:99999/x"),
        ("https://r.example/v2/a", "https://cdn.example:x/x"),
        ("https://r.example/v2/a", "https://cdn.example/a b"),
        ("https://r.example/v2/a", "https://cdn.example/\r\nX: y"),
        ("https://r.example/v2/a", "https://cdn.example/ä"),
        ("https://r.example/v2/a", ""),
        ("https://r.example/v2/a", "/" + "a" * 20_000),
    ],
)
def test_a_url_that_is_refused(base: str, given: str) -> None:
    """A URL that leads inwards, down to http, or to no HTTP at all, is refused, and the peer is named."""
    with pytest.raises(ForbiddenURL) as caught:
        hop(base).follow(given, given_as="the Location")
    assert caught.value.peer == "registry.example"
    assert "\n" not in caught.value.message
    assert "\r" not in caught.value.message


def test_the_refusal_names_the_url_and_withholds_its_secrets() -> None:
    """What is shown of a refused URL has neither user information nor the values of its parameters."""
    with pytest.raises(ForbiddenURL, match=r"http://cdn\.example/b\?sig=…$") as caught:
        hop("https://r.example/v2/a").follow(
            "http://me:canary@cdn.example/b?sig=canary", given_as="the Location"
        )
    assert "canary" not in str(caught.value)


def test_each_hop_is_judged_by_the_peer_that_gave_it() -> None:
    """A private registry may point at a public host, which may not point back inwards."""
    public = hop("http://10.0.0.1/v2/a").follow("http://cdn.example/b", given_as="the Location")
    with pytest.raises(ForbiddenURL):
        public.follow("http://10.0.0.1/c", given_as="the Location")


def test_a_name_is_judged_by_where_it_was_found() -> None:
    """A registry whose name was found at a private address may point at its private neighbours."""
    with pytest.raises(ForbiddenURL):
        hop("https://r.corp/v2/a").follow("https://10.0.0.9/x", given_as="the Location")
    assert hop("https://r.corp/v2/a", here=Reach.PRIVATE).follow(
        "https://10.0.0.9/x", given_as="the Location"
    )


def test_an_address_is_judged_when_it_is_connected_to() -> None:
    """A public-looking name that resolves to this machine is refused before there is a connection."""
    innocent = hop("https://r.example/v2/a").follow("https://rebind.example/x", given_as="the Location")
    with pytest.raises(OSError, match="this machine"):
        innocent.check("127.0.0.1")
    assert "127.0.0.1" in str(innocent.refusal())
    innocent.check("93.184.216.34")


def test_what_the_user_named_may_be_anywhere() -> None:
    """The registry itself is the user's choice: its address is learned, not judged."""
    home = hop("https://r.corp/v2/")
    home.check("10.0.0.5")
    assert home.reaches.of(home.url) is Reach.PRIVATE


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a.example/x", "https://A.example:443/y", True),
        ("https://a.example./x", "https://a.example/y", True),
        ("http://a.example/x", "http://a.example:80/", True),
        ("https://a.example/", "https://a.example:444/", False),
        ("https://a.example/", "http://a.example/", False),
        ("https://a.example/", "https://b.a.example/", False),
        ("https://a.example/", "https://a.example.evil.example/", False),
    ],
)
def test_same_origin(one: str, other: str, same: bool) -> None:
    """An origin is scheme, host and port, with default ports and the case of the host apart."""
    assert same_origin(URL(one, encoded=True), URL(other, encoded=True)) is same


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("LocalHost", True),
        ("a.localhost", True),
        ("127.8.9.1", True),
        ("[::1]", True),
        ("localhost.example", False),
        ("10.0.0.1", False),
        ("notlocalhost", False),
    ],
)
def test_loopback_hosts(host: str, loopback: bool) -> None:
    """localhost, all below it, 127/8 and ::1 are this machine."""
    assert is_loopback(host) is loopback


def test_names_have_no_reach() -> None:
    """Only a literal address says by its spelling where it is."""
    assert reach_of_address("registry.example") is None
    assert reach_of_address("93.184.216.34") is Reach.PUBLIC


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://r/u/1?_state=a%3D%3D&x=b+c", "https://r/u/1?_state=a%3D%3D&x=b+c&digest=sha256:00"),
        ("https://r/u/1", "https://r/u/1?digest=sha256:00"),
    ],
)
def test_parameters_are_appended_to_an_opaque_url(url: str, expected: str) -> None:
    """A Location is kept byte for byte, whatever its query holds."""
    assert str(with_parameters(URL(url, encoded=True), ("digest", "sha256:00"))) == expected
