"""`build` through the command line."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest


def test_prints_name_and_digest(run, files: Path) -> None:
    """`build` writes NAME@DIGEST with the full name."""
    built = run("build", "-t", "app", "--layer", files)
    assert built.out == f"docker.io/library/app:latest@{run('digest', 'local:app').out}"


def test_the_same_input_gives_the_same_digest(run, files: Path, tmp_path: Path) -> None:
    """Building twice, into another image store, with other time stamps and permissions, gives the same digest."""
    first = run("build", "-t", "a", "--layer", files).out
    for path in files.rglob("*"):
        if not path.is_symlink():
            path.touch()
    (files / "bin" / "hello").chmod(0o700)
    assert run("build", "-t", "a", "--layer", files, "--store", tmp_path / "other").out == first


def test_settings(run, files: Path) -> None:
    """What is said about how the image runs is in its config."""
    options = [
        "--entrypoint",
        "/bin/hello",
        "--entrypoint",
        "-v",
        "--cmd",
        "world",
        "--env",
        "A=1",
        "--env",
        "B=x=y",
    ]
    options += [
        "--label",
        "org.example=yes",
        "--workdir",
        "/srv",
        "--user",
        "1000",
        "--platform",
        "linux/arm64/v8",
    ]
    assert run("build", "-t", "a", "--layer", files, *options).code == 0
    config = json.loads(run("manifest", "config", "local:a").out)
    assert config["config"] == {
        "User": "1000",
        "Env": ["A=1", "B=x=y"],
        "Entrypoint": ["/bin/hello", "-v"],
        "Cmd": ["world"],
        "WorkingDir": "/srv",
        "Labels": {"org.example": "yes"},
    }
    assert (config["os"], config["architecture"], config["variant"]) == ("linux", "arm64", "v8")


def test_source_date_epoch(run, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SOURCE_DATE_EPOCH is the image's time; what is no number is refused."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert run("build", "-t", "a", "--layer", files).code == 0
    assert json.loads(run("manifest", "config", "local:a").out)["created"] == "2023-11-14T22:13:20Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    assert run("build", "-t", "a", "--layer", files).code == 2


def test_a_tar_is_a_layer(run, tmp_path: Path) -> None:
    """A tar goes in as it is; what is no tar, or not there, is refused."""
    with tarfile.open(tmp_path / "layer.tar", "w") as tar:
        info = tarfile.TarInfo("a")
        info.size, info.uid = 1, 7
        tar.addfile(info, io.BytesIO(b"a"))
    assert run("build", "-t", "a", "--layer", tmp_path / "layer.tar").code == 0
    (tmp_path / "text").write_text("no tar")
    assert run("build", "-t", "a", "--layer", tmp_path / "text").code == 1
    assert run("build", "-t", "a", "--layer", tmp_path / "absent").code == 1


@pytest.mark.parametrize("name", ["UPPER", f"a@sha256:{'0' * 64}", "oci:dir"])
def test_names(run, name: str) -> None:
    """An image gets a name and not a digest, and goes into the image store."""
    assert run("build", "-t", name).code == 2
