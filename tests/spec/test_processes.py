"""The processes: how they start, end, die, share a root, and what they print."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

CONTENT = bytes(range(256)) * 24_576  # 6 MiB


def sha256(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def children(process):
    """The ids of a process's children that are workers."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            command = (status.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == process.pid and b"resource_tracker" not in command:
            found.append(int(status.parent.name))
    return found


def until(condition):
    """Ask until something is so."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def is_gone(pid):
    """Tell whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_start(start):
    """The registry says which root it serves, as an absolute path, and at which address; it answers within a second."""
    began = time.monotonic()
    registry = start()
    assert registry.get("/v2/").status == 200
    took = time.monotonic() - began
    assert took < 5  # 1 s when nothing else runs; the benchmark measures that
    said = registry.errors.read_text()
    assert str(registry.root.absolute()) in said
    assert f"http://127.0.0.1:{registry.port}" in said


def test_health(registry):
    """Liveness and readiness are answered to whoever asks."""
    for path in ("/livez", "/readyz"):
        answer = registry.get(path)
        assert (answer.status, answer.body) == (200, b"ok\n")
        assert registry.head(path).status == 200


def test_front_page(registry):
    """A browser is told what this is and which commands work with it; a program gets the same as text."""
    page = registry.get("/", accept="text/html,*/*", host="images.example:5000")
    assert page.headers["content-type"].startswith("text/html")
    assert page.body.count(b"images.example:5000/") == 3
    text = registry.get("/")
    assert text.headers["content-type"].startswith("text/plain")
    assert text.body.startswith(b"Entrepot ")


def counted(registry, endpoint, status):
    """How many requests of an endpoint were answered so, by the metrics."""
    page = registry.get("/metrics").body.decode()
    pattern = rf'entrepot_requests_total{{endpoint="{endpoint}",method="GET",status="{status}"}} ([0-9.e+]+)'
    matched = re.search(pattern, page)
    return float(matched[1]) if matched else 0.0


def test_metrics(start):
    """Metrics are the sum over all workers, and no label comes from a path."""
    registry = start()
    workers = children(registry.process)
    assert len(workers) == 2
    for n in range(40):
        registry.get(f"/v2/secret-{n}/tags/list")
    until(lambda: counted(registry, "ListTags", 404) == 40)
    page = registry.get("/metrics").body.decode()
    assert "secret" not in page
    assert "entrepot_workers 2.0" in page
    assert 'entrepot_request_seconds_count{endpoint="ListTags"} 40.0' in page


def test_access_log(start):
    """Each request is a line of JSON, with nothing secret in it."""
    registry = start(server__workers=1)
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {
        "user-agent": 'odd "agent" \xe9',
        "authorization": "Basic c2VjcmV0",
        "traceparent": f"00-{trace}-b7ad6b7169203331-01",
    }
    registry.ask("GET", "/v2/a/tags/list?n=1&token=s3cret&last=x", headers=headers)
    registry.post(f"/v2/a/blobs/uploads/?digest={sha256(CONTENT)}", CONTENT)
    registry.raw(b'GET /v2/a"b/tags/list HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')
    assert registry.stop() == 0
    text = registry.output.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["method"] for line in lines] == ["GET", "POST", "GET"]
    assert lines[0]["path"] == "/v2/a/tags/list?n=1&token=-&last=x"
    assert (lines[0]["status"], lines[0]["trace"], lines[0]["remote"]) == (404, trace, "127.0.0.1")
    assert lines[0]["agent"] == 'odd "agent" \\xe9'
    assert (lines[1]["received"], lines[1]["status"]) == (len(CONTENT), 201)
    assert lines[2]["path"] == '/v2/a"b/tags/list'
    assert all(line["milliseconds"] >= 0 for line in lines)
    assert "s3cret" not in text
    assert "c2VjcmV0" not in text


def test_access_log_can_be_off(start):
    """Without the access log nothing is written on standard output."""
    registry = start(log__access=False)
    registry.get("/v2/")
    registry.stop()
    assert registry.output.read_bytes() == b""


def test_restart(start, repository):
    """What was pushed is there after a restart on the same root."""
    registry = start()
    digest = registry.push_image(repository, "latest")
    assert registry.stop() == 0
    again = start(root=registry.root)
    assert again.get(f"/v2/{repository}/manifests/latest").headers["docker-content-digest"] == digest


def test_kill_between_patches(start, repository):
    """An acknowledged chunk survives the death of every process; the upload goes on from there."""
    registry = start()
    path = registry.begin(repository)
    half = len(CONTENT) // 2
    assert registry.patch(path, CONTENT[:half]).status == 202
    registry.kill()
    again = start(root=registry.root)
    answer = again.get(path)
    assert (answer.status, answer.headers["range"]) == (204, f"0-{half - 1}")
    answer = again.put(
        f"{path}?digest={sha256(CONTENT)}", CONTENT[half:], content_range=f"{half}-{len(CONTENT) - 1}"
    )
    assert answer.status == 201
    assert again.get(answer.path).body == CONTENT


def test_kill_of_the_main_process(start):
    """When the main process dies, its workers end, too: nothing is left to share the port with a successor."""
    registry = start()
    workers = children(registry.process)
    assert len(workers) == 2
    registry.process.kill()
    registry.wait()
    until(lambda: all(map(is_gone, workers)))


def test_kill_of_a_worker(start, repository):
    """A worker that dies is replaced, and the registry goes on."""
    registry = start()
    digest = registry.push_image(repository, "latest")
    victim = children(registry.process)[0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: victim not in children(registry.process) and len(children(registry.process)) == 2)
    until(lambda: _answers(registry, f"/v2/{repository}/manifests/latest") == digest)
    assert registry.stop() == 0


