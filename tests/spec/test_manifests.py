"""Manifests: distribution-spec end-3, 7a, 7b, 9."""

from __future__ import annotations

import hashlib
import json

import pytest

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
ABSENT = f"sha256:{'0' * 64}"
MAX_BYTES = 4 * 1024 * 1024


def sha256(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def image(registry, repository):
    """An image that is tagged `latest`: its bytes and its digest."""
    raw = json.dumps(registry.image(repository), indent=3).encode() + b"\n"
    assert registry.put(f"/v2/{repository}/manifests/latest", raw, content_type=IMAGE).status == 201
    return raw, sha256(raw)


@pytest.mark.parametrize("by", ["tag", "digest"])
def test_get(registry, repository, image, by):
    """A manifest comes back byte for byte, under its media type, with its digest."""
    raw, digest = image
    answer = registry.get(f"/v2/{repository}/manifests/{'latest' if by == 'tag' else digest}")
    assert (answer.status, answer.body) == (200, raw)
    assert answer.headers["content-type"] == IMAGE
    assert answer.headers["content-length"] == str(len(raw))
    assert answer.headers["docker-content-digest"] == digest
    assert answer.headers["etag"] == f'"{digest}"'
    assert ("immutable" in answer.headers["cache-control"]) == (by == "digest")


@pytest.mark.parametrize("reference", ["latest", "unknown", ABSENT])
def test_head_is_get_without_the_body(registry, repository, image, reference):
    """HEAD has the status and every header of GET."""
    path = f"/v2/{repository}/manifests/{reference}"
    got, headed = registry.get(path), registry.head(path)
    assert (headed.status, headed.body) == (got.status, b"")
    assert {**headed.headers, "date": ""} == {**got.headers, "date": ""}


def test_unknown(registry, repository):
    """A repository that does not exist, and a manifest that it does not have, are 404."""
    answer = registry.get(f"/v2/{repository}/manifests/latest")
    assert (answer.status, answer.code) == (404, "NAME_UNKNOWN")
    registry.push_image(repository, "latest")
    for reference in ("other", ABSENT):
        answer = registry.get(f"/v2/{repository}/manifests/{reference}")
        assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize(
    "accept",
    [
        IMAGE,
        "*/*",
        f"{INDEX}, */*",
        f"{INDEX},{IMAGE}",
        "application/*",
        "application/json",
        f"{IMAGE};q=0.1",
        "text/html, image/gif, *; q=.2, */*; q=.2",
    ],
)
def test_accepted(registry, repository, image, accept):
    """A manifest is sent to who accepts its type, by name or by a range."""
    assert registry.get(f"/v2/{repository}/manifests/latest", accept=accept).body == image[0]


def test_accept_on_several_lines(registry, repository, image):
    """skopeo sends a line for each type."""
    lines = "".join(f"accept: {media_type}\r\n" for media_type in (DOCKER, INDEX, IMAGE))
    request = f"GET /v2/{repository}/manifests/latest HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{lines}\r\n"
    assert registry.raw(request.encode()).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("accept", [DOCKER, f"{DOCKER}, {INDEX}", f"{IMAGE};q=0, */*", "text/*"])
def test_not_accepted(registry, repository, image, accept):
    """A manifest that the client does not take is 404, with a sentence that says what it is."""
    answer = registry.get(f"/v2/{repository}/manifests/latest", accept=accept)
    assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
    assert IMAGE in answer.json["errors"][0]["message"]


def test_if_none_match(registry, repository, image):
    """A client that has the manifest is told so."""
    for reference in ("latest", image[1]):
        answer = registry.get(f"/v2/{repository}/manifests/{reference}", if_none_match=f'"{image[1]}"')
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers["docker-content-digest"] == image[1]
    assert registry.get(f"/v2/{repository}/manifests/latest", if_none_match=f'"{ABSENT}"').status == 200


def test_put(registry, repository):
    """A pushed manifest is 201, and its Location and digest can be pulled."""
    raw = json.dumps(registry.image(repository)).encode()
    for reference in ("v1", sha256(raw)):
        answer = registry.put(
            f"/v2/{repository}/manifests/{reference}", raw, content_type=f"{IMAGE}; charset=utf-8"
        )
        assert (answer.status, answer.path) == (201, f"/v2/{repository}/manifests/{reference}")
        assert answer.headers["docker-content-digest"] == sha256(raw)
        assert "oci-subject" not in answer.headers
        assert registry.get(answer.path).body == raw


def test_put_under_another_digest(registry, repository):
    """Bytes that do not have the digest of the path are refused."""
    answer = registry.push_manifest(repository, ABSENT, registry.image(repository))
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_put_by_sha512(registry, repository):
    """A manifest may be pushed under another algorithm's digest, and is pulled under it."""
    raw = json.dumps(registry.image(repository)).encode()
    digest = f"sha512:{hashlib.sha512(raw).hexdigest()}"
    answer = registry.put(f"/v2/{repository}/manifests/{digest}", raw, content_type=IMAGE)
    assert (answer.status, answer.headers["docker-content-digest"]) == (201, digest)
    assert registry.get(f"/v2/{repository}/manifests/{digest}").body == raw


@pytest.mark.parametrize("count", [1, 10, 46])
def test_put_with_tags(registry, repository, count):
    """A manifest that is pushed by digest may bring its tags; OCI-Tag names them."""
    raw = json.dumps(registry.image(repository)).encode()
    tags = [f"{n}" + "x" * 126 for n in range(count)] if count == 46 else [f"v{n}" for n in range(count)]
    query = "&".join(f"tag={tag}" for tag in tags)
    answer = registry.put(f"/v2/{repository}/manifests/{sha256(raw)}?{query}", raw, content_type=IMAGE)
    assert answer.status == 201
    assert answer.headers["oci-tag"].split(", ") == tags
    assert registry.get(f"/v2/{repository}/tags/list").json["tags"] == sorted(tags)
    assert registry.get(f"/v2/{repository}/manifests/{tags[-1]}").body == raw


def test_put_with_too_many_tags(registry, repository):
    """More tags than the registry takes in one request are 414, and none of them is made."""
    raw = json.dumps(registry.image(repository)).encode()
    query = "&".join(f"tag=v{n}" for n in range(47))
    answer = registry.put(f"/v2/{repository}/manifests/{sha256(raw)}?{query}", raw, content_type=IMAGE)
    assert answer.status == 414
    assert registry.get(f"/v2/{repository}/manifests/v1").status == 404


def test_put_with_a_tag_that_is_none(registry, repository):
    """One bad tag, and nothing is pushed."""
    raw = json.dumps(registry.image(repository)).encode()
    answer = registry.put(
        f"/v2/{repository}/manifests/{sha256(raw)}?tag=good&tag=b/d", raw, content_type=IMAGE
    )
    assert (answer.status, answer.code) == (400, "TAG_INVALID")
    assert registry.get(f"/v2/{repository}/manifests/good").status == 404


def test_everything_missing_is_named(registry, repository):
    """Each config, layer and child that is missing has an error of its own, all in one answer."""
    manifest = registry.image(repository)
    missing = [f"sha256:{n:064x}" for n in range(1, 4)]
    manifest["config"]["digest"] = missing[0]
    manifest["layers"] += [
        {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": 1}
        for digest in missing[1:]
    ]
    answer = registry.push_manifest(repository, "latest", manifest)
    assert answer.status == 400
    assert {error["code"] for error in answer.json["errors"]} == {"MANIFEST_BLOB_UNKNOWN"}
    assert [error["detail"]["digest"] for error in answer.json["errors"]] == missing
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [{"mediaType": IMAGE, "digest": digest, "size": 1} for digest in missing],
    }
    answer = registry.push_manifest(repository, "latest", index)
    assert [error["detail"]["digest"] for error in answer.json["errors"]] == missing


def test_layers_that_need_not_be_there(registry, repository):
    """A layer whose licence forbids pushing it may be missing."""
    manifest = registry.image(repository)
    for kind in (
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ):
        manifest["layers"].append(
            {"mediaType": kind, "digest": ABSENT, "size": 1, "urls": ["https://x.example/"]}
        )
    assert registry.push_manifest(repository, "latest", manifest).status == 201


def test_subject(registry, repository):
    """A manifest may refer to one that is not there; the answer says that the registry has noticed."""
    subject = {"mediaType": IMAGE, "digest": ABSENT, "size": 1}
    answer = registry.push_manifest(repository, "latest", {**registry.image(repository), "subject": subject})
    assert (answer.status, answer.headers["oci-subject"]) == (201, ABSENT)


@pytest.mark.parametrize(
    ("raw", "media_type", "status", "code"),
    [
        (b"", IMAGE, 400, "MANIFEST_INVALID"),
        (b"{", IMAGE, 400, "MANIFEST_INVALID"),
        (b"[]", IMAGE, 400, "MANIFEST_INVALID"),
        (b"[" * 100_000, IMAGE, 400, "MANIFEST_INVALID"),
        (b'{"schemaVersion":2,"mediaType":"%b"}' % INDEX.encode(), IMAGE, 400, "MANIFEST_INVALID"),
        (b'{"schemaVersion":2}', "application/x-tar", 415, "UNSUPPORTED"),
    ],
)
def test_put_of_what_is_no_manifest(registry, repository, raw, media_type, status, code):
    """What is no manifest is refused, with the code that says so."""
    answer = registry.put(f"/v2/{repository}/manifests/latest", raw, content_type=media_type)
    assert (answer.status, answer.code) == (status, code)


def test_largest(registry, repository):
    """A manifest of 4 MiB is taken."""
    raw = json.dumps(registry.image(repository)).encode()
    raw += b" " * (MAX_BYTES - len(raw))
    assert registry.put(f"/v2/{repository}/manifests/latest", raw, content_type=IMAGE).status == 201
    assert registry.get(f"/v2/{repository}/manifests/latest").body == raw


@pytest.mark.parametrize("announced", [True, False])
def test_too_large(registry, repository, announced):
    """One byte more is 413, whether its length was announced or not."""
    body = b" " * (MAX_BYTES + 1)
    chunks = body if announced else (body[n : n + 65536] for n in range(0, len(body), 65536))
    answer = registry.ask("PUT", f"/v2/{repository}/manifests/latest", chunks, {"content-type": IMAGE})
    assert (answer.status, answer.code) == (413, "MANIFEST_INVALID")


def test_far_too_large(registry, repository):
    """What is announced as far too large is refused before it is sent."""
    with registry.connect() as connection:
        connection.sendall(
            f"PUT /v2/{repository}/manifests/latest HTTP/1.1\r\nhost: x\r\ncontent-length: {1 << 40}\r\n\r\n".encode()
        )
        assert connection.recv(1_000).startswith(b"HTTP/1.1 413")


def test_delete_tag(registry, repository, image):
    """Deleting a tag leaves the manifest."""
    path = f"/v2/{repository}/manifests/latest"
    assert registry.delete(path).status == 202
    assert registry.get(path).status == 404
    assert registry.get(f"/v2/{repository}/manifests/{image[1]}").status == 200
    assert registry.delete(path).status == 404


def test_delete_manifest(registry, repository, image):
    """Deleting a manifest takes its tags with it."""
    raw, digest = image
    registry.put(f"/v2/{repository}/manifests/other", raw, content_type=IMAGE)
    assert registry.delete(f"/v2/{repository}/manifests/{digest}").status == 202
    for reference in ("latest", "other", digest):
        assert registry.get(f"/v2/{repository}/manifests/{reference}").status == 404
    assert registry.delete(f"/v2/{repository}/manifests/{digest}").status == 404
