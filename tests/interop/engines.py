"""The container engines, started for the tests: on tmpfs, on their own sockets, without network or bridge."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.processes import ProcessError, output_of, running
from bench.programs import program


@dataclass(frozen=True)
class Docker:
    """The docker command, with an engine of its own behind it."""

    socket: Path
    configuration: Path

    def __call__(self, *arguments: str | Path) -> str:
        """Run a docker command; its stdout. The classic builder builds: Debian has no BuildKit."""
        environment = {
            "DOCKER_HOST": f"unix://{self.socket}",
            "DOCKER_CONFIG": str(self.configuration),
            "DOCKER_BUILDKIT": "0",
        }
        return output_of([program("docker"), *arguments], environment=environment)

    def run(self, name: str) -> str:
        """Run an image as it wants to be run, without a network; what it printed."""
        return self("run", "--rm", "--network", "none", name)

    def digest(self, name: str) -> str:
        """Say which digest the engine believes the image has in the repository it is named after."""
        repository = name.rpartition(":")[0]
        (inspected,) = json.loads(self("image", "inspect", name))
        digests: dict[str, str] = dict(entry.split("@") for entry in inspected["RepoDigests"])
        return digests[repository]

    def has(self, name: str) -> bool:
        """Whether the engine still holds an image of that name."""
        return bool(self("image", "ls", "--quiet", name).strip())


@dataclass(frozen=True)
class Containerd:
    """The ctr command, with a containerd of its own behind it."""

    socket: Path

    def __call__(self, *arguments: str) -> str:
        """Run a ctr command; its stdout."""
        return output_of([program("ctr"), "--address", self.socket, "--namespace", "entrepot", *arguments])

    def pull(self, name: str, *options: str) -> None:
        """Pull over plain HTTP and unpack what this machine can run."""
        self("images", "pull", "--plain-http", "--snapshotter", "native", *options, name)

    def run(self, name: str, container: str) -> str:
        """Run an image as it wants to be run, with runc; what it printed."""
        return self(
            "run", "--rm", "--snapshotter", "native", "--runtime", "io.containerd.runc.v2", name, container
        )

    def digest(self, name: str) -> str:
        """Say which digest containerd has under a name."""
        listed = self("images", "list", f"name=={name}").splitlines()[1:]
        (words,) = [line.split() for line in listed]
        return next(word for word in words if word.startswith("sha256:"))


@contextlib.contextmanager
def dockerd(directory: Path) -> Iterator[Docker]:
    """Run Debian's docker engine, as it runs where there is no bridge and no packet filter to change."""
    socket, configuration = directory / "docker.sock", directory / "client"
    configuration.mkdir()
    command = [program("dockerd"), "--bridge=none", "--iptables=false", "--ip-masq=false"]
    command += ["--storage-driver=vfs", "--insecure-registry", "127.0.0.0/8"]
    command += ["--data-root", str(directory / "data"), "--exec-root", str(directory / "exec")]
    command += ["-H", f"unix://{socket}", "-p", str(directory / "docker.pid")]
    program("iptables")  # dockerd looks for it even when it is told not to use it
    docker = Docker(socket, configuration)
    with running(
        command, log=directory / "dockerd.log", answers=lambda: _answers(docker, "version"), seconds=60
    ):
        yield docker


@contextlib.contextmanager
def containerd(directory: Path) -> Iterator[Containerd]:
    """Run containerd without its Kubernetes plug-in."""
    socket, configuration = directory / "containerd.sock", directory / "containerd.toml"
    configuration.write_text(
        "\n".join(
            [
                "version = 2",
                f'root = "{directory}/root"',
                f'state = "{directory}/state"',
                'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
                f'[grpc]\naddress = "{socket}"',
            ]
        )
    )
    program("runc")
    ctr = Containerd(socket)
    with running(
        [program("containerd"), "--config", configuration],
        log=directory / "containerd.log",
        answers=lambda: _answers(ctr, "version"),
        seconds=60,
    ):
        yield ctr


def _answers(command: Any, *arguments: str) -> bool:
    """Whether a command that asks its daemon something gets an answer."""
    try:
        command(*arguments)
    except (subprocess.SubprocessError, ProcessError):
        return False
    return True


def skopeo(*arguments: str | Path) -> str:
    """Run skopeo; its stdout."""
    return output_of([program("skopeo"), "--insecure-policy", *arguments])
