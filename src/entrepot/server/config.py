"""The registry's settings: what they are, and where they come from.

In rising order of precedence: defaults; a TOML file; environment variables `ENTREPOT__SECTION__KEY`; what the command
line says. Two underscores, since Kubernetes injects `ENTREPOT_PORT=tcp://…` beside a Service of that name. Every
problem is reported, not the first one; a key that nobody knows is one, with a suggestion. What each setting means
for whoever runs the registry is in docs/reference/configuration.md.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_type_hints

import msgspec

from entrepot.errors import ConfigError
from entrepot.server.origins import Network
from entrepot.storage.settings import LEAST_LEASE_SECONDS, AllowMissing, StorageSettings

__all__ = ["ENV_PREFIX", "SETTINGS", "Settings", "load"]

ENV_PREFIX: Final = "ENTREPOT__"

_LISTEN = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9.-]+)):(?P<port>[0-9]{1,5})")
_PUBLIC_URL = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?/?")
_MAX_WARNING_BYTES: Final = 4_096
"""Of all Warning headers together (distribution-spec, "Warnings")."""


def _default_workers() -> int:
    """Return one for each processor that we may use, at most four: each has a cache and a writer of its own."""
    return min(len(os.sched_getaffinity(0)), 4)


class _Section(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """A table of the file."""


class Storage(_Section, frozen=True):
    """`[storage]`: where everything is kept, and for how long."""

    root: str = "entrepot-data"
    lease_seconds: int = 86_400
    upload_idle_seconds: int = 86_400


class Http(_Section, frozen=True):
    """`[http]`: where the registry listens, and under which name it is reached."""

    listen: str = "127.0.0.1:5000"
    public_url: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    header_timeout_seconds: int = 10
    max_connections: int = 16_384


class Server(_Section, frozen=True):
    """`[server]`: the processes."""

    workers: int = msgspec.field(default_factory=_default_workers)
    drain_seconds: int = 30


class Registry(_Section, frozen=True):
    """`[registry]`: what it does and does not do."""

    read_only: bool = False
    delete: bool = True
    warnings: tuple[str, ...] = ()


class Manifests(_Section, frozen=True):
    """`[manifests]`: which manifests are taken."""

    allow_missing: AllowMissing = AllowMissing.NONE
    max_bytes: int = 4 * 1024 * 1024


class Uploads(_Section, frozen=True):
    """`[uploads]`: how blobs are taken."""

    chunk_min_bytes: int = 0


class Auth(_Section, frozen=True):
    """`[auth]`: who may do what."""

    anonymous: Literal["pull", "push"] | None = None


class Log(_Section, frozen=True):
    """`[log]`: what is written about requests and about the registry itself."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    access: bool = True


class Settings(_Section, frozen=True):
    """All settings, one attribute for each table."""

    storage: Storage = msgspec.field(default_factory=Storage)
    http: Http = msgspec.field(default_factory=Http)
    server: Server = msgspec.field(default_factory=Server)
    registry: Registry = msgspec.field(default_factory=Registry)
    manifests: Manifests = msgspec.field(default_factory=Manifests)
    uploads: Uploads = msgspec.field(default_factory=Uploads)
    auth: Auth = msgspec.field(default_factory=Auth)
    log: Log = msgspec.field(default_factory=Log)

    def to_json(self) -> str:
        """Return the settings as a worker process gets them."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """Return what `to_json` wrote."""
        return msgspec.json.decode(text, type=cls)

    @property
    def address(self) -> tuple[str, int]:
        """Return host and port to listen at; the host of an IPv6 address without brackets."""
        matched = _LISTEN.fullmatch(self.http.listen)
        if matched is None:
            raise ConfigError([_NOT_AN_ADDRESS.format(self.http.listen)])
        return matched["v6"] or matched["host"], int(matched["port"])

    @property
    def trusted_proxies(self) -> tuple[Network, ...]:
        """Return the networks of the proxies whose word counts."""
        return tuple(ipaddress.ip_network(text, strict=False) for text in self.http.trusted_proxies)

    @property
    def anonymous_may_push(self) -> bool:
        """Tell whether everybody may write. Nothing written down about access means so, on this machine alone."""
        return self.auth.anonymous != "pull"

    def for_storage(self) -> StorageSettings:
        """Return what the storage has to be told."""
        return StorageSettings(
            root=Path(self.storage.root).absolute(),
            lease_seconds=self.storage.lease_seconds,
            upload_idle_seconds=self.storage.upload_idle_seconds,
            max_manifest_bytes=self.manifests.max_bytes,
            allow_missing=self.manifests.allow_missing,
            chunk_min_bytes=self.uploads.chunk_min_bytes,
        )


_NOT_AN_ADDRESS: Final = "http.listen: not HOST:PORT, with brackets around an IPv6 address: {!r}"
_TYPES: Final[dict[str, type[_Section]]] = get_type_hints(Settings)
SETTINGS: Final[dict[str, Any]] = {
    f"{section}.{field.encode_name}": field.type
    for section, table in _TYPES.items()
    for field in msgspec.structs.fields(table)
}
"""Every setting as `section.key`, with its type."""


def load(
    config: Path | None, env: Mapping[str, str], *, overrides: Mapping[str, object] | None = None
) -> Settings:
    """Read the settings from everywhere.

    Args:
        config: A TOML file; None for none.
        env: The environment; only what begins with `ENTREPOT__` is looked at.
        overrides: What the command line says, as `section.key`.

    Raises:
        ConfigError: Every problem that there is.
    """
    problems: list[str] = []
    values: dict[str, object] = {}
    for key, value, source in (*_from_file(config, problems), *_from_env(env)):
        _take(values, key, value, source, problems)
    for key, value in (overrides or {}).items():
        _take(values, key, value, f"the command line ({key})", problems)
    settings = _assemble(values)
    problems.extend(_contradictions(settings))
    if problems:
        raise ConfigError(problems)
    return settings


def _from_file(config: Path | None, problems: list[str]) -> Iterator[tuple[str, object, str]]:
    if config is None:
        return
    try:
        tree = tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problems.append(f"{config}: {error}")
        return
    for section, table in tree.items():
        if not isinstance(table, dict):
            problems.append(f"{config}: {section}: settings stand in tables, as in [{section}]")
            continue
        if section not in _TYPES:
            problems.append(f"{config}: [{section}]: there is no such table{_suggest(section, _TYPES)}")
            continue
        for key, value in table.items():
            yield f"{section}.{key}", value, f"{config}: {section}.{key}"


def _from_env(env: Mapping[str, str]) -> Iterator[tuple[str, object, str]]:
    for name, value in sorted(env.items()):
        if name.startswith(ENV_PREFIX):
            section, _, key = name.removeprefix(ENV_PREFIX).lower().partition("__")
            key = f"{section}.{key.replace('_', '-')}"
            listed = "tuple" in str(SETTINGS.get(key))
            yield key, [part.strip() for part in value.split(",") if part.strip()] if listed else value, name


def _take(values: dict[str, object], key: str, value: object, source: str, problems: list[str]) -> None:
    """Convert one value to its setting's type and remember it, or what is wrong with it."""
    if key not in SETTINGS:
        in_env = source.startswith(ENV_PREFIX)
        known = {_variable(known): known for known in SETTINGS} if in_env else SETTINGS
        problems.append(f"{source}: there is no such setting{_suggest(source if in_env else key, known)}")
        return
    try:
        # Text stands for numbers and switches only where there is nothing but text: in the environment.
        values[key] = msgspec.convert(value, SETTINGS[key], strict=not source.startswith(ENV_PREFIX))
    except msgspec.ValidationError as error:
        problems.append(f"{source}: {str(error)[:1].lower()}{str(error)[1:]}: {value!r}")


