"""Image configs (image-spec `config.md`)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from entrepot.errors import InvalidDocument
from entrepot.oci import Digest, ImageConfig, Platform, Process, RootFS
from entrepot.oci.codec import encode

DIFF_ID = Digest.of(b"layer")

# The shape of the example in config.md.
EXAMPLE: dict[str, Any] = {
    "created": "2015-10-31T22:22:56.015925234Z",
    "author": "Alyssa P. Hacker <alyspdev@example.com>",
    "architecture": "arm",
    "os": "linux",
    "variant": "v7",
    "config": {
        "User": "alice",
        "ExposedPorts": {"8080/tcp": {}},
        "Env": ["PATH=/usr/bin", "FOO=oci_is_a"],
        "Entrypoint": ["/bin/my-app-binary"],
        "Cmd": ["--foreground"],
        "Volumes": {"/var/job-result-data": {}},
        "WorkingDir": "/home/alice",
        "Labels": {"com.example.project.git.url": "https://example.com/project.git"},
        "StopSignal": "SIGTERM",
    },
    "rootfs": {"type": "layers", "diff_ids": [str(DIFF_ID)]},
    "history": [
        {"created": "2015-10-31T22:22:54Z", "created_by": "/bin/sh -c #(nop) ADD file in /"},
        {"created": "2015-10-31T22:22:55Z", "created_by": "CMD", "empty_layer": True},
    ],
}


def test_reads_and_writes_every_field() -> None:
    """The specification's example is read whole and written back the same."""
    config = ImageConfig.parse(json.dumps(EXAMPLE).encode())
    assert json.loads(encode(config)) == EXAMPLE
    assert config.platform == Platform(os="linux", architecture="arm", variant="v7")
    assert config.history is not None
    assert config.history[1].empty_layer


def test_null_is_absent_and_unknown_fields_pass() -> None:
    """Optional fields may be null; implementation-specific fields are passed over."""
    tree = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": None}}
    process = dict.fromkeys(
        ["User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels"]
    )
    noise = {
        "history": None,
        "created": None,
        "docker_version": "1",
        "config": {**process, "Healthcheck": {"Test": []}},
    }
    config = ImageConfig.parse(json.dumps({**tree, **noise}).encode())
    assert config.config == Process()
    assert config.rootfs.diff_ids == ()
    assert config.history is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rootfs": {"type": "snapshot", "diff_ids": []}}, "rootfs.type: invalid value 'snapshot'"),
        ({"rootfs": {"type": "layers", "diff_ids": [7]}}, "rootfs.diff_ids[0]: expected string, got integer"),
        ({"os": None}, "os: expected string, got null"),
        ({"config": {"Env": "PATH=/"}}, "config.Env: expected array or null, got string"),
        ({"config": {"Labels": {"a": "b", "c": []}}}, "config.Labels['c']: expected string, got array"),
    ],
)
def test_refuses(change: dict[str, Any], message: str) -> None:
    """What is not a config is refused with the place; an unknown kind of root file system too."""
    with pytest.raises(InvalidDocument) as caught:
        ImageConfig.parse(json.dumps({**EXAMPLE, **change}).encode())
    assert str(caught.value) == message


def test_rootfs_is_written_in_full() -> None:
    """`type` and `diff_ids` are REQUIRED: they are written even where we read them as the default."""
    assert encode(RootFS()) == b'{"type":"layers","diff_ids":[]}'
