from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.text import printable
from entrepot.wire.redact import MAX_ERROR_BYTES, redact_body, redact_headers, redact_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "https://r.example/v2/a/blobs/uploads/?mount=sha256:00&from=b",
            "https://r.example/v2/a/blobs/uploads/?mount=sha256:00&from=b",
        ),
        ("https://r.example/v2/a/tags/list?n=2&last=v1", "https://r.example/v2/a/tags/list?n=2&last=v1"),
        (
            "https://auth.example/token?service=r&scope=repository:a:pull&account=me",
            "https://auth.example/token?service=r&scope=repository:a:pull&account=me",
        ),
        (
            "https://s3.example/b?X-Amz-Signature=canary&X-Amz-Date=canary",
            "https://s3.example/b?X-Amz-Signature=…&X-Amz-Date=…",
        ),
        (
            "/v2/a/blobs/uploads/1?_state=canary%3D&digest=sha256:00",
            "/v2/a/blobs/uploads/1?_state=…&digest=sha256:00",
        ),
        ("https://me:canary@r.example/x", "https://r.example/x"),
        ("https://canary@r.example/x", "https://r.example/x"),
        ("https://r.example/x?canary", "https://r.example/x?…"),
        ("https://r.example/x?N=canary", "https://r.example/x?N=…"),
        ("https://r.example/x#canary", "https://r.example/x"),
        ("https://r.example/x?n=\x1b[31m", "https://r.example/x?n=\\x1b[31m"),
        ("//me:canary@r.example/x", "//r.example/x"),
        ("http://[::1", "…"),
    ],
)
def test_urls(url: str, shown: str) -> None:
    """Only the values of known parameters are shown, and never user information or a fragment."""
    assert redact_url(url) == shown


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        (("Authorization", "Bearer canary"), ("authorization", "Bearer …")),
        (("Authorization", "Basic Y2FuYXJ5"), ("authorization", "Basic …")),
        (("Authorization", "canary"), ("authorization", "…")),
        (("Authorization", "can@ry x"), ("authorization", "…")),
        (("Proxy-Authorization", "Basic canary"), ("proxy-authorization", "Basic …")),
        (
            ("WWW-Authenticate", 'Bearer realm="https://a.example/t",scope="repository:a:pull"'),
            ("www-authenticate", 'Bearer realm="https://a.example/t",scope="repository:a:pull"'),
        ),
        (("Location", "https://s3.example/b?sig=canary"), ("location", "https://s3.example/b?sig=…")),
        (
            ("Link", '</v2/_catalog?last=a&token=canary>; rel="next"'),
            ("link", '</v2/_catalog?last=a&token=…>; rel="next"'),
        ),
        (("Content-Type", "application/json"), ("content-type", "application/json")),
        (("Server", "x\x1b[2J"), ("server", "x\\x1b[2J")),
        (("Cookie", "canary"), None),
        (("Set-Cookie", "canary"), None),
        (("X-Api-Key", "canary"), None),
        (("X-Amz-Security-Token", "canary"), None),
        (("Docker-Upload-UUID", "canary"), None),
    ],
)
def test_headers(header: tuple[str, str], shown: tuple[str, str] | None) -> None:
    """What is not on the list is left out; credentials are reduced to their scheme."""
    assert redact_headers([header]) == (() if shown is None else (shown,))


def test_bodies() -> None:
    """The words of an error stay, the credentials in them do not, and there is not too much of it."""
    jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJjYW5hcnkifQ.canary"
    body = f'{{"errors":[{{"message":"token {jwt} for https://u:canary@s3.example/b?sig=canary&n=1"}}]}}'.encode()
    shown = redact_body(body)
    assert "canary" not in shown
    assert "https://s3.example/b?sig=…&n=1" in shown
    assert redact_body(b"Authorization: Bearer canarycanary") == "Authorization: Bearer …"
    assert redact_body(b'Basic realm="corp"') == 'Basic realm="corp"'
    assert redact_body(b"\x1b[31m\xff\x00") == "\\x1b[31m�\\x00"
    assert len(redact_body(b"a" * 10_000)) == MAX_ERROR_BYTES


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    """Whatever a peer sends, what is shown can be printed."""
    assert printable(text).isprintable()
    assert redact_url(text).isprintable()


@given(st.binary(max_size=5000))
def test_any_body_can_be_shown(body: bytes) -> None:
    """Redacting a body never fails, and keeps nothing but lines and tabs of what is not printable."""
    assert redact_body(body).replace("\n", "").replace("\t", "").isprintable()


@given(
    st.text(alphabet="abcdefghijklmnop", min_size=1),
    st.sampled_from(["sig", "_state", "token", "X-Amz-Signature", "N"]),
)
def test_an_unknown_parameter_is_never_shown(value: str, name: str) -> None:
    """Only names on the list have their values shown, in this very spelling."""
    assert redact_url(f"https://r.example/x?{name}={value}&n=1") == f"https://r.example/x?{name}=…&n=1"
