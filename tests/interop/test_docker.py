"""The docker engine builds, pushes, pulls and runs from our registry."""

from pathlib import Path

import pytest
from bench.images import Content, digest_of, stored_manifest, write_layout
from tests.interop.engines import Docker, skopeo

pytestmark = pytest.mark.timeout(300)

DOCKERFILE = """\
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "echo built by a RUN > /greeting"]
CMD ["/bin/busybox", "cat", "/greeting"]
"""


def remote_digest(registry: str, repository: str, tag: str) -> str:
    """What the registry holds under a tag: its header must be the digest of its bytes."""
    stored = stored_manifest(registry, repository, tag)
    assert stored is not None
    body, headers = stored
    assert headers["docker-content-digest"] == digest_of(body)
    return digest_of(body)


def build(docker: Docker, directory: Path, busybox: bytes, name: str) -> None:
    (directory / "busybox").write_bytes(busybox)
    (directory / "busybox").chmod(0o755)
    (directory / "Dockerfile").write_text(DOCKERFILE)
    docker("build", "--network", "none", "--tag", name, directory)


def test_an_image_built_from_a_dockerfile_goes_round(
    docker: Docker, registry: str, directory: Path, busybox: bytes
) -> None:
    """Build with a RUN, push, forget, pull, run: the same digest at both ends, the same output."""
    name = f"{registry}/docker/built:1"
    build(docker, directory, busybox, name)
    docker("push", name)
    pushed = docker.digest(name)
    assert remote_digest(registry, "docker/built", "1") == pushed

    docker("image", "rm", "--force", name)
    docker("image", "prune", "--all", "--force")
    assert not docker.has(name)

    docker("pull", name)
    assert docker.digest(name) == pushed
    assert docker.run(name) == "built by a RUN\n"


def test_a_second_push_of_the_same_image_to_another_repository_gives_the_same_digest(
    docker: Docker, registry: str, directory: Path, busybox: bytes
) -> None:
    """Docker asks for a mount from the first repository; whether it gets one or not, the bytes are equal."""
    first, second = f"{registry}/docker/origin:1", f"{registry}/docker/mounted:1"
    build(docker, directory, busybox, first)
    docker("push", first)
    docker("tag", first, second)
    docker("push", second)
    assert remote_digest(registry, "docker/origin", "1") == remote_digest(registry, "docker/mounted", "1")


@pytest.mark.parametrize("by", ["tag", "digest"])
def test_an_index_is_pulled_and_the_image_for_this_machine_runs(
    docker: Docker, registry: str, directory: Path, two_platforms: Content, greeting: str, by: str
) -> None:
    """Skopeo pushes two platforms; docker takes the one that runs here and remembers the index's digest."""
    repository = f"docker/multi-{by}"
    write_layout(directory, two_platforms, "multi")
    skopeo(
        "copy",
        "--all",
        "--dest-tls-verify=false",
        f"oci:{directory}:multi",
        f"docker://{registry}/{repository}:1",
    )
    assert remote_digest(registry, repository, "1") == two_platforms.digest

    name = f"{registry}/{repository}:1"
    if by == "digest":
        name = f"{registry}/{repository}@{two_platforms.digest}"
    docker("pull", name)
    if by == "tag":
        assert docker.digest(name) == two_platforms.digest
    assert docker.run(name) == greeting
