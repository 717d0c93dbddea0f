"""The registries and servers that stand beside each other: ours, Debian's, and what bounds them both."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.processes import free_port, http_answers, running
from bench.programs import ROOT, beside_python, program

WORKERS = 2


@dataclass(frozen=True)
class Server:
    """A server that answers: its address as `host:port`, its process, what it prints."""

    address: str
    pid: int
    log: Path


class StartRegistry(Protocol):
    """Start a registry below a directory; `configuration` is a file's text."""

    def __call__(
        self, directory: Path, *, configuration: str = "", environment: Mapping[str, str] | None = None
    ) -> contextlib.AbstractContextManager[Server]: ...


@contextlib.contextmanager
def entrepot(
    directory: Path, *, configuration: str = "", environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Our registry, as its users start it. Without `configuration` there is no configuration file."""
    address, log = f"127.0.0.1:{free_port()}", directory / "entrepot.log"
    command = [beside_python("entrepot"), "serve", "--root", str(directory / "root")]
    command += ["--listen", address, "--workers", str(WORKERS)]
    if configuration:
        file = directory / "entrepot.toml"
        file.write_text(configuration)
        command += ["--config", str(file)]
    with running(
        command, log=log, answers=lambda: http_answers(address), environment=environment, directory=directory
    ) as pid:
        yield Server(address, pid, log)


@contextlib.contextmanager
def distribution(
    directory: Path, *, configuration: str = "", environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Debian's docker-registry (CNCF Distribution 2.8), deletes on, no access log, nothing to configure."""
    del configuration
    address, log = f"127.0.0.1:{free_port()}", directory / "docker-registry.log"
    file = directory / "docker-registry.yml"
    file.write_text(
        json.dumps(
            {
                "version": "0.1",
                "log": {"level": "error", "accesslog": {"disabled": True}},
                "storage": {
                    "filesystem": {"rootdirectory": str(directory / "root")},
                    "cache": {"blobdescriptor": "inmemory"},
                    "delete": {"enabled": True},
                },
                "http": {"addr": address},
            }
        )
    )
    command = [program("docker-registry"), "serve", str(file)]
    with running(command, log=log, answers=lambda: http_answers(address), environment=environment) as pid:
        yield Server(address, pid, log)


REGISTRIES: Mapping[str, StartRegistry] = {"entrepot": entrepot, "docker-registry": distribution}


@contextlib.contextmanager
def bare_granian(directory: Path, *, headers: Mapping[str, str], body: bytes) -> Iterator[Server]:
    """The ASGI server alone, with an application that sends one answer: what ours could reach at most."""
    address, log = f"127.0.0.1:{free_port()}", directory / "granian.log"
    answer = directory / "answer.json"
    answer.write_text(json.dumps({"headers": dict(headers), "body": body.decode()}))
    host, port = address.split(":")
    command = [
        beside_python("granian"),
        "--interface",
        "asginl",
        "--loop",
        "uvloop",
        "--host",
        host,
        "--port",
        port,
    ]
    command += ["--workers", str(WORKERS), "--no-ws", "--log-level", "error", "bench.bare_app:app"]
    with running(
        command,
        log=log,
        answers=lambda: http_answers(address),
        environment={"BARE_APP_ANSWER": str(answer), "PYTHONPATH": str(ROOT)},
        directory=ROOT,
    ) as pid:
        yield Server(address, pid, log)


@contextlib.contextmanager
def nginx(directory: Path, *, http: str) -> Iterator[Server]:
    """Run nginx in the foreground, with our text inside its `server { … }`."""
    address, log = f"127.0.0.1:{free_port()}", directory / "nginx.log"
    file = directory / "nginx.conf"
    modules = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    kept = "".join(f"{module}_temp_path {directory}/{module};" for module in modules)
    file.write_text(
        f"daemon off; worker_processes {WORKERS}; user root; pid {directory}/nginx.pid;"
        f"error_log stderr error; events {{ worker_connections 1024; }} http {{ access_log off;"
        f"sendfile on; {kept} keepalive_requests 100000000;"
        f"server {{ listen {address} reuseport; {http} }} }}"
    )
    command = [program("nginx"), "-c", str(file)]
    with running(command, log=log, answers=lambda: http_answers(address, "/")) as pid:
        yield Server(address, pid, log)


def static_file(directory: Path, *, target: str, body: bytes, media_type: str) -> str:
    """Put a body where nginx finds it under `target`; the configuration that serves it."""
    path = directory / "files" / target.lstrip("/")
    path.parent.mkdir(parents=True)
    path.write_bytes(body)
    return f"root {directory}/files; default_type {media_type};"


def proxy_to(address: str, *, fault: str) -> str:
    """Make nginx hand everything to a registry; `fault` is text for its server that does one thing wrong."""
    return (
        f"client_max_body_size 0; {fault} location / {{"
        f"proxy_pass http://{address}; proxy_http_version 1.1; proxy_set_header Host $http_host;"
        "proxy_request_buffering off; proxy_buffering off; }"
    )
