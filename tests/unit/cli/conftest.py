"""The command line in this process, and one real registry for all of its tests."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from entrepot.cli.main import assemble
from entrepot.cli.throwaway import ThrowawayRegistry


@dataclass(frozen=True)
class Outcome:
    """What a command left behind: its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a command line in this process, with an image store of its own."""
    monkeypatch.setenv("ENTREPOT_STORE", str(tmp_path / "images"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Outcome:
        texts = [str(argument) for argument in arguments]
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            assemble(texts)(args=texts, prog_name="entrepot")
        out, err = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), out, err)

    return run


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of a registry that runs for all tests; each uses repositories of its own."""
    with ThrowawayRegistry(tmp_path_factory.mktemp("registry") / "root") as running:
        yield running.host


@pytest.fixture
def repository(registry: str) -> str:
    """A repository that nobody else uses."""
    return f"{registry}/test/{secrets.token_hex(4)}"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory to make a layer of."""
    root = tmp_path / "files"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "hello").write_text("#!/bin/sh\necho hello\n")
    (root / "bin" / "hello").chmod(0o755)
    (root / "greeting").symlink_to("bin/hello")
    return root


@pytest.fixture
def image(run: Run, repository: str, files: Path) -> str:
    """An image in the image store, named for the registry and not sent there yet."""
    name = f"{repository}:1"
    assert run("build", "-t", name, "--layer", files, "--entrypoint", "/bin/hello", "--env", "A=1").code == 0
    return name


@pytest.fixture
def pushed(run: Run, image: str) -> str:
    """An image in the image store and on the registry."""
    assert run("push", image).code == 0
    return image
