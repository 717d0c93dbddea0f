"""Where an image is, as people write it.

    location  ::= reference | "docker://" reference        a repository on a registry
                | "oci:" directory [ ":" name | "@" digest ]   an OCI image layout
                | "local:" reference                       the image store

A reference means a registry unless it has one of these prefixes. They are those of skopeo and podman, and
those that we do not read yet are refused by name, so that they are not taken for repositories.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from entrepot.errors import DigestInvalid, InvalidReference, TagInvalid
from entrepot.oci.digest import Digest
from entrepot.reference import DEFAULT_TAG, Reference, RefName

__all__ = ["InImageStore", "InLayout", "Location", "OnRegistry", "parse_location"]

_ARCHIVES: Final = ("oci-archive", "docker-archive")
_FOREIGN: Final = (
    "docker-daemon",
    "containers-storage",
    "containers-image",
    "dir",
    "ostree",
    "sif",
    "tarball",
)
_PREFIX: Final = re.compile(r"([A-Za-z][A-Za-z0-9+-]*):(?=/|\.{1,2}/|~|[A-Za-z]:\\)")
_DRIVE: Final = re.compile(r"[A-Za-z]:[\\/]")
_HINT: Final = "a reference means a registry; the prefixes are oci:DIRECTORY[:NAME], local:NAME, docker://"


@dataclass(frozen=True, slots=True)
class OnRegistry:
    """A repository on a registry, and perhaps what in it."""

    reference: Reference

    @property
    def target(self) -> RefName | Digest | None:
        """Return what in the repository is meant."""
        return self.reference.digest or self.reference.tag

    def __str__(self) -> str:
        return str(self.reference)


@dataclass(frozen=True, slots=True)
class InLayout:
    """An OCI image layout, and perhaps what in it."""

    path: Path
    target: RefName | Digest | None

    def __str__(self) -> str:
        separator = "@" if isinstance(self.target, Digest) else ":"
        return f"oci:{self.path}" + (f"{separator}{self.target}" if self.target else "")


@dataclass(frozen=True, slots=True)
class InImageStore:
    """The image store, where an image's name is its full reference."""

    reference: Reference

    @property
    def target(self) -> RefName | Digest | None:
        """Return which image is meant: the digest decides when there is one."""
        return self.reference.digest or self.name

    @property
    def name(self) -> RefName:
        """Return what the image is called there."""
        return RefName(str(self.reference))

    def __str__(self) -> str:
        return str(self.reference)


Location: TypeAlias = OnRegistry | InLayout | InImageStore


def parse_location(text: str, *, default_tag: str | None = DEFAULT_TAG) -> Location:
    """Read where an image is.

    Args:
        text: As people write it.
        default_tag: Added to a reference that has neither tag nor digest; None to leave it out.

    Raises:
        InvalidReference: It follows no grammar of ours, or has a prefix that we do not read.
    """
    prefix, colon, rest = text.partition(":")
    if colon and prefix == "oci":
        return _layout(text, rest)
    if colon and prefix == "local":
        return InImageStore(_reference(text, len("local:"), default_tag))
    if colon and prefix in _ARCHIVES:
        raise InvalidReference(
            f"archives cannot be read or written: {text!r}",
            text=text,
            position=0,
            hint="unpack it into a layout with skopeo, or name a layout with oci:DIRECTORY",
        )
    if not text.startswith(("docker://", "http://", "https://")):
        found = _PREFIX.match(text)
        if found or (colon and prefix in _FOREIGN and ("/" in rest or ":" in rest)):
            raise InvalidReference(
                f"not a prefix that we read: {prefix!r}", text=text, position=0, hint=_HINT
            )
    return OnRegistry(Reference.parse(text, default_tag=default_tag))


def _reference(text: str, start: int, default_tag: str | None) -> Reference:
    """Parse what is behind a prefix; an error still points into the whole text."""
    try:
        return Reference.parse(text[start:], default_tag=default_tag)
    except InvalidReference as error:
        position = None if error.position is None else error.position + start
        raise InvalidReference(error.message, text=text, position=position, hint=error.hint) from None


def _layout(text: str, rest: str) -> InLayout:
    directory, target = rest, ""
    start = 2 if _DRIVE.match(rest) else 0
    at, colon = rest.find("@", start), rest.find(":", start)
    # a directory of this very name is meant as a whole, whatever is in it
    if not Path(rest).is_dir() and (at >= 0 or colon >= 0):
        split = min(position for position in (at, colon) if position >= 0)
        directory, target = rest[:split], rest[split + 1 :]
    if not directory:
        raise InvalidReference(
            f"the directory is missing: {text!r}", text=text, hint="write oci:DIRECTORY[:NAME]"
        )
    if directory == rest:
        return InLayout(Path(directory), None)
    position = len("oci:") + len(directory) + 1
    try:
        found = Digest(target) if rest[len(directory)] == "@" else RefName(target)
    except (DigestInvalid, TagInvalid) as error:
        raise InvalidReference(error.message, text=text, position=position) from None
    return InLayout(Path(directory), found)
