"""Digests and the verifier (image-spec `descriptor.md`, "Digests")."""

from __future__ import annotations

import copy
import hashlib
import pickle
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.errors import DigestInvalid, DigestMismatch, SizeMismatch
from entrepot.oci import Digest, Verifier
from entrepot.oci.digest import ALGORITHMS, EMPTY, new_hasher, problem_with

HEX = "6c3c624b58dbbcd3c0dd82b4c53f04194d1247c6eebdaab7c610cf7d66709b3b"

TAKEN = [
    f"sha256:{HEX}",
    f"sha512:{HEX}{HEX}",
    f"blake3:{HEX}",
    "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8",
    "sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564",
    "a:=",
]

# Text → the character that cannot be there.
REFUSED = [
    ("", 0),
    ("sha256", 6),
    ("sha256:", 7),
    (":abc", 0),
    (f"SHA256:{HEX}", 0),
    (f"sha256:{HEX.upper()}", 8),
    (f"sha256:{HEX[:-1]}", 70),
    (f"sha256:{HEX}0", 71),
    (f"sha256:{HEX}\n", 71),
    (f" sha256:{HEX}", 0),
    (f"sha256:{HEX[:-1]}g", 70),
    (f"sha256:{HEX[:-1]}\N{ARABIC-INDIC DIGIT ONE}", 70),
    (f"sha256:{HEX[:-1]}\N{FULLWIDTH DIGIT ONE}", 70),
    (f"sha512:{HEX}", 71),
    (f"blake3:{HEX}{HEX}", 71),
    ("sha256++b64:abc", 7),
    ("sha+:abc", 4),
    ("a:b/c", 3),
    ("a:../../etc/passwd", 2),
    ("a:b\0", 3),
    ("a:" + "b" * 511, 512),
    ("a" * 10_000_000, 512),
]


@pytest.mark.parametrize("text", TAKEN)
def test_takes(text: str) -> None:
    """The specification's examples are digests, registered or not."""
    digest = Digest(text)
    assert digest == text
    assert f"{digest.algorithm}:{digest.encoded}" == text
    assert digest.computable == (digest.algorithm in ALGORITHMS)
    assert digest.short == f"{digest.algorithm}:{digest.encoded[:12]}"


@pytest.mark.parametrize(("text", "position"), REFUSED)
def test_refuses(text: str, position: int) -> None:
    """What does not follow the grammar cannot be made, quickly, and shows a bounded part of the value."""
    began = time.process_time()
    with pytest.raises(DigestInvalid) as caught:
        Digest(text)
    assert repr(text[:200]) in caught.value.message
    assert len(caught.value.message) < 300
    found = problem_with(text)
    assert found is not None
    assert found[1] == position
    assert time.process_time() - began < 0.1


@given(st.text(max_size=150) | st.text(alphabet="sha2560:f+_-=.\n", max_size=150))
def test_any_text(text: str) -> None:
    """Any text is a digest or has a problem at a place inside it."""
    problem = problem_with(text)
    if problem is None:
        assert Digest(text) == text
    else:
        assert 0 <= problem[1] <= len(text)
        with pytest.raises(DigestInvalid):
            Digest(text)


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("sha256", f"sha256:{hashlib.sha256(b'abc').hexdigest()}"),
        ("sha512", f"sha512:{hashlib.sha512(b'abc').hexdigest()}"),
        ("blake3", "blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"),
    ],
)
def test_of(algorithm: str, expected: str) -> None:
    """Every registered algorithm is computed, from any kind of bytes."""
    assert Digest.of(b"abc", algorithm) == expected
    assert Digest.of(memoryview(bytearray(b"abc")), algorithm) == expected


def test_empty_is_that_of_no_bytes() -> None:
    """`EMPTY` is the sha256 of nothing."""
    assert f"sha256:{hashlib.sha256().hexdigest()}" == EMPTY


def test_unknown_algorithm_cannot_be_computed() -> None:
    """An unregistered algorithm passes as text and is refused when bytes are to be hashed."""
    digest = Digest("md5:d41d8cd98f00b204e9800998ecf8427e")
    assert not digest.computable
    with pytest.raises(DigestInvalid, match=r"not one of sha256, sha512, blake3: 'md5'$"):
        new_hasher(digest.algorithm)
    with pytest.raises(DigestInvalid):
        Verifier(digest, 0)


def test_is_a_string_that_survives_copying() -> None:
    """A digest is not parsed twice, and comes out of pickling and copying as a digest."""
    digest = Digest(TAKEN[0])
    assert Digest(digest) is digest
    for twin in (pickle.loads(pickle.dumps(digest)), copy.deepcopy(digest)):
        assert type(twin) is Digest
        assert twin == digest


@given(
    content=st.binary(max_size=200),
    cuts=st.lists(st.integers(0, 200), max_size=4),
    algorithm=st.sampled_from(ALGORITHMS),
)
def test_verifier_passes_what_was_promised(content: bytes, cuts: list[int], algorithm: str) -> None:
    """However the content is cut, the verifier accepts it; with or without a promised size."""
    for size in (len(content), None):
        verifier = Verifier(Digest.of(content, algorithm), size)
        edges = [0, *sorted(cut for cut in cuts if cut < len(content)), len(content)]
        for start, stop in pairwise(edges):
            verifier.update(content[start:stop])
        verifier.finish()
        assert verifier.received == len(content)


def test_verifier_stops_at_the_first_byte_too_many() -> None:
    """More than promised is refused while it comes, before it is hashed."""
    verifier = Verifier(Digest.of(b"abc"), 3)
    verifier.update(b"abc")
    with pytest.raises(SizeMismatch, match=r"more than 3 bytes: sha256:"):
        verifier.update(b"d")


def test_verifier_refuses_too_few_and_others() -> None:
    """Fewer bytes are a wrong size; other bytes are a wrong digest, with both named."""
    short = Verifier(Digest.of(b"abc"), 3)
    short.update(b"ab")
    with pytest.raises(SizeMismatch, match=r"2 of 3 bytes"):
        short.finish()
    other = Verifier(Digest.of(b"abc"), 3)
    other.update(b"abd")
    with pytest.raises(DigestMismatch) as caught:
        other.finish()
    assert caught.value.expected == Digest.of(b"abc")
    assert caught.value.actual == Digest.of(b"abd")
