"""The application without a runner: real storage below a temporary root, requests by function call."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from entrepot.server.app import assemble
from entrepot.server.config import load
from entrepot.server.log import Log
from entrepot.server.metrics import Metrics
from entrepot.storage.preparation import prepare
from entrepot.storage.registry import Registry

IMAGE = "application/vnd.oci.image.manifest.v1+json"


@dataclass
class Answer:
    """What the application sent."""

    status: int
    headers: dict[str, str]
    body: bytes
    lines: list[tuple[bytes, bytes]]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.json["errors"][0]["code"]


class Driver:
    """Calls an ASGI application as a runner would."""

    def __init__(self, app: Any, registry: Registry | None = None, metrics: Metrics | None = None) -> None:
        self.app = app
        self.registry = registry
        self.metrics = metrics

    async def ask(
        self,
        method: str,
        target: str,
        body: bytes | Sequence[bytes] = b"",
        headers: Mapping[str, str] | None = None,
        *,
        client: str = "127.0.0.1",
    ) -> Answer:
        """Send a request whose whole body is there, and gather the answer."""
        path, _, query = target.partition("?")
        chunks = [body] if isinstance(body, bytes) else list(body)
        lines = {"host": "registry.example", "content-length": str(sum(map(len, chunks))), **(headers or {})}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in lines.items()],
            "client": (client, 12345),
            "server": ("127.0.0.1", 5000),
            "state": {},
        }
        messages: list[Any] = []

        async def receive() -> dict[str, Any]:
            if not chunks:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

        async def send(message: Any) -> None:
            messages.append(message)

        await self.app(scope, receive, send)
        start, *rest = messages
        assert start["type"] == "http.response.start"
        assert not rest[-1].get("more_body", False)
        found = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        content = b"".join(message.get("body", b"") for message in rest)
        if "content-length" in found and method != "HEAD":
            assert int(found["content-length"]) == len(content)
        return Answer(start["status"], found, content, list(start["headers"]))

    async def push_blob(self, repository: str, content: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        answer = await self.ask("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", content)
        assert answer.status == 201, answer
        return digest

    async def push_image(self, repository: str, reference: str) -> str:
        config = await self.push_blob(repository, b"{}")
        manifest = {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
            "layers": [],
        }
        raw = json.dumps(manifest).encode()
        answer = await self.ask(
            "PUT", f"/v2/{repository}/manifests/{reference}", raw, {"content-type": IMAGE}
        )
        assert answer.status == 201, answer
        return answer.headers["docker-content-digest"]


@asynccontextmanager
async def running(root: Path, **settings: object) -> AsyncIterator[Driver]:
    """The application with these settings: `section__key`."""
    overrides = {key.replace("__", ".").replace("_", "-"): value for key, value in settings.items()}
    loaded = load(None, {}, overrides={"storage.root": str(root), **overrides})
    with prepare(loaded.for_storage()):
        registry = await Registry.open(loaded.for_storage())
        metrics = Metrics()
        try:
            app = assemble(
                loaded, registry, metrics=metrics, log=Log("error"), access_log=None, worker="test"
            )
            yield Driver(app, registry, metrics)
        finally:
            await registry.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def run() -> Any:
    """Runs the application: `async with run(root, registry__read_only=True) as driver`."""
    return running
