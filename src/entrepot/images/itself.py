"""An image of Entrepot itself, put together from the Python that runs it: no base image, no network.

    machine's own       C libraries     what the loader finds for the interpreter and every extension module
                        binaries        the interpreter and the extension modules
    any machine's       stdlib          the standard library's source
                        packages        the source of the distributions that Entrepot requires, and Entrepot

In the image the interpreter is in /usr/local and everything that is not Python's own in /opt/entrepot, so it
does not matter whether it comes from pyenv, a virtual environment or a distribution. The layers that are any
machine's are also an image for another platform, which cannot run, and says so.
"""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

import entrepot
from entrepot.errors import StoreError
from entrepot.images.build import Recipe
from entrepot.images.layers import Entry, Layer, entry, tree
from entrepot.oci.annotations import DESCRIPTION, TITLE, VERSION
from entrepot.oci.config import Process
from entrepot.oci.platform import Platform

__all__ = ["NOT_RUNNABLE", "Part", "parts", "recipes"]

NOT_RUNNABLE: Final = (
    "platform-independent layers only: this image shows how layers are shared and cannot run"
)

_HOME: Final = "usr/local"
_APPLICATION: Final = "opt/entrepot"
_NOT_NEEDED: Final = frozenset(
    {
        "__pycache__",
        "test",
        "tests",
        "idlelib",
        "tkinter",
        "turtledemo",
        "lib2to3",
        "ensurepip",
        "site-packages",
    }
    | {"dist-packages", "pydoc_data"}
)
_NOT_NEEDED_MODULE: Final = re.compile(r"(_tkinter|_test.*|_ctypes_test|xx.*|_xx.*)\..+\.so")
_BINARY: Final = re.compile(r".+\.so(\.[0-9.]+)?")
_MACHINE_SOURCE: Final = re.compile(r"_sysconfigdata_.+\.py")
_LDD_LINE: Final = re.compile(r"(?:(?P<name>\S+) => )?(?P<path>/\S+) \(0x[0-9a-f]+\)")
_RESOLVERS: Final = ("libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2")
"""What glibc loads by name when it resolves a host; before 2.34 they are files of their own."""
_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)")
_EXTRA: Final = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")


@dataclass(frozen=True, slots=True)
class Part:
    """What goes into one layer.

    Attributes:
        title: In words.
        entries: The files.
        portable: Whether they are the same on every machine.
    """

    title: str
    entries: tuple[Entry, ...]
    portable: bool


def parts() -> list[Part]:
    """Return the content of the layers, read off the Python that runs; the files themselves are not read yet.

    Raises:
        StoreError: This machine has no `ldd`, or a distribution does not say what its files are.
    """
    stdlib = list(_stdlib())
    packages = list(_packages(_required("entrepot", extras=("server",))))
    program = Path(os.path.realpath(sys.executable))
    binaries = [item for item in (*stdlib, *packages) if _is_binary(item)]
    interpreter = entry(program, f"{_HOME}/bin/python{_version()}")
    libraries = sorted(
        _libraries([program, *(item.content for item in binaries if isinstance(item.content, Path))])
    )
    return [
        Part(
            "C libraries",
            tuple(entry(Path(os.path.realpath(path)), path[1:]) for path in libraries),
            portable=False,
        ),
        Part("binaries", (interpreter, *binaries), portable=False),
        Part("stdlib", tuple(item for item in stdlib if not _is_binary(item)), portable=True),
        Part("packages", (*_base(), *(item for item in packages if not _is_binary(item))), portable=True),
    ]


def recipes(packed: Sequence[tuple[Part, Layer]], *, epoch: int = 0) -> list[Recipe]:
    """Return two images: one that runs on this machine, and one for another that shares the portable layers."""
    here = Platform.of_this_machine()
    other = Platform(os="linux", architecture="amd64" if here.architecture == "arm64" else "arm64")
    everything = [layer for _, layer in packed]
    portable = [layer for part, layer in packed if part.portable]
    about = {TITLE: "Entrepot", VERSION: entrepot.__version__}
    directories = sorted({f"/{name.rpartition('/')[0]}" for part, _ in packed[:1] for name in _files(part)})
    process = Process(
        entrypoint=(f"/{_HOME}/bin/python{_version()}", "-m", "entrepot"),
        cmd=("--help",),
        env=(
            f"PATH=/{_HOME}/bin",
            f"PYTHONHOME=/{_HOME}",
            f"PYTHONPATH=/{_APPLICATION}",
            "PYTHONDONTWRITEBYTECODE=1",
            f"LD_LIBRARY_PATH={':'.join(directories)}",
            f"SSL_CERT_FILE=/{_APPLICATION}/certificates.pem",
        ),
        working_dir="/",
    )
    return [
        Recipe(here, everything, process, epoch, about),
        Recipe(other, portable, Process(), epoch, {**about, DESCRIPTION: NOT_RUNNABLE}),
    ]


