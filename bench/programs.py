"""Other people's programs: where they are, which version, and which Debian package brings them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: commands run here, evidence is written below it."""

SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Debian's own programs come before whatever else is called the same on this machine."""

DEBIAN_PACKAGES = {
    "busybox": "busybox-static",
    "containerd": "containerd",
    "ctr": "containerd",
    "docker": "docker.io",
    "docker-registry": "docker-registry",
    "dockerd": "docker.io",
    "go": "golang-1.24-go of bookworm-backports, or a newer Go",
    "iptables": "iptables",
    "nginx": "nginx",
    "runc": "runc",
    "setpriv": "util-linux",
    "skopeo": "skopeo",
    "wrk": "wrk",
}

VERSION_ARGUMENTS = {"nginx": "-v", "wrk": "-v", "go": "version", "busybox": "--help"}


class MissingProgramError(Exception):
    """A program that the work needs is not on this machine; the message says what to install."""


def program(name: str) -> str:
    """Find a program, or say which Debian package holds it."""
    path = find(name)
    if path is None:
        package = DEBIAN_PACKAGES.get(name, name)
        raise MissingProgramError(f"{name} is not on this machine: install Debian's package {package}")
    return path


def find(name: str) -> str | None:
    """Find a program, Debian's before others of its name; None if there is none."""
    return shutil.which(name, path=f"{SYSTEM_PATH}:{os.environ.get('PATH', '')}")


def beside_python(name: str) -> str:
    """Find a program of the virtual environment that runs this one."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise MissingProgramError(f"{name} is not installed beside {sys.executable}: run `make test` once")
    return str(path)


def version(path: str) -> str:
    """Ask a program for its version: the first word of its answer that looks like one."""
    argument = VERSION_ARGUMENTS.get(Path(path).name, "--version")
    asked = subprocess.run(
        [path, argument], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30, check=False
    )
    found = re.search(r"\d+\.\d+[\w.+~:-]*", asked.stdout)
    return found.group() if found else "unknown"
