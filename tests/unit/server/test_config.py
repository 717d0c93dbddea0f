"""Settings: where they come from, and what is said about those that are wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from entrepot.errors import ConfigError
from entrepot.server.config import SETTINGS, Settings, load
from entrepot.storage.settings import AllowMissing

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "reference" / "configuration.md"


def problems(*args, **kwargs):
    with pytest.raises(ConfigError) as caught:
        load(*args, **kwargs)
    return caught.value.problems


@pytest.fixture
def file(tmp_path):
    """Writes a configuration file."""

    def write(text):
        path = tmp_path / "entrepot.toml"
        path.write_text(text)
        return path

    return write


def test_defaults():
    """Without a word the registry listens on this machine alone and keeps everything below the working directory."""
    settings = load(None, {})
    assert settings.address == ("127.0.0.1", 5000)
    assert settings.for_storage().root == Path("entrepot-data").absolute()
    assert settings.for_storage().allow_missing is AllowMissing.NONE
    assert settings.anonymous_may_push
    assert 1 <= settings.server.workers <= 4


def test_precedence(file):
    """The command line beats the environment, that beats the file, that beats the defaults."""
    path = file(
        '[http]\nlisten = "127.0.0.1:1"\npublic-url = "http://file.example"\n[log]\nlevel = "error"\n'
    )
    env = {"ENTREPOT__HTTP__LISTEN": "127.0.0.1:2", "ENTREPOT__HTTP__PUBLIC_URL": "http://env.example"}
    settings = load(path, env, overrides={"http.listen": "127.0.0.1:3"})
    assert (settings.http.listen, settings.http.public_url, settings.log.level) == (
        "127.0.0.1:3",
        "http://env.example",
        "error",
    )


def test_file(file):
    """Every type of value can be written in a file."""
    settings = load(
        file(
            '[manifests]\nallow-missing = "all"\n[http]\ntrusted-proxies = ["10.0.0.0/8", "::1"]\n'
            "[registry]\nread-only = true\n[server]\nworkers = 3\n"
        ),
        {},
    )
    assert settings.manifests.allow_missing is AllowMissing.ALL
    assert settings.http.trusted_proxies == ("10.0.0.0/8", "::1")
    assert (settings.registry.read_only, settings.server.workers) == (True, 3)


def test_environment():
    """Every type of value can be written in the environment, where all is text."""
    settings = load(
        None,
        {
            "ENTREPOT__MANIFESTS__ALLOW_MISSING": "manifests",
            "ENTREPOT__HTTP__TRUSTED_PROXIES": "10.0.0.0/8, ::1",
            "ENTREPOT__REGISTRY__READ_ONLY": "true",
            "ENTREPOT__SERVER__WORKERS": "3",
            "ENTREPOT__LOG__ACCESS": "false",
            "ENTREPOT_PORT": "tcp://10.0.0.1:5000",
            "ENTREPOT_SERVICE_HOST": "10.0.0.1",
        },
    )
    assert settings.manifests.allow_missing is AllowMissing.MANIFESTS
    assert settings.http.trusted_proxies == ("10.0.0.0/8", "::1")
    assert (settings.registry.read_only, settings.server.workers, settings.log.access) == (True, 3, False)


def test_workers_get_the_same():
    """Settings survive the way to a worker."""
    settings = load(None, {"ENTREPOT__AUTH__ANONYMOUS": "pull", "ENTREPOT__REGISTRY__WARNINGS": "a, b"})
    assert Settings.from_json(settings.to_json()) == settings


def test_all_problems_at_once(file):
    """Everything that is wrong is said, with the place and a suggestion, not the first thing only."""
    path = file('top = 1\n[htp]\nx = 1\n[http]\nlisten = 5\npublc-url = "x"\n[server]\nworkers = "3"\n')
    env = {"ENTREPOT__LOG__ACCES": "true", "ENTREPOT__LOG__LEVEL": "loud", "ENTREPOT__X": "1"}
    found = problems(path, env, overrides={"storage.rot": "x"})
    expected = [
        (str(path), "top"),
        (str(path), "[htp]", "did you mean http?"),
        (str(path), "http.listen", "5"),
        (str(path), "http.publc-url", "did you mean http.public-url?"),
        (str(path), "server.workers", "'3'"),
        ("ENTREPOT__LOG__ACCES", "did you mean ENTREPOT__LOG__ACCESS?"),
        ("ENTREPOT__LOG__LEVEL", "'loud'"),
        ("ENTREPOT__X", "no such setting"),
        ("storage.rot", "did you mean storage.root?"),
    ]
    for parts in expected:
        assert any(all(part in problem for part in parts) for problem in found), (parts, found)
    assert len(found) == len(expected)


@pytest.mark.parametrize("text", ["[http", "listen = ", "\x00"])
def test_file_that_is_no_toml(file, text):
    """What is no TOML is refused with its name."""
    path = file(text)
    [problem] = problems(path, {})
    assert str(path) in problem


def test_file_that_is_not_there(tmp_path):
    """A file that does not exist is refused with its name."""
    [problem] = problems(tmp_path / "no.toml", {})
    assert "no.toml" in problem


@pytest.mark.parametrize("listen", ["0.0.0.0:5000", "[::]:5000", "10.0.0.1:5000", "registry.example:5000"])
def test_listening_to_everybody(listen):
    """Nothing written about access means this machine alone; the refusal says what to write."""
    [problem] = problems(None, {"ENTREPOT__HTTP__LISTEN": listen})
    assert listen in problem
    assert 'anonymous = "pull"' in problem
    for rule in ("pull", "push"):
        load(None, {"ENTREPOT__HTTP__LISTEN": listen, "ENTREPOT__AUTH__ANONYMOUS": rule})


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.8.9.10:5000", "localhost:5000", "[::1]:5000"])
def test_listening_to_this_machine(listen):
    """Loopback addresses need no rule."""
    host, port = load(None, {"ENTREPOT__HTTP__LISTEN": listen}).address
    assert listen in (f"{host}:{port}", f"[{host}]:{port}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("http.listen", "5000"),
        ("http.listen", ":5000"),
        ("http.listen", "127.0.0.1:65536"),
        ("http.listen", "::1:5000"),
        ("http.public-url", "images.example"),
        ("http.public-url", "https://images.example/path"),
        ("http.public-url", "ftp://images.example"),
        ("http.public-url", 'https://images.example"\r\nx: y'),
        ("http.trusted-proxies", ["10.0.0.0/33"]),
        ("http.trusted-proxies", ["proxy.example"]),
        ("storage.lease-seconds", 59),
        ("storage.upload-idle-seconds", 0),
        ("server.workers", 0),
        ("server.drain-seconds", 0),
        ("manifests.max-bytes", 0),
        ("manifests.allow-missing", "some"),
        ("uploads.chunk-min-bytes", -1),
        ("auth.anonymous", "delete"),
        ("registry.warnings", ["caf\u00e9"]),
        ("registry.warnings", ["a\nb"]),
        ("registry.warnings", ["x" * 4_097]),
    ],
)
def test_wrong_values(key, value):
    """A value that cannot be used is refused with its key."""
    [problem] = problems(None, {}, overrides={key: value})
    assert key in problem


def test_documentation():
    """Every setting is documented, with its default, and nothing else is."""
    text = DOCUMENTATION.read_text()
    documented = dict(re.findall(r"^\| `([a-z]+\.[a-z-]+)` \| (.*?) \|", text, flags=re.MULTILINE))
    assert set(documented) == set(SETTINGS)
    assert documented["http.listen"] == '`"127.0.0.1:5000"`'
    assert documented["storage.lease-seconds"] == "`86400`"
