"""Platforms and how they match (image-spec `image-index.md`, "Platform Variants"; rules in `variant`)."""

from __future__ import annotations

import platform as host
import re
import sys
from collections.abc import Iterable
from typing import Self

import msgspec

from entrepot.errors import InvalidReference
from entrepot.oci import variant as variants

__all__ = ["Platform"]

_COMPONENT = re.compile(r"[A-Za-z0-9_.-]+")

# What machines, distributions and people call them → Go's GOARCH, and the variant that the name implies.
_ARCHITECTURES = {
    "x86_64": ("amd64", None),
    "x86-64": ("amd64", None),
    "aarch64": ("arm64", None),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv6l": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv8l": ("arm", "v8"),
    "i386": ("386", None),
    "i486": ("386", None),
    "i586": ("386", None),
    "i686": ("386", None),
    "loongarch64": ("loong64", None),
}
_SYSTEMS = {"macos": "darwin", "win32": "windows"}

_GOARCH = re.compile(
    "386|amd64|arm|arm64|loong64|mips|mips64|mips64le|mipsle|ppc64|ppc64le|riscv64|s390x|sparc64|wasm"
)
_GOOS = re.compile(
    "aix|android|darwin|dragonfly|freebsd|illumos|ios|js|linux|netbsd|openbsd|plan9|solaris|wasip1|windows"
)


class Platform(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an image runs on; names as in Go's GOOS and GOARCH."""

    architecture: str
    os: str
    os_version: str | None = msgspec.field(default=None, name="os.version")
    os_features: tuple[str, ...] | None = msgspec.field(default=None, name="os.features")
    variant: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `os/architecture[/variant]`, an architecture alone (of linux) or a system (on this machine).

        Raises:
            InvalidReference: There are other than one to three parts, an odd character in one of them, or a
                single word that is neither a system nor an architecture; points at the character.
        """
        parts = text.split("/")
        _check(text, parts)
        if len(parts) == 1:
            parts = _complete(parts[0].lower(), text)
        system, architecture, variant = _normal(*parts)
        return cls(
            os=system, architecture=architecture, variant=variant if len(parts) == 3 else _implied(parts[1])
        )

    @classmethod
    def of_this_machine(cls) -> Self:
        """Return the platform whose images this machine runs: on macOS and Windows that is linux, in a VM."""
        machine = host.machine().lower()
        if sys.platform == "linux" and machine == "aarch64" and sys.maxsize < 2**32:
            machine = "armv8l"
        _, architecture, _ = _normal("linux", machine)
        return cls(os="linux", architecture=architecture, variant=_implied(machine))

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))

    @property
    def known(self) -> bool:
        """Tell whether this is a platform at all: attestations are listed as `unknown/unknown`."""
        return self.os != "unknown" and self.architecture != "unknown"

    def select(self, offered: Iterable[Platform | None]) -> int | None:
        """Return the position of the best offer that runs here, or None.

        Offers without a platform are never chosen. Among equals the first wins ("the first matching entry
        SHOULD be used"); an os.version counts only when this platform names one; an offer that needs an
        os.feature is chosen only when this platform names it ("each specifying a mandatory OS feature").
        """
        best: tuple[variants.Rank, int] | None = None
        for position, offer in enumerate(offered):
            rank = None if offer is None else self._rank(offer)
            if rank is not None and (best is None or rank > best[0]):
                best = (rank, position)
        return None if best is None else best[1]

    def matches(self, offer: Platform | None) -> bool:
        """Tell whether that runs here."""
        return self.select([offer]) is not None

    def _rank(self, offer: Platform) -> variants.Rank | None:
        system, *own = _normal(self.os, self.architecture, self.variant)
        offered_system, *offered = _normal(offer.os, offer.architecture, offer.variant)
        if system != offered_system or not self._version_fits(offer):
            return None
        if not set(offer.os_features or ()) <= set(self.os_features or ()):
            return None
        return variants.rank((own[0], own[1]), (offered[0], offered[1]))

    def _version_fits(self, offer: Platform) -> bool:
        """Compare `10.0.17763` of `10.0.17763.1098`: Windows runs its own build, whatever the revision."""
        if not self.os_version or not offer.os_version:
            return True
        return offer.os_version.split(".")[:3] == self.os_version.split(".")[:3]


def _check(text: str, parts: list[str]) -> None:
    """Refuse what does not follow the grammar, pointing at the first character that cannot be there."""
    position = 0
    for count, part in enumerate(parts):
        matched = _COMPONENT.match(part)
        good = matched.end() if matched else 0
        if count == 3 or good < max(len(part), 1):
            at = position - 1 if count == 3 else position + good
            hint = "write os/architecture[/variant], as in linux/arm64/v8"
            raise InvalidReference(f"not a platform: {text[:200]!r}", text=text, position=at, hint=hint)
        position += len(part) + 1


def _complete(word: str, text: str) -> list[str]:
    if _GOOS.fullmatch(_SYSTEMS.get(word, word)):
        return [word, host.machine()]
    if _GOARCH.fullmatch(word) or word in _ARCHITECTURES:
        return ["linux", word]
    hint = "write os/architecture[/variant], as in linux/arm64/v8"
    raise InvalidReference(f"neither an operating system nor an architecture: {text!r}", text=text, hint=hint)


def _normal(system: str, architecture: str, variant: str | None = None) -> tuple[str, str, str]:
    """Return the names that Go uses, in lower case, and the variant, the default one filled in."""
    system, architecture = system.lower(), architecture.lower()
    architecture, implied = _ARCHITECTURES.get(architecture, (architecture, None))
    text = implied or (variant or "").lower() or variants.DEFAULTS.get(architecture, "")
    if architecture in variants.DEFAULTS and text[:1].isdecimal() and text.isascii():
        text = f"v{text}"
    return _SYSTEMS.get(system, system), architecture, text


def _implied(architecture: str) -> str | None:
    return _ARCHITECTURES.get(architecture.lower(), ("", None))[1]