def _answers(registry, path):
    try:
        return registry.get(path).headers.get("docker-content-digest")
    except OSError:
        return None


@pytest.mark.parametrize("runner", ["granian", "uvicorn"])
def test_drain(start, repository, runner):
    """SIGTERM lets transfers in flight finish, and then ends the registry."""
    registry = start(runner=runner)
    content = os.urandom(1 << 20) * 24
    down = f"/v2/{repository}/blobs/{registry.push_blob(repository, content)}"
    up = registry.begin(repository)
    with registry.connect() as pulling, registry.connect() as pushing:
        pulling.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        pulling.sendall(f"GET {down} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        received = pulling.recv(65_536)
        request = (
            f"PUT {up}?digest={sha256(CONTENT)} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            f"content-length: {len(CONTENT)}\r\n\r\n"
        )
        pushing.sendall(request.encode() + CONTENT[:3_000_000])
        # Both are in flight once the upload shows some of it.
        until(lambda: registry.get(up).headers["range"] != "0-0")
        registry.process.send_signal(signal.SIGTERM)
        until(lambda: not _accepts(registry.port))
        pushing.sendall(CONTENT[3_000_000:])
        assert pushing.recv(1_000).startswith(b"HTTP/1.1 201")
        while data := pulling.recv(1 << 20):
            received += data
    assert received.partition(b"\r\n\r\n")[2] == content
    # uvicorn raises the signal again when all is done
    assert registry.wait() == (0 if runner == "granian" else -signal.SIGTERM)


def _accepts(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def test_drain_has_an_end(start, repository):
    """A transfer that does not move does not keep the registry from ending."""
    registry = start(server__drain_seconds=1)
    path = registry.begin(repository)
    with registry.connect() as stuck:
        stuck.sendall(
            f"PATCH {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 4000000\r\n\r\n".encode()
            + CONTENT[:2_000_000]
        )
        until(lambda: registry.get(path).headers["range"] != "0-0")
        began = time.monotonic()
        registry.stop()
        assert time.monotonic() - began < 10


def test_idle_connections_do_not_keep_it(start):
    """A connection that is kept alive and idle does not keep the registry from ending."""
    registry = start()
    with registry.connect() as idle:
        idle.sendall(b"GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n")
        assert idle.recv(1_000).startswith(b"HTTP/1.1 200")
        began = time.monotonic()
        assert registry.stop() == 0
        assert time.monotonic() - began < 10


def fails(start, **settings):
    """Start a registry that cannot start, and return its exit code and what it says."""
    process, errors, _, _ = start.launch(**settings)
    return process.wait(timeout=20), errors.read_text()


def test_port_in_use(start):
    """A second registry on the same port is told who has it, and starts nothing."""
    registry = start()
    code, said = fails(start, http__listen=f"127.0.0.1:{registry.port}")
    assert code == 1
    assert f"127.0.0.1:{registry.port} is in use by process " in said
    assert "--listen" in said
    assert registry.get("/v2/").status == 200


def test_root_in_use(start):
    """A second registry on the same root is refused."""
    registry = start()
    code, said = fails(start, root=registry.root)
    assert code == 1
    assert f"in use by process {registry.process.pid}" in said
    assert str(registry.root) in said


def test_host_of_nobody(start):
    """An address that this machine does not have is refused with its name."""
    code, said = fails(start, http__listen="203.0.113.1:0", auth__anonymous="pull")
    assert code == 1
    assert "203.0.113.1" in said


def test_client_that_goes(start, repository):
    """A client that leaves during a download ends it: the blob is not read to its end for nobody."""
    registry = start(server__workers=1)
    content = os.urandom(1 << 20) * 64
    path = f"/v2/{repository}/blobs/{registry.push_blob(repository, content)}"
    connection = registry.connect()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    connection.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    connection.recv(1_000)
    connection.close()
    until(lambda: '"aborted":true' in registry.output.read_text())
    registry.stop()
    [line] = [json.loads(line) for line in registry.output.read_text().splitlines() if "aborted" in line]
    assert (line["method"], line["status"]) == ("GET", 200)
    assert line["sent"] < len(content)


def test_lost_file(start, repository):
    """A blob whose file has lost its end is never sent as if it were whole: the connection breaks."""
    registry = start(server__workers=1)
    content = os.urandom(1 << 20)
    path = f"/v2/{repository}/blobs/{registry.push_blob(repository, content)}"
    [file] = [file for file in (registry.root / "blobs").rglob("*") if file.is_file()]
    with file.open("r+b") as handle:
        handle.truncate(500_000)
    received = registry.raw(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    assert len(received.partition(b"\r\n\r\n")[2]) < len(content)
    assert "an answer broke off" in registry.errors.read_text()


def test_many_at_once(registry, repository):
    """Many clients at once, on both workers, see one repository."""
    content = os.urandom(200_000)
    errors = []

    def push(n):
        try:
            name = f"{repository}/{n % 3}"
            digest = registry.push_blob(name, content + bytes([n]))
            assert registry.get(f"/v2/{name}/blobs/{digest}").body == content + bytes([n])
            registry.push_image(name, f"v{n}")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=push, args=(n,)) for n in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    found = {tag for n in range(3) for tag in registry.get(f"/v2/{repository}/{n}/tags/list").json["tags"]}
    assert found == {f"v{n}" for n in range(24)}
