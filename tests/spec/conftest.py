"""Real registries over real sockets, under both runners, and a client that says exactly what it is told to."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pytest

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
Body: TypeAlias = bytes | Iterator[bytes] | None

# Both print where they listen, as `entrepot serve` does, in a line that ends in the address.
_GRANIAN = """
import json, os, sys
from entrepot.errors import EntrepotError
from entrepot.server.config import load
from entrepot.server.main import serve
try:
    sys.exit(serve(load(None, {}, overrides=json.loads(sys.argv[1]))))
except EntrepotError as error:
    sys.exit(f"{error} ({error.hint})")
"""
_UVICORN = """
import json, os, socket, sys
import uvicorn
from entrepot.server.config import load
from entrepot.server.worker import SETTINGS_VARIABLE
from entrepot.storage.preparation import prepare
settings = load(None, {}, overrides=json.loads(sys.argv[1]))
os.environ[SETTINGS_VARIABLE] = settings.to_json()
listener = socket.create_server(settings.address, backlog=1024)
config = uvicorn.Config(
    "entrepot.server.worker:create", factory=True, lifespan="on", access_log=False, log_level="warning", ws="none",
    server_header=False, proxy_headers=False, timeout_graceful_shutdown=settings.server.drain_seconds,
)
with prepare(settings.for_storage()):
    print(f"Entrepot serves at http://127.0.0.1:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
    uvicorn.Server(config).run(sockets=[listener])
"""
_RUNNERS = {"granian": _GRANIAN, "uvicorn": _UVICORN}


@dataclass
class Answer:
    """A response, its header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.json["errors"][0]["code"]

    @property
    def path(self) -> str:
        """The path of the Location."""
        return "/" + self.headers["location"].split("/", 3)[3]


@dataclass
class Registry:
    """A registry that runs, and the ways to talk to it."""

    port: int
    process: subprocess.Popen[bytes]
    root: Path
    errors: Path
    output: Path
    connections: dict[int, http.client.HTTPConnection] = field(default_factory=dict)

    def connect(self) -> socket.socket:
        """Open a connection of one's own."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def raw(self, request: bytes) -> bytes:
        """Send these bytes and return all that comes until the registry closes the connection."""
        with self.connect() as connection:
            connection.sendall(request)
            received = b""
            while data := connection.recv(65536):
                received += data
            return received

    def ask(
        self, method: str, path: str, body: Body = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                response.read(),
            )
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers=_names(headers))

    def head(self, path: str, **headers: str) -> Answer:
        return self.ask("HEAD", path, headers=_names(headers))

    def delete(self, path: str) -> Answer:
        return self.ask("DELETE", path)

    def post(self, path: str, body: Body = None, **headers: str) -> Answer:
        return self.ask("POST", path, body, _names(headers))

    def put(self, path: str, body: Body = None, **headers: str) -> Answer:
        return self.ask("PUT", path, body, _names(headers))

    def patch(self, path: str, body: Body = None, **headers: str) -> Answer:
        return self.ask("PATCH", path, body, _names(headers))

    def begin(self, repository: str) -> str:
        """Begin an upload and return its path."""
        answer = self.post(f"/v2/{repository}/blobs/uploads/")
        assert answer.status == 202, answer
        return answer.path

    def push_blob(self, repository: str, content: bytes) -> str:
        """Push a blob and return its digest."""
        digest = sha256(content)
        answer = self.post(f"/v2/{repository}/blobs/uploads/?digest={digest}", content)
        assert answer.status == 201, answer
        return digest

    def push_manifest(self, repository: str, reference: str, manifest: Mapping[str, Any]) -> Answer:
        """Push a manifest, or an index, whichever its own field says."""
        raw = json.dumps(manifest).encode()
        return self.put(f"/v2/{repository}/manifests/{reference}", raw, content_type=manifest["mediaType"])

    def push_image(self, repository: str, reference: str = "", **fields: Any) -> str:
        """Push an image of one layer and return the manifest's digest; `fields` are added to the manifest."""
        manifest = self.image(repository, **fields)
        raw = json.dumps(manifest).encode()
        answer = self.push_manifest(repository, reference or sha256(raw), manifest)
        assert answer.status == 201, answer
        return sha256(raw)

    def image(self, repository: str, **fields: Any) -> dict[str, Any]:
        """Push config and layer of an image, and return its manifest."""
        config, layer = b"{}", b"layer of " + repository.encode()
        return {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": descriptor(
                "application/vnd.oci.image.config.v1+json", self.push_blob(repository, config), 2
            ),
            "layers": [
                descriptor(
                    "application/vnd.oci.image.layer.v1.tar", self.push_blob(repository, layer), len(layer)
                )
            ],
            **fields,
        }

    def wait(self) -> int:
        """Wait for the registry to end, and return its exit code."""
        return self.process.wait(timeout=30)

    def stop(self) -> int:
        """Ask the registry to end, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """Kill all processes of the registry, as a power cut does."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()


