"""Pulling and deleting blobs: distribution-spec end-2 and end-10, RFC 9110 sections 13 and 14."""

from __future__ import annotations

import re

import pytest

CONTENT = bytes(range(256)) * 40  # 10,240 bytes
ABSENT = f"sha256:{'0' * 64}"


@pytest.fixture
def blob(registry, repository):
    """The path of a blob, and its digest."""
    digest = registry.push_blob(repository, CONTENT)
    return f"/v2/{repository}/blobs/{digest}", digest


def test_get(registry, blob):
    """A blob comes whole, as octets, with its digest, and may be kept for ever."""
    path, digest = blob
    answer = registry.get(path)
    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["docker-content-digest"] == digest
    assert answer.headers["etag"] == f'"{digest}"'
    assert answer.headers["accept-ranges"] == "bytes"
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"


@pytest.mark.parametrize("name", ["present", "absent"])
def test_head_is_get_without_the_body(registry, blob, name):
    """HEAD has the status and every header of GET."""
    path = blob[0] if name == "present" else blob[0].replace(blob[1], ABSENT)
    got, headed = registry.get(path), registry.head(path)
    volatile = {"date"}
    assert headed.status == got.status
    assert headed.body == b""
    assert {k: v for k, v in headed.headers.items() if k not in volatile} == {
        k: v for k, v in got.headers.items() if k not in volatile
    }


def test_unknown(registry, repository):
    """A blob of no repository, and one that its repository does not have, are 404."""
    answer = registry.get(f"/v2/{repository}/blobs/{ABSENT}")
    assert (answer.status, answer.code) == (404, "NAME_UNKNOWN")
    registry.push_image(repository, "latest")
    answer = registry.get(f"/v2/{repository}/blobs/{ABSENT}")
    assert (answer.status, answer.code) == (404, "BLOB_UNKNOWN")


def test_escaped_colon(registry, blob):
    """The colon of a digest may be escaped, since RFC 3986 makes no difference."""
    assert registry.get(blob[0].replace(":", "%3A")).body == CONTENT


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=500-1499", 500, 1500),
        ("bytes=500-", 500, 10240),
        ("bytes=-500", 9740, 10240),
        ("bytes=-99999", 0, 10240),
        ("bytes=10000-99999", 10000, 10240),
        ("bytes=0-", 0, 10240),
        ("BYTES=1-2", 1, 3),
        ("bytes=99999-, 5-6", 5, 7),
    ],
)
def test_range(registry, blob, header, start, stop):
    """One range is answered by 206 with exactly that part."""
    answer = registry.get(blob[0], range=header)
    assert (answer.status, answer.body) == (206, CONTENT[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(CONTENT)}"
    assert answer.headers["content-length"] == str(stop - start)
    assert answer.headers["docker-content-digest"] == blob[1]


@pytest.mark.parametrize("header", ["bytes=10240-", "bytes=99999-100000", "bytes=-0", "bytes=500-0"])
def test_range_that_cannot_be_satisfied(registry, blob, header):
    """A range outside the blob is answered by 416 with the blob's size."""
    answer = registry.get(blob[0], range=header)
    assert (answer.status, answer.code) == (416, "RANGE_INVALID")
    assert answer.headers["content-range"] == f"bytes */{len(CONTENT)}"


@pytest.mark.parametrize(
    "header",
    [
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "lines=1-2",
        "bytes=1-2-3",
        "bytes=\u0661-2".encode().decode("latin-1"),
        "bytes=0-10,5-20",
        "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 34, 2)),
    ],
)
def test_range_that_is_ignored(registry, blob, header):
    """Malformed, foreign, overlapping and too many ranges get the whole blob."""
    answer = registry.get(blob[0], range=header)
    assert (answer.status, answer.body) == (200, CONTENT)


@pytest.mark.parametrize("count", [2, 16])
def test_several_ranges(registry, blob, count):
    """Up to 16 disjoint ranges come as multipart/byteranges, in the order in which they were asked for."""
    spans = [(n * 100, n * 100 + 9) for n in reversed(range(count))]
    answer = registry.get(blob[0], range="bytes=" + ", ".join(f"{a}-{b}" for a, b in spans))
    assert answer.status == 206
    assert answer.headers["content-length"] == str(len(answer.body))
    boundary = re.fullmatch(r"multipart/byteranges; boundary=(\S+)", answer.headers["content-type"])[1]
    before, *parts, after = answer.body.split(f"\r\n--{boundary}".encode())
    assert (before, after) == (b"", b"--\r\n")
    for (a, b), part in zip(spans, parts, strict=True):
        head, _, content = part.partition(b"\r\n\r\n")
        assert content == CONTENT[a : b + 1]
        assert f"content-range: bytes {a}-{b}/{len(CONTENT)}".encode() in head


def test_range_of_an_empty_blob(registry, repository):
    """containerd asks for bytes=0- of everything, and gets the whole of a blob that is empty."""
    digest = registry.push_blob(repository, b"")
    answer = registry.get(f"/v2/{repository}/blobs/{digest}", range="bytes=0-")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


def test_range_on_head(registry, blob):
    """HEAD has no ranges (RFC 9110, section 14.2)."""
    answer = registry.head(blob[0], range="bytes=0-9")
    assert (answer.status, answer.headers["content-length"]) == (200, str(len(CONTENT)))


def test_if_range(registry, blob):
    """A range is sent if the client has parts of the same content, otherwise all of it."""
    path, digest = blob
    assert registry.get(path, range="bytes=0-9", if_range=f'"{digest}"').status == 206
    for other in (f'"{ABSENT}"', f'W/"{digest}"', "Wed, 21 Oct 2015 07:28:00 GMT"):
        answer = registry.get(path, range="bytes=0-9", if_range=other)
        assert (answer.status, answer.body) == (200, CONTENT)


def test_if_none_match(registry, blob):
    """A client that has the blob is told so, and gets no body."""
    path, digest = blob
    for tag in (f'"{digest}"', f'W/"{digest}"', f'"{ABSENT}", "{digest}"', "*"):
        answer = registry.get(path, if_none_match=tag)
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers["etag"] == f'"{digest}"'
    assert registry.get(path, if_none_match=f'"{ABSENT}"').status == 200
    assert registry.get(path, if_none_match=f'"{digest}"', range="bytes=0-9").status == 304


def test_large_blob(registry, repository):
    """A blob of several sends comes whole, and so does a part of it that is not at their boundaries."""
    content = bytes(range(251)) * 40_000
    path = f"/v2/{repository}/blobs/{registry.push_blob(repository, content)}"
    assert registry.get(path).body == content
    assert registry.get(path, range="bytes=65530-9000000").body == content[65530:9000001]


def test_delete(registry, blob):
    """A deleted blob is gone from its repository; deleting it again is 404."""
    path, _ = blob
    assert registry.delete(path).status == 202
    assert registry.get(path).status == 404
    assert registry.delete(path).status == 404


def test_delete_in_use(registry, repository):
    """A blob that a manifest is made of cannot be deleted."""
    registry.push_image(repository, "latest")
    digest = registry.push_blob(repository, b"{}")
    answer = registry.delete(f"/v2/{repository}/blobs/{digest}")
    assert (answer.status, answer.code) == (405, "UNSUPPORTED")
    assert registry.get(f"/v2/{repository}/blobs/{digest}").status == 200
