"""`digest`, `manifest`, `inspect`, `images`, `tags`, `repos`: looking at what there is."""

from __future__ import annotations

import hashlib
import json


def test_manifest_get_writes_the_stored_bytes(run, pushed: str) -> None:
    """The sha256 of what `manifest get` writes is the digest."""
    raw = run("manifest", "get", pushed).out
    assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}\n" == run("digest", pushed).out
    assert raw == run("manifest", "get", f"local:{pushed}", "--json").out


def test_manifest_config_writes_the_stored_bytes(run, pushed: str) -> None:
    """The sha256 of what `manifest config` writes is the config's digest."""
    config = run("manifest", "config", pushed).out
    expected = json.loads(run("manifest", "get", pushed).out)["config"]["digest"]
    assert f"sha256:{hashlib.sha256(config.encode()).hexdigest()}" == expected


def test_pretty(run, pushed: str) -> None:
    """`--pretty` indents, and the document stays the same."""
    for verb in ("get", "config"):
        plain, pretty = run("manifest", verb, pushed).out, run("manifest", verb, pushed, "--pretty").out
        assert json.loads(plain) == json.loads(pretty)
        assert len(pretty.splitlines()) > 5


def test_digest_as_json(run, pushed: str) -> None:
    """`digest --json` also says what it is and how big."""
    found = run("digest", pushed, "--json").json
    assert found["media_type"] == "application/vnd.oci.image.manifest.v1+json"
    assert found["size"] == len(run("manifest", "get", pushed).out)


def test_inspect(run, pushed: str) -> None:
    """`inspect` shows how an image is run and what it is made of, as lines and as JSON."""
    shown = run("inspect", pushed).out
    for text in ('entrypoint  ["/bin/hello"]', "env  A=1", "layer 1", "config", "history"):
        assert text in shown
    document = run("inspect", pushed, "--json").json
    assert document["image"]["entrypoint"] == ["/bin/hello"]
    assert [layer["mediaType"] for layer in document["layers"]] == [
        "application/vnd.oci.image.layer.v1.tar+gzip"
    ]
    assert document == run("inspect", f"local:{pushed}", "--json").json


def test_images(run, image: str) -> None:
    """`images` is a table for people; an empty image store has no lines at all."""
    header, line = run("images").out.splitlines()
    assert header.split() == ["NAME", "DIGEST", "SIZE", "PLATFORMS"]
    assert line.startswith(image)


def test_no_images(run) -> None:
    """An empty image store is no error."""
    assert (run("images").code, run("images").out, run("images", "--json").json) == (0, "", [])


def test_tags(run, pushed: str, repository: str) -> None:
    """`tags` lists in byte order, of a registry, a layout and the image store."""
    for tag in ("b", "A", "10"):
        assert run("push", pushed, f"{repository}:{tag}").code == 0
        assert run("copy", pushed, f"oci:layout:{tag}").code == 0
    assert run("tags", repository).out.split() == ["1", "10", "A", "b"]
    assert run("tags", repository, "--json").json == ["1", "10", "A", "b"]
    assert run("tags", "oci:layout").out.split() == ["10", "A", "b"]
    assert run("tags", f"local:{repository}").out.split() == ["1"]


def test_repos(run, pushed: str, registry: str, repository: str) -> None:
    """`repos` lists what a registry has."""
    name = repository.removeprefix(f"{registry}/")
    assert name in run("repos", registry).out.split()
    assert name in run("repos", registry, "--json").json
    assert run("repos", "not a host").code == 2
