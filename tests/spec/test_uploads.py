"""Pushing blobs: distribution-spec end-4, 5, 6, 11, 13, 14."""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
import time
import uuid

import pytest
from blake3 import blake3

CONTENT = b"0123456789" * 1_000
ABSENT = f"sha256:{'0' * 64}"


def sha256(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


DIGEST = sha256(CONTENT)


def test_begin(registry, repository):
    """POST begins an upload, with or without the last slash, and says where it goes on."""
    for path in (f"/v2/{repository}/blobs/uploads/", f"/v2/{repository}/blobs/uploads"):
        answer = registry.post(path)
        assert answer.status == 202
        assert answer.headers["range"] == "0-0"
        assert answer.headers["content-length"] == "0"
        upload = answer.headers["docker-upload-uuid"]
        expected = f"http://127.0.0.1:{registry.port}/v2/{repository}/blobs/uploads/{upload}"
        assert answer.headers["location"] == expected


def test_location_follows_host(registry, repository):
    """Location is absolute, on the host that the request names."""
    answer = registry.post(f"/v2/{repository}/blobs/uploads/", host="images.example:5000")
    assert answer.headers["location"].startswith("http://images.example:5000/v2/")


def test_location_without_host(registry, repository):
    """A request of HTTP/1.0 that names no host gets a relative Location."""
    answer = registry.raw(
        f"POST /v2/{repository}/blobs/uploads/ HTTP/1.0\r\ncontent-length: 0\r\n\r\n".encode()
    )
    assert b" 202 " in answer.splitlines()[0]
    assert f"location: /v2/{repository}/blobs/uploads/".encode() in answer.lower()


def test_location_of_a_host_that_is_none(registry, repository):
    """What is no host does not get into a Location."""
    answer = registry.post(f"/v2/{repository}/blobs/uploads/", host='a"><script>')
    assert answer.status == 400 or answer.headers["location"].startswith("/v2/")


def test_forwarded_headers_of_strangers(registry, repository):
    """What a client says about forwarding is not believed."""
    answer = registry.post(
        f"/v2/{repository}/blobs/uploads/", x_forwarded_host="evil.example", x_forwarded_proto="https"
    )
    assert answer.headers["location"].startswith(f"http://127.0.0.1:{registry.port}/")


def test_post_then_put(registry, repository):
    """One PUT with the whole blob makes it: 201, its place and its digest."""
    upload = registry.begin(repository)
    answer = registry.put(f"{upload}?digest={DIGEST}", CONTENT, content_type="application/octet-stream")
    assert answer.status == 201
    assert answer.headers["docker-content-digest"] == DIGEST
    assert answer.path == f"/v2/{repository}/blobs/{DIGEST}"
    assert registry.get(answer.path).body == CONTENT
    assert registry.get(upload).status == 404


def test_put_with_an_escaped_digest_among_other_parameters(registry, repository):
    """Clients escape the colon, and put the digest behind parameters of their own."""
    upload = registry.begin(repository)
    assert registry.put(f"{upload}?_state=x&digest={DIGEST.replace(':', '%3A')}", CONTENT).status == 201


def test_put_again(registry, repository):
    """A PUT whose answer was lost may be sent again, with its body or without."""
    upload = registry.begin(repository)
    for body in (CONTENT, CONTENT, b""):
        answer = registry.put(f"{upload}?digest={DIGEST}", body)
        assert (answer.status, answer.headers["docker-content-digest"]) == (201, DIGEST)


def test_single_post(registry, repository):
    """A whole blob in one POST."""
    answer = registry.post(f"/v2/{repository}/blobs/uploads/?digest={DIGEST}", CONTENT)
    assert (answer.status, answer.path) == (201, f"/v2/{repository}/blobs/{DIGEST}")
    assert answer.headers["docker-content-digest"] == DIGEST
    assert registry.get(answer.path).body == CONTENT


def test_single_post_of_something_else(registry, repository):
    """A blob that has not the promised digest is refused and is not there."""
    answer = registry.post(f"/v2/{repository}/blobs/uploads/?digest={DIGEST}", CONTENT + b"!")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert registry.get(f"/v2/{repository}/blobs/{DIGEST}").status == 404


@pytest.mark.parametrize("form", ["{}-{}", "bytes {}-{}/*", "bytes {}-{}/10000"])
def test_chunks(registry, repository, form):
    """Chunks with Content-Range, in the specification's form and in HTTP's, each answered with what there is."""
    path = registry.begin(repository)
    for start in range(0, 10_000, 2_500):
        chunk = CONTENT[start : start + 2_500]
        answer = registry.patch(path, chunk, content_range=form.format(start, start + 2_499))
        assert answer.status == 202
        assert answer.headers["range"] == f"0-{start + 2_499}"
        assert answer.headers["docker-upload-uuid"] in answer.path
        path = answer.path
    answer = registry.put(f"{path}?digest={DIGEST}")
    assert answer.status == 201
    assert registry.get(answer.path).body == CONTENT


def test_last_chunk_in_put(registry, repository):
    """The closing PUT may bring the last chunk, with its range or without."""
    for headers in ({"content_range": "4000-9999"}, {}):
        path = registry.begin(repository)
        registry.patch(path, CONTENT[:4_000], content_range="0-3999")
        answer = registry.put(f"{path}?digest={DIGEST}", CONTENT[4_000:], **headers)
        assert answer.status == 201
        assert registry.get(answer.path).body == CONTENT


def test_streamed_patch(registry, repository):
    """docker sends a blob as one PATCH of unknown length, and reads its size from Range."""
    path = registry.begin(repository)
    answer = registry.ask("PATCH", path, (CONTENT[n : n + 999] for n in range(0, 10_000, 999)))
    assert (answer.status, answer.headers["range"]) == (202, "0-9999")
    assert registry.put(f"{path}?digest={DIGEST}").status == 201


def test_streamed_patch_with_a_range(registry, repository):
    """The range of a chunk of unknown length is held to: what exceeds it is not taken."""
    path = registry.begin(repository)
    answer = registry.ask("PATCH", path, iter([CONTENT[:10], CONTENT[10:30]]), {"content-range": "0-19"})
    assert (answer.status, answer.code) == (400, "SIZE_INVALID")
    size = int(registry.get(path).headers["range"][2:]) + 1
    assert size in (1, 10)


def test_plain_patch(registry, repository):
    """A PATCH without Content-Range goes to the end."""
    path = registry.begin(repository)
    assert registry.patch(path, CONTENT[:5_000]).headers["range"] == "0-4999"
    assert registry.patch(path, CONTENT[5_000:]).headers["range"] == "0-9999"
    assert registry.put(f"{path}?digest={DIGEST}").status == 201


def test_empty_patch(registry, repository):
    """A PATCH without a byte changes nothing."""
    path = registry.begin(repository)
    answer = registry.patch(path, b"")
    assert (answer.status, answer.headers["range"]) == (202, "0-0")
    registry.patch(path, CONTENT[:7])
    assert registry.patch(path, b"").headers["range"] == "0-6"


def test_empty_blob(registry, repository):
    """A blob may have no bytes."""
    digest = sha256(b"")
    assert registry.put(f"{registry.begin(repository)}?digest={digest}").status == 201
    answer = registry.get(f"/v2/{repository}/blobs/{digest}")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("content_range", ["5000-5009", "0-9", "3000-3009"])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_out_of_order(registry, repository, content_range, method):
    """A chunk that does not begin where the upload ends is 416, says where that is, and changes nothing."""
    path = registry.begin(repository)
    registry.patch(path, CONTENT[:4_000], content_range="0-3999")
    answer = registry.ask(method, f"{path}?digest={DIGEST}", CONTENT[:10], {"content-range": content_range})
    assert (answer.status, answer.code) == (416, "RANGE_INVALID")
    assert answer.headers["range"] == "0-3999"
    assert answer.path == path
    assert registry.get(path).headers["range"] == "0-3999"
    assert registry.put(f"{path}?digest={DIGEST}", CONTENT[4_000:], content_range="4000-9999").status == 201


@pytest.mark.parametrize(
    ("content_range", "code"),
    [
        ("0-10", "SIZE_INVALID"),
        ("0-8", "SIZE_INVALID"),
        ("9-0", "BLOB_UPLOAD_INVALID"),
        ("0-", "BLOB_UPLOAD_INVALID"),
        ("-9", "BLOB_UPLOAD_INVALID"),
        ("a-b", "BLOB_UPLOAD_INVALID"),
        ("bytes=0-9", "BLOB_UPLOAD_INVALID"),
        ("0-9,20-29", "BLOB_UPLOAD_INVALID"),
        ("\xb2-9", "BLOB_UPLOAD_INVALID"),
        ("0-99999999999999999999999", "BLOB_UPLOAD_INVALID"),
    ],
)
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_content_range_that_is_wrong(registry, repository, content_range, code, method):
    """A Content-Range that is malformed or disagrees with Content-Length is 400, and nothing is appended."""
    path = registry.begin(repository)
    answer = registry.ask(method, f"{path}?digest={DIGEST}", CONTENT[:10], {"content-range": content_range})
    assert (answer.status, answer.code) == (400, code)
    status = registry.get(path)
    assert (status.status, status.headers["range"]) == (204, "0-0")
    assert registry.patch(path, CONTENT[:10], content_range="0-9").status == 202


def test_status(registry, repository):
    """GET of an upload is 204 and says how far it is; HEAD says the same."""
    path = registry.begin(repository)
    registry.patch(path, CONTENT[:1_234])
    for answer in (registry.get(path), registry.head(path)):
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["range"] == "0-1233"
        assert answer.path == path
        assert "content-length" not in answer.headers


def test_cancel(registry, repository):
    """DELETE gives an upload up; then there is none."""
    path = registry.begin(repository)
    answer = registry.delete(path)
    assert (answer.status, answer.body) == (204, b"")
    for answer in (
        registry.get(path),
        registry.delete(path),
        registry.patch(path, b"x"),
        registry.put(f"{path}?digest={DIGEST}"),
    ):
        assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_upload_of_another_repository(registry, repository):
    """An upload belongs to its repository."""
    path = registry.begin(repository).replace(repository, f"{repository}-2")
    assert registry.get(path).status == 404
    assert registry.patch(path, b"x").status == 404


@pytest.mark.parametrize("upload", [uuid.uuid4().hex, str(uuid.uuid4()), "x", "..", "%2e%2e", "A" * 32])
def test_unknown_upload(registry, repository, upload):
    """An upload that does not exist or cannot is 404."""
    answer = registry.get(f"/v2/{repository}/blobs/uploads/{upload}")
    assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_put_of_something_else(registry, repository):
    """A wrong digest is refused; the upload stays, and can be completed with the right one."""
    path = registry.begin(repository)
    answer = registry.put(f"{path}?digest={ABSENT}", CONTENT)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert registry.get(f"/v2/{repository}/blobs/{ABSENT}").status == 404
    assert registry.put(f"{path}?digest={DIGEST}").status == 201


@pytest.mark.parametrize(
    "digest", ["", "?digest=", "?digest=sha256:abc", f"?digest=md5:{'0' * 32}", "?digest=x"]
)
def test_put_without_a_digest_that_can_be_checked(registry, repository, digest):
    """A digest that is absent, malformed or of an algorithm that nobody computes is 400."""
    answer = registry.put(registry.begin(repository) + digest, CONTENT)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


@pytest.mark.parametrize("algorithm", ["sha512", "blake3"])
def test_digest_algorithm(registry, repository, algorithm):
    """An upload may be begun for another algorithm, and completed in chunks."""
    if algorithm == "sha512":
        digest = f"sha512:{hashlib.sha512(CONTENT).hexdigest()}"
    else:
        digest = f"blake3:{blake3(CONTENT).hexdigest()}"
    answer = registry.post(f"/v2/{repository}/blobs/uploads/?digest-algorithm={algorithm}")
    assert answer.status == 202
    registry.patch(answer.path, CONTENT[:5_000])
    answer = registry.put(f"{answer.path}?digest={digest}", CONTENT[5_000:])
    assert (answer.status, answer.headers["docker-content-digest"]) == (201, digest)
    assert registry.get(answer.path).body == CONTENT


def test_digest_algorithm_that_nobody_computes(registry, repository):
    """An unknown algorithm is refused at once."""
    answer = registry.post(f"/v2/{repository}/blobs/uploads/?digest-algorithm=md5")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_other_algorithm_than_begun(registry, repository):
    """The digest of the PUT decides, whatever the upload was begun with."""
    digest = f"sha512:{hashlib.sha512(CONTENT).hexdigest()}"
    path = registry.begin(repository)
    registry.patch(path, CONTENT[:100])
    assert registry.put(f"{path}?digest={digest}", CONTENT[100:]).status == 201


def test_mount(registry, repository):
    """A blob of another repository is mounted: 201, and it is there."""
    registry.push_blob(f"{repository}/source", CONTENT)
    answer = registry.post(f"/v2/{repository}/blobs/uploads/?mount={DIGEST}&from={repository}/source")
    assert (answer.status, answer.path) == (201, f"/v2/{repository}/blobs/{DIGEST}")
    assert answer.headers["docker-content-digest"] == DIGEST
    assert registry.get(answer.path).body == CONTENT


def test_anonymous_mount(registry, repository):
    """Without `from` the blob may come from anywhere."""
    content = uuid.uuid4().bytes
    digest = registry.push_blob(f"{repository}/source", content)
    answer = registry.post(f"/v2/{repository}/blobs/uploads/?mount={digest}")
    assert answer.status == 201
    assert registry.get(answer.path).body == content


@pytest.mark.parametrize(
    "source", ["", "&from=no/such/repository", "&from={}", "&from=NOT/a_NAME", "&from=%2e%2e"]
)
def test_mount_that_is_not_possible(registry, repository, source):
    """A mount that fails is an upload that has begun, never an error."""
    answer = registry.post(f"/v2/{repository}/blobs/uploads/?mount={ABSENT}{source.format(repository)}")
    assert answer.status == 202
    assert registry.put(f"{answer.path}?digest={DIGEST}", CONTENT).status == 201


def test_json_content_type_on_post(registry, repository):
    """Some clients say that the empty body of POST is JSON."""
    assert (
        registry.post(f"/v2/{repository}/blobs/uploads/", b"", content_type="application/json").status == 202
    )


def test_expect_continue(registry, repository):
    """A client that waits to be told to go on is told so, if its request is any good."""
    path = registry.begin(repository)
    with registry.connect() as connection:
        connection.sendall(
            f"PUT {path}?digest={DIGEST} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
            f"content-length: {len(CONTENT)}\r\n\r\n".encode()
        )
        assert connection.recv(1_000).startswith(b"HTTP/1.1 100")
        connection.sendall(CONTENT)
        assert connection.recv(1_000).startswith(b"HTTP/1.1 201")


def test_refusal_before_a_large_body(registry, repository):
    """A request that cannot succeed is refused before its body has been sent."""
    with registry.connect() as connection:
        connection.sendall(
            f"PATCH /v2/{repository}/blobs/uploads/{uuid.uuid4().hex} HTTP/1.1\r\nhost: x\r\n"
            f"content-length: {1 << 40}\r\n\r\n".encode()
        )
        assert connection.recv(1_000).startswith(b"HTTP/1.1 404")


def reset(connection: socket.socket) -> None:
    """Close a connection so that the other side sees a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def arrived(registry, path, least):
    """Ask for the status until an upload has at least so many bytes, and return how many it has."""
    deadline = time.monotonic() + 20
    while True:
        answer = registry.get(path)
        assert answer.status == 204, answer
        size = int(answer.headers["range"][2:]) + 1
        if size >= least:
            return size
        assert time.monotonic() < deadline, size


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("end", [reset, socket.socket.close])
def test_interrupted(registry, repository, method, end):
    """What arrived of a request that broke off stays: status says how much, and the rest completes the blob."""
    content = bytes(range(256)) * 24_576  # 6 MiB
    digest, sent = sha256(content), 4_200_000
    path = registry.begin(repository)
    connection = registry.connect()
    connection.sendall(
        f"{method} {path}?digest={digest} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n\r\n".encode()
        + content[:sent]
    )
    arrived(registry, path, 1_000_000)
    end(connection)
    # What a reset overtakes has not arrived; what was sent before an orderly end has.
    size = arrived(registry, path, 1_000_000 if end is reset else sent)
    assert size <= sent
    assert registry.get(f"/v2/{repository}/blobs/{digest}").status == 404
    wrong = registry.patch(path, content[:10], content_range="0-9")
    assert wrong.status == 416
    size = int(wrong.headers["range"][2:]) + 1
    answer = registry.put(
        f"{path}?digest={digest}", content[size:], content_range=f"{size}-{len(content) - 1}"
    )
    assert answer.status == 201
    assert registry.get(answer.path).body == content


def test_two_patches_at_once(registry, repository):
    """Of two requests that append the same bytes, one wins and the other is 416; the bytes are right."""
    content = bytes(range(251)) * 20_000
    path = registry.begin(repository)
    answers = []
    together = threading.Barrier(2)

    def append():
        together.wait()
        answers.append(registry.patch(path, content, content_range=f"0-{len(content) - 1}"))

    threads = [threading.Thread(target=append) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status for answer in answers) == [202, 416]
    assert registry.get(path).headers["range"] == f"0-{len(content) - 1}"
    assert registry.put(f"{path}?digest={sha256(content)}").status == 201


def test_newer_request_wins(registry, repository):
    """A request that stalls does not keep a newer one from the upload."""
    content = bytes(range(256)) * 12_288  # 3 MiB
    path = registry.begin(repository)
    with registry.connect() as stalled:
        stalled.sendall(
            f"PATCH {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n\r\n".encode()
            + content[:2_500_000]
        )
        size = arrived(registry, path, 1_000_000)
        answer = registry.patch(path, content[size:], content_range=f"{size}-{len(content) - 1}")
        if answer.status == 416:  # more of the other had arrived by then, and stays
            size = int(answer.headers["range"][2:]) + 1
            answer = registry.patch(path, content[size:], content_range=f"{size}-{len(content) - 1}")
        assert (answer.status, answer.headers["range"]) == (202, f"0-{len(content) - 1}")
        assert registry.put(f"{path}?digest={sha256(content)}").status == 201