def _names(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


class Starter:
    """Starts registries and ends them all in the end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.started: list[Registry] = []

    def __call__(self, *, runner: str = "granian", root: Path | None = None, **settings: object) -> Registry:
        """Start a registry; settings are `section.key`, with `__` for the point and `_` for a hyphen."""
        process, errors, output, root = self.launch(runner=runner, root=root, **settings)
        deadline = time.monotonic() + 20
        while (port := _announced_port(errors)) is None or not _answers(port):
            assert process.poll() is None, errors.read_text()
            assert time.monotonic() < deadline, errors.read_text()
            time.sleep(0.01)
        registry = Registry(port, process, root, errors, output)
        self.started.append(registry)
        return registry

    def launch(
        self, *, runner: str = "granian", root: Path | None = None, **settings: object
    ) -> tuple[subprocess.Popen[bytes], Path, Path, Path]:
        """Start a process and do not wait for it to answer."""
        name = uuid.uuid4().hex
        root = root or self.directory / f"{name}.root"
        errors, output = self.directory / f"{name}.err", self.directory / f"{name}.out"
        overrides = {"storage.root": str(root), "http.listen": "127.0.0.1:0", "server.workers": 2}
        overrides.update({key.replace("__", ".").replace("_", "-"): value for key, value in settings.items()})
        with errors.open("wb") as err, output.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-c", _RUNNERS[runner], json.dumps(overrides)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        return process, errors, output, root

    def close(self) -> None:
        for registry in self.started:
            if registry.process.poll() is None:
                registry.kill()


def _announced_port(errors: Path) -> int | None:
    for line in errors.read_text().splitlines():
        if " at http://" in line:
            return int(line.rpartition(":")[2])
    return None


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="session")
def shm() -> Iterator[Path]:
    """A directory whose files are in memory."""
    base = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="entrepot-spec-", dir=base if base.is_dir() else None))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def _shared(shm: Path) -> Iterator[dict[str, Registry]]:
    starter = Starter(shm)
    yield _Lazy(starter)
    starter.close()


class _Lazy(dict[str, Registry]):
    """The registries that tests share, one for each runner, started when first needed."""

    def __init__(self, starter: Starter) -> None:
        super().__init__()
        self.starter = starter

    def __missing__(self, runner: str) -> Registry:
        self[runner] = self.starter(runner=runner)
        return self[runner]


@pytest.fixture(params=sorted(_RUNNERS))
def registry(request: pytest.FixtureRequest, _shared: dict[str, Registry]) -> Registry:
    """A registry with nothing but defaults, shared by all tests of a runner."""
    return _shared[request.param]


@pytest.fixture
def start(shm: Path) -> Iterator[Starter]:
    """Starts registries of the test's own."""
    starter = Starter(shm)
    yield starter
    starter.close()


@pytest.fixture
def repository() -> str:
    """The name of a repository that nobody else has."""
    return f"spec/{uuid.uuid4().hex}"