def _variable(key: str) -> str:
    """Return the environment variable of a setting."""
    return ENV_PREFIX + key.replace(".", "__").replace("-", "_").upper()


def _suggest(key: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _assemble(values: Mapping[str, object]) -> Settings:
    sections: dict[str, Any] = {}
    for section, table in _TYPES.items():
        given = {
            field.name: values[f"{section}.{field.encode_name}"]
            for field in msgspec.structs.fields(table)
            if f"{section}.{field.encode_name}" in values
        }
        sections[section] = table(**given)
    return Settings(**sections)


def _contradictions(settings: Settings) -> Iterator[str]:
    """Yield what is wrong with values that are of the right type."""
    yield from _too_small(settings)
    yield from _wrong_address(settings)
    if settings.http.public_url is not None and not _PUBLIC_URL.fullmatch(settings.http.public_url):
        yield f"http.public-url: not scheme://host[:port], with no path: {settings.http.public_url!r}"
    for text in settings.http.trusted_proxies:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            yield f"http.trusted-proxies: not an address or network, such as 10.0.0.0/8: {text!r}"
    if any(not text.isprintable() or not text.isascii() for text in settings.registry.warnings):
        yield "registry.warnings: a header has printable ASCII characters only"
    if sum(len(text) for text in settings.registry.warnings) > _MAX_WARNING_BYTES:
        yield f"registry.warnings: all of them together have at most {_MAX_WARNING_BYTES} characters"


def _too_small(settings: Settings) -> Iterator[str]:
    least = {
        "storage.lease-seconds": (settings.storage.lease_seconds, LEAST_LEASE_SECONDS),
        "storage.upload-idle-seconds": (settings.storage.upload_idle_seconds, 1),
        "http.header-timeout-seconds": (settings.http.header_timeout_seconds, 1),
        "http.max-connections": (settings.http.max_connections, 1),
        "server.workers": (settings.server.workers, 1),
        "server.drain-seconds": (settings.server.drain_seconds, 1),
        "manifests.max-bytes": (settings.manifests.max_bytes, 1),
        "uploads.chunk-min-bytes": (settings.uploads.chunk_min_bytes, 0),
    }
    for key, (value, smallest) in least.items():
        if value < smallest:
            yield f"{key}: at least {smallest}, not {value}"


def _wrong_address(settings: Settings) -> Iterator[str]:
    matched = _LISTEN.fullmatch(settings.http.listen)
    if matched is None or int(matched["port"]) > 65_535:
        yield _NOT_AN_ADDRESS.format(settings.http.listen)
    elif settings.auth.anonymous is None and not _is_loopback(matched["v6"] or matched["host"]):
        yield (
            f"http.listen: everybody who can reach {settings.http.listen} could write to the registry, since nothing "
            'is written down about access: write anonymous = "pull" or anonymous = "push" below [auth], '
            "or ENTREPOT__AUTH__ANONYMOUS=pull"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
