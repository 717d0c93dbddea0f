"""What clients accept, and what they have already."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.oci.digest import Digest
from entrepot.server.conditions import entity_tag, is_unchanged, may_send_range
from entrepot.server.negotiation import is_acceptable

IMAGE = "application/vnd.oci.image.manifest.v1+json"
DIGEST = Digest.of(b"x")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, True),
        (b"", True),
        (b"*/*", True),
        (IMAGE.encode(), True),
        (IMAGE.upper().encode(), True),
        (b" text/html ,  " + IMAGE.encode() + b" ; q=0.5 ", True),
        (b"application/*", True),
        (b"application/json", True),
        (b"text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", True),
        (IMAGE.encode() + b";version=1;q=0.1", True),
        (IMAGE.encode() + b";q=x", True),
        (b"application/vnd.oci.image.index.v1+json", False),
        (b"text/*", False),
        (b"*/*;q=0", False),
        (b"*/*, " + IMAGE.encode() + b";q=0", False),
        (IMAGE.encode() + b";q=0.000, application/*;q=0.9", False),
        (b"application/*;q=0, */*", False),
        (b"application/*;q=0, " + IMAGE.encode(), True),
        (b"nonsense", False),
        (b",,;;,", False),
        (b"a/b," * 400 + IMAGE.encode(), True),
        (b"a/b," * 400, False),
    ],
)
def test_accept(accept, expected):
    """The most specific range that covers the type decides, by its quality."""
    assert is_acceptable(accept, IMAGE) is expected


@given(st.binary(max_size=200))
def test_any_accept(accept):
    """No header is too odd to be judged."""
    assert is_acceptable(accept, IMAGE) in {True, False}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("*", True),
        (f'"{DIGEST}"', True),
        (f'W/"{DIGEST}"', True),
        (f'"x", W/"y" , "{DIGEST}"', True),
        (str(DIGEST), False),
        (f'"{DIGEST}', False),
        (f'"{DIGEST}x"', False),
        ("", False),
        ('"*"', False),
    ],
)
def test_if_none_match(header, expected):
    """The digest among the entity tags, weak or strong, means that the client has the content."""
    assert is_unchanged(header, DIGEST) is expected


def test_if_range():
    """Only the strong entity tag lets a range be sent."""
    assert may_send_range(entity_tag(DIGEST).decode(), DIGEST)
    assert not may_send_range(f"W/{entity_tag(DIGEST).decode()}", DIGEST)
    assert not may_send_range("Wed, 21 Oct 2015 07:28:00 GMT", DIGEST)
