"""Paths, names, methods: what is routed where, and what is refused."""

from __future__ import annotations

import json

import pytest

DIGEST = f"sha256:{'0' * 64}"


def ask(registry, target: bytes, method: bytes = b"GET"):
    """Send a request line that no HTTP library would; return status and error code."""
    received = registry.raw(method + b" " + target + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    head, _, body = received.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    try:
        return status, json.loads(body)["errors"][0]["code"]
    except (ValueError, KeyError):
        return status, None


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
def test_support(registry, path):
    """The registry says that it is one."""
    answer = registry.get(path)
    assert (answer.status, answer.json) == (200, {})
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
    assert answer.headers["content-type"] == "application/json"
    assert registry.head(path).status == 200


def test_discover(registry):
    """The extensions are listed, each with its endpoints."""
    answer = registry.get("/v2/_oci/ext/discover")
    assert answer.status == 200
    assert {extension["name"] for extension in answer.json["extensions"]} == {"_oci", "_catalog"}
    assert all(extension["endpoints"] for extension in answer.json["extensions"])


@pytest.mark.parametrize(
    "name", ["blobs", "manifests", "tags", "blobs/uploads", "a/tags/list", "referrers/x/blobs", "v2"]
)
def test_names_that_look_like_endpoints(registry, repository, name):
    """A repository may be called like a part of the API."""
    name = f"{repository}/{name}"
    digest = registry.push_image(name, "latest")
    assert registry.get(f"/v2/{name}/manifests/latest").headers["docker-content-digest"] == digest
    assert registry.get(f"/v2/{name}/tags/list").json == {"name": name, "tags": ["latest"]}
    assert registry.get(f"/v2/{name}/referrers/{digest}").status == 200
    assert registry.get(registry.begin(name)).status == 204


@pytest.mark.parametrize(
    "name",
    [
        b"..",
        b"a/../b",
        b"a/./b",
        b"a//b",
        b"/a",
        b"a/",
        b"",
        b"%2e%2e",
        b"a%2Fb",
        b"a%00",
        b"a%0Ab",
        b"a%20b",
        b"A",
        b"a:b",
        b"a\\b",
        b".a",
        b"a.",
        b"a__-b",
        b"a___b",
        b"_a",
        b"a" * 256,
        b"%D9%A1",
        b"a@b",
        b"a;b",
        b"~",
    ],
)
@pytest.mark.parametrize(
    "rest", [b"manifests/latest", b"blobs/" + DIGEST.encode(), b"tags/list", b"blobs/uploads/" + b"0" * 32]
)
def test_names_that_are_none(registry, name, rest):
    """What is no repository's name is 400, as it stands: nothing is decoded or tidied first."""
    assert ask(registry, b"/v2/" + name + b"/" + rest) == (400, "NAME_INVALID")


@pytest.mark.parametrize("name", ["caf\u00e9", "\u0661", "\uff41"])
def test_names_that_are_not_ascii(registry, name):
    """Raw bytes beyond ASCII are refused, by the runner or by us."""
    status, code = ask(registry, f"/v2/{name}/tags/list".encode())
    assert status == 400
    assert code in {"NAME_INVALID", None}


@pytest.mark.parametrize("byte", [b"\0", b"\x01", b"\x7f", b"\t"])
def test_control_characters(registry, byte):
    """A raw control character in a path is refused, by the runner or by us."""
    assert ask(registry, b"/v2/a" + byte + b"b/tags/list")[0] == 400


@pytest.mark.parametrize(
    "tag", [b"-a", b".a", b"a%2Fb", b"a+b", b"a" * 129, b"a%0a", b"%00", b"..", b"a@b", b"~"]
)
def test_tags_that_are_none(registry, tag):
    """What is no tag is 400."""
    assert ask(registry, b"/v2/a/manifests/" + tag) == (400, "TAG_INVALID")


@pytest.mark.parametrize(
    "digest",
    [
        b"sha256:abc",
        b"sha256:" + b"0" * 63,
        b"sha256:" + b"0" * 65,
        b"sha256:" + b"A" * 64,
        b"sha256:" + b"g" * 64,
        b"sha256:" + b"0" * 64 + b"%0A",
        b"sha256:..%2F..%2Fetc",
        b"sha256:" + b"0" * 62 + b"..",
        b"SHA256:" + b"0" * 64,
        b"sha256::" + b"0" * 63,
        b":",
        b"sha256:",
        b"sha512:" + b"0" * 64,
        b"x:" + b"0" * 600,
    ],
)
@pytest.mark.parametrize("kind", [b"manifests", b"blobs", b"referrers"])
def test_digests_that_are_none(registry, digest, kind):
    """What is no digest is 400."""
    assert ask(registry, b"/v2/a/" + kind + b"/" + digest) == (400, "DIGEST_INVALID")


@pytest.mark.parametrize(
    "path",
    [
        b"/v2/a",
        b"/v2/a/",
        b"/v2/a/tags",
        b"/v2/a/tags/",
        b"/v2/a/tags/list/",
        b"/v2/a/tags/other",
        b"/v2/manifests/latest",
        b"/v2/_catalog/",
        b"/v2/_oci/ext/other",
        b"/v2/a/blobs/uploads/x/y",
        b"/v2/a/blobs/" + DIGEST.encode() + b"/",
        b"/v2/../v2/_catalog",
        b"/v2//",
        b"/v2/%2e%2e",
    ],
)
def test_paths_of_no_endpoint(registry, path):
    """A path that is no endpoint's is 404, with a code."""
    assert ask(registry, path) == (404, "NAME_UNKNOWN")


@pytest.mark.parametrize(
    "path", [b"/", b"/v1/", b"/v2x", b"/V2/", b"/../etc/passwd", b"/static/x", b"/livez", b"/%2e/v2/"]
)
def test_paths_elsewhere(registry, path):
    """Outside of /v2/ there is the front page, health and metrics, and nothing else."""
    assert ask(registry, path)[0] == (200 if path in {b"/", b"/livez"} else 404)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v2/", "GET, HEAD"),
        ("/v2/_catalog", "GET, HEAD"),
        (f"/v2/a/blobs/{DIGEST}", "GET, HEAD, DELETE"),
        ("/v2/a/manifests/latest", "GET, HEAD, PUT, DELETE"),
        ("/v2/a/blobs/uploads/", "POST"),
        (f"/v2/a/blobs/uploads/{'0' * 32}", "GET, HEAD, PATCH, PUT, DELETE"),
        ("/v2/a/tags/list", "GET, HEAD"),
        (f"/v2/a/referrers/{DIGEST}", "GET, HEAD"),
    ],
)
def test_methods(registry, path, allowed):
    """A method that an endpoint does not have is 405, and Allow names those that it has."""
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"} - set(allowed.split(", ")):
        answer = registry.ask(method, path)
        assert (answer.status, answer.code, answer.headers["allow"]) == (405, "UNSUPPORTED", allowed)


def test_long_query(registry):
    """A query that is too long is refused."""
    answer = registry.get("/v2/a/tags/list?last=" + "a" * 9_000)
    assert answer.status == 414


def test_percent_encoded_endpoint(registry, repository):
    """The words of the API are not to be escaped: what is authorised is what stands there."""
    assert ask(registry, b"/v2/a/%6Danifests/latest") == (404, "NAME_UNKNOWN")


def test_errors(registry, repository):
    """An error is JSON with a list of codes and messages."""
    answer = registry.get(f"/v2/{repository}/manifests/latest")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
    [error] = answer.json["errors"]
    assert set(error) <= {"code", "message", "detail"}
    assert repository in error["message"]
