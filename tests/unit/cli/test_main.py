"""The command line as a whole: verbs, options before and after them, start-up."""

from __future__ import annotations

import importlib
import inspect
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from entrepot import __version__
from entrepot.cli.main import VERBS

ENTREPOT = [sys.executable, "-m", "entrepot"]

# importing these takes longer than `--help` may
HEAVY = ("aiohttp", "asyncio", "granian", "litestar", "msgspec", "pydantic", "rich")


def functions():
    for name, verb in VERBS.items():
        module = importlib.import_module(f"entrepot.cli.{verb.module}")
        for below in verb.below or (name,):
            yield (name, below) if verb.below else (name,), getattr(module, below)


def test_help_names_every_verb(run) -> None:
    """`--help` shows each verb with its summary."""
    shown = run("--help")
    assert shown.code == 0
    for name, verb in VERBS.items():
        assert f"{name}" in shown.out
        assert verb.summary in shown.out


@pytest.mark.parametrize("name", [name for name, verb in VERBS.items() if not verb.below])
def test_summaries_are_those_of_the_functions(name: str) -> None:
    """What `--help` says of a verb is the first line of what the verb's own help says."""
    module = importlib.import_module(f"entrepot.cli.{VERBS[name].module}")
    assert (inspect.getdoc(getattr(module, name)) or "").splitlines()[0] == VERBS[name].summary


@pytest.mark.parametrize("words", [words for words, _ in functions()], ids=" ".join)
def test_every_verb_has_help_and_the_common_options(run, words: tuple[str, ...]) -> None:
    """Each verb explains itself and takes the options that all take."""
    shown = run(*words, "--help")
    assert shown.code == 0
    for option in (
        "--debug",
        "--trace",
        "--json",
        "--quiet",
        "--plain-http",
        "--cacert",
        "--store",
        "--chunk-size",
    ):
        assert option in shown.out


def test_help_imports_nothing_heavy() -> None:
    """`--help` imports neither the client's nor the server's libraries."""
    code = (
        "import sys; sys.argv = ['entrepot', '--help']\n"
        "from entrepot.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: print('LOADED', *sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(HEAVY).isdisjoint(out.partition("LOADED")[2].split())


def test_help_is_quick() -> None:
    """`--help` takes little of a processor; the best of five, since the machine is not ours alone."""

    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    costs = []
    for _ in range(5):
        before = spent()
        subprocess.run([*ENTREPOT, "--help"], capture_output=True, check=True)
        costs.append(spent() - before)
    assert min(costs) <= 0.2


def test_version(run) -> None:
    """`--version` prints the version, and needs no verb."""
    assert run("--version").out == f"entrepot {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["manifest"]], ids=["alone", "group"])
def test_nothing_to_do_is_usage(run, arguments: list[str]) -> None:
    """Without a verb the help is shown, and that is no success."""
    shown = run(*arguments)
    assert shown.code == 2
    assert "Usage:" in shown.out + shown.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["digst", "x"],
        ["digest"],
        ["digest", "x", "--chunk-size", "many"],
        ["digest", "x", "--chunk-size", "0"],
        ["digest", "x", "--upload", "somehow"],
        ["digest", "x", "--trace", "trace.har"],
        ["digest", "x", "--jobs", "0"],
        ["pull", "x", "--platform", "linux/amd64", "--all-platforms"],
        ["build", "-t", "x", "--env", "A"],
    ],
    ids=" ".join,
)
def test_usage(run, arguments: list[str]) -> None:
    """What cannot be meant ends with 2 before anything is done."""
    assert run(*arguments).code == 2


def test_a_mistyped_verb_gets_a_suggestion(run) -> None:
    """The verb that was probably meant is named."""
    assert "'digest'" in run("digst", "x").err


@pytest.mark.parametrize("place", ["before", "after", "both"])
def test_options_before_and_after_the_verb(run, image: str, place: str) -> None:
    """A common option counts wherever it stands."""
    arguments = {
        "before": ["--json", "images"],
        "after": ["images", "--json"],
        "both": ["--json", "images", "--json"],
    }[place]
    assert [one["name"] for one in run(*arguments).json] == [image]


def test_options_before_a_group_and_inside_it(run, image: str, tmp_path: Path) -> None:
    """A common option also counts before the first and the second word of a verb of two words."""
    for arguments in (
        ["--store", tmp_path / "images", "manifest", "get", f"local:{image}"],
        ["manifest", "--store", tmp_path / "images", "get", f"local:{image}"],
        ["manifest", "get", f"local:{image}", "--store", tmp_path / "images"],
    ):
        assert run(*arguments).code == 0
    assert run("manifest", "--store", tmp_path / "empty", "get", f"local:{image}").code == 3


def test_what_stands_after_the_verb_wins(run, image: str, tmp_path: Path) -> None:
    """Of two values for one option the one after the verb counts, and any counts more than the environment."""
    full, empty = tmp_path / "images", tmp_path / "empty"
    assert len(run("--store", empty, "images", "--store", full, "--json").json) == 1
    assert run("--store", empty, "images", "--json").json == []


def test_interrupted() -> None:
    """Ctrl-C ends a command with 130 and without a traceback, also while it waits for a registry."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        command = [*ENTREPOT, "--plain-http", "digest", f"127.0.0.1:{silent.getsockname()[1]}/a"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with silent.accept()[0] as connection:
            assert connection.recv(4).startswith(b"HEAD")
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "")


def test_a_reader_that_has_seen_enough(tmp_path: Path, run, image: str) -> None:
    """When the reader of a pipe goes away, the command ends without a word."""
    read, write = os.pipe()
    os.close(read)
    environment = {**os.environ, "ENTREPOT_STORE": str(tmp_path / "images")}
    ended = subprocess.run(
        [*ENTREPOT, "images"], stdout=write, stderr=subprocess.PIPE, env=environment, check=False
    )
    os.close(write)
    assert (ended.returncode, ended.stderr) == (1, b"")
