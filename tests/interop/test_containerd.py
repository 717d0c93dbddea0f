"""containerd pulls from our registry, runs with runc, and pushes."""

import pytest
from bench.images import Content, push, stored_manifest
from tests.interop.engines import Containerd

pytestmark = pytest.mark.timeout(300)


def test_an_index_is_pulled_run_and_pushed_with_every_platform(
    ctr: Containerd, registry: str, two_platforms: Content, greeting: str
) -> None:
    """The whole index goes through containerd into another repository; no digest changes on the way."""
    push(registry, "containerd/from", "1", two_platforms)
    source, target = f"{registry}/containerd/from:1", f"{registry}/containerd/to:1"

    ctr.pull(source, "--all-platforms")
    assert ctr.digest(source) == two_platforms.digest
    assert ctr.run(source, "greeting") == greeting

    ctr("images", "push", "--plain-http", target, source)
    for content in two_platforms.closure():
        if content.references:
            stored = stored_manifest(registry, "containerd/to", content.digest)
            assert stored is not None
            assert stored[0] == content.data
    tagged = stored_manifest(registry, "containerd/to", "1")
    assert tagged is not None
    assert tagged[0] == two_platforms.data


def test_one_platform_of_an_index_is_pulled_by_digest_and_run(
    ctr: Containerd, registry: str, two_platforms: Content, greeting: str
) -> None:
    """Without --all-platforms containerd takes what it can run, and names what it pulled by the index."""
    push(registry, "containerd/one", "1", two_platforms)
    name = f"{registry}/containerd/one@{two_platforms.digest}"
    ctr.pull(name)
    assert ctr.digest(name) == two_platforms.digest
    assert ctr.run(name, "greeting-by-digest") == greeting