def _files(part: Part) -> Iterator[str]:
    return (item.name for item in part.entries if item.content is not None)


def _version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _is_binary(item: Entry) -> bool:
    name = item.name.rpartition("/")[2]
    return bool(_BINARY.fullmatch(name) or _MACHINE_SOURCE.fullmatch(name))


def _stdlib() -> Iterator[Entry]:
    root = Path(sysconfig.get_path("stdlib"))
    yield from tree(root, f"{_HOME}/lib/python{_version()}", leave_out=_dispensable)


def _dispensable(path: Path) -> bool:
    return (
        path.name in _NOT_NEEDED
        or path.name.startswith("config-")
        or path.suffix in {".pyc", ".a"}
        or _NOT_NEEDED_MODULE.fullmatch(path.name) is not None
    )


def _base() -> Iterator[Entry]:
    """Yield what programs expect of any system: somewhere for temporary files, an account, certificates."""
    yield Entry("tmp")
    yield Entry("etc/passwd", content=b"root:x:0:0:root:/:/sbin/nologin\n")
    yield Entry("etc/group", content=b"root:x:0:\n")
    certificates = ssl.get_default_verify_paths().cafile
    if certificates is not None:
        yield Entry(f"{_APPLICATION}/certificates.pem", content=Path(certificates).read_bytes())


def _packages(distributions: Iterable[metadata.Distribution]) -> Iterator[Entry]:
    yield from tree(Path(entrepot.__file__).parent, f"{_APPLICATION}/entrepot", leave_out=_dispensable)
    for distribution in distributions:
        if distribution.files is None:
            raise StoreError(f"this distribution does not say what its files are: {distribution.name}")
        for file in distribution.files:
            path = Path(os.path.realpath(str(file.locate())))
            # scripts are outside, and an editable install has a file that leads to its source
            if ".." not in file.parts and path.suffix not in {".pyc", ".pth"} and path.is_file():
                yield entry(path, f"{_APPLICATION}/{file.as_posix()}")


def _required(name: str, *, extras: Sequence[str] = ()) -> list[metadata.Distribution]:
    """Return the distributions that one requires, and those that these require, except itself.

    Markers other than extras are not evaluated: what they exclude here is not installed here.
    """
    found: dict[str, metadata.Distribution] = {}
    wanted = [(name, frozenset(extras))]
    while wanted:
        current, extras_here = wanted.pop()
        try:
            distribution = metadata.distribution(current)
        except metadata.PackageNotFoundError:
            continue
        key = re.sub(r"[-_.]+", "-", distribution.name).lower()
        if key in found:
            continue
        found[key] = distribution
        for text in distribution.requires or ():
            required = _REQUIREMENT.match(text)
            only_with = set(_EXTRA.findall(text))
            if required and (not only_with or only_with & extras_here):
                wanted.append((required[1], frozenset()))
    return [distribution for key, distribution in sorted(found.items()) if key != name]


def _libraries(binaries: Sequence[Path]) -> set[str]:
    """Return the paths of all shared libraries that the loader finds for these, and of the loader.

    Raises:
        StoreError: There is no `ldd`.
    """
    ldd = shutil.which("ldd")
    if ldd is None:
        raise StoreError(
            "shared libraries cannot be found out without ldd", hint="install your system's C library tools"
        )
    dynamic = [str(path) for path in binaries if _BINARY.fullmatch(path.name) or os.access(path, os.X_OK)]
    listed = subprocess.run([ldd, *dynamic], capture_output=True, text=True, check=False).stdout
    found = {matched["path"] for matched in _LDD_LINE.finditer(listed)}
    for libc in [Path(path) for path in found if path.endswith("/libc.so.6")]:
        found |= {str(libc.with_name(name)) for name in _RESOLVERS if libc.with_name(name).exists()}
    return found - {str(path) for path in binaries}
