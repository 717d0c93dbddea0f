"""The real programs, started once for all tests of this directory and stopped by their process ids.

`ENTREPOT_INTEROP_REGISTRY=docker-registry` puts Debian's registry in the place of ours: what fails
then as well is the test's fault or the peer's, not ours.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.images import Content, image, index, other_platform, this_platform
from bench.processes import scratch
from bench.programs import program
from bench.servers import REGISTRIES, StartRegistry
from tests.interop.engines import Containerd, Docker, containerd, dockerd


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this directory, and nothing else."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.interop)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory on tmpfs for one test."""
    with scratch("test") as place:
        yield place


@pytest.fixture(scope="session")
def start_registry() -> StartRegistry:
    """Start the registry under test: ours, unless the environment names another."""
    return REGISTRIES[os.environ.get("ENTREPOT_INTEROP_REGISTRY", "entrepot")]


@pytest.fixture(scope="session")
def registry(start_registry: StartRegistry) -> Iterator[str]:
    """The address of one registry for all tests; each test has repositories of its own."""
    with scratch("registry") as place, start_registry(place) as server:
        yield server.address


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    with scratch("docker") as place, dockerd(place) as engine:
        yield engine


@pytest.fixture(scope="session")
def ctr() -> Iterator[Containerd]:
    with scratch("ctr") as place, containerd(place) as engine:
        yield engine


@pytest.fixture(scope="session")
def busybox() -> bytes:
    """A static program that is a whole system."""
    return Path(program("busybox")).read_bytes()


@pytest.fixture(scope="session")
def greeting() -> str:
    """What the image for this machine prints."""
    return "hello from this platform\n"


@pytest.fixture(scope="session")
def two_platforms(busybox: bytes, greeting: str) -> Content:
    """An index of two images that share a layer: one runs here and prints a greeting, one does not run."""
    shared = {"greeting": greeting.encode()}
    here = image(
        [shared, {"bin/busybox": busybox}],
        command=["/bin/busybox", "cat", "/greeting"],
        platform=this_platform(),
    )
    elsewhere = image([shared, {"README": b"nothing to run\n"}], platform=other_platform())
    return index([here, elsewhere])
