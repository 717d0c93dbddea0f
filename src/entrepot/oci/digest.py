"""Digests (image-spec `descriptor.md`, "Digests").

    digest                ::= algorithm ":" encoded
    algorithm             ::= algorithm-component (algorithm-separator algorithm-component)*
    algorithm-component   ::= [a-z0-9]+
    algorithm-separator   ::= [+._-]
    encoded               ::= [a-zA-Z0-9=_-]+

Registered algorithms restrict `encoded` further: sha256 and blake3 to 64, sha512 to 128 lower-case
hexadecimal digits.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import Protocol, Self

from entrepot.errors import DigestInvalid, DigestMismatch, SizeMismatch

__all__ = ["ALGORITHMS", "EMPTY", "Digest", "Hasher", "Verifier", "new_hasher", "problem_with"]

_GRAMMAR = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")
_BEGINNING = re.compile(r"(?:[a-z0-9]+(?:[+._-][a-z0-9]+)*(?:[+._-]|:[a-zA-Z0-9=_-]*)?)?")
_HEX_DIGITS = {"sha256": 64, "sha512": 128, "blake3": 64}
_LOWER_HEX = re.compile(r"[0-9a-f]*")

MAX_DIGEST_CHARACTERS = 512
"""No registered algorithm needs more than 135; an unregistered one does not get to name a megabyte."""

ALGORITHMS = ("sha256", "sha512", "blake3")
"""The registered algorithms, the default first."""


class Hasher(Protocol):
    """What hashlib and blake3 have in common."""

    def update(self, data: bytes | bytearray | memoryview, /) -> object:
        """Take in more bytes."""

    def hexdigest(self) -> str:
        """Return the hash of all bytes so far."""

    def copy(self) -> Self:
        """Return an independent hasher with the same state."""


def _blake3() -> Hasher:
    try:
        from blake3 import blake3
    except ImportError:
        raise DigestInvalid("blake3 needs an extra: pip install 'entrepot[blake3]'") from None
    hasher: Hasher = blake3()
    return hasher


_NEW: dict[str, Callable[[], Hasher]] = {
    "sha256": lambda: hashlib.sha256(usedforsecurity=True),
    "sha512": lambda: hashlib.sha512(usedforsecurity=True),
    "blake3": _blake3,
}


def new_hasher(algorithm: str = "sha256") -> Hasher:
    """Return a hasher of a registered algorithm.

    Raises:
        DigestInvalid: We cannot compute this algorithm.
    """
    try:
        return _NEW[algorithm]()
    except KeyError:
        known = ", ".join(ALGORITHMS)
        raise DigestInvalid(f"unsupported digest algorithm, not one of {known}: {algorithm!r}") from None


def problem_with(text: str) -> tuple[str, int] | None:
    """Say what keeps a text from being a digest, and at which character; None when it is one."""
    if len(text) > MAX_DIGEST_CHARACTERS:
        return f"a digest has at most {MAX_DIGEST_CHARACTERS} characters", MAX_DIGEST_CHARACTERS
    # fullmatch, not `$`, which lets a trailing newline pass
    if not _GRAMMAR.fullmatch(text):
        return "not a digest (algorithm:encoded)", _length(_BEGINNING, text)
    algorithm, _, encoded = text.partition(":")
    digits = _HEX_DIGITS.get(algorithm)
    hexadecimal = _length(_LOWER_HEX, encoded)
    if digits is None or len(encoded) == hexadecimal == digits:
        return None
    position = len(algorithm) + 1 + min(hexadecimal, digits)
    return f"a {algorithm} digest has {digits} lower-case hexadecimal digits", position


def _length(pattern: re.Pattern[str], text: str) -> int:
    """Return how many characters at the beginning fit a pattern that may match nothing."""
    matched = pattern.match(text)
    return matched.end() if matched else 0


class Digest(str):
    """A digest that follows the grammar. Constructing one is parsing it.

    An algorithm that is not registered passes ("Implementations SHOULD allow digests with unrecognized
    algorithms to pass validation"); `computable` tells whether we can verify it.

    Raises:
        DigestInvalid: The text does not follow the grammar.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Parse the text; a digest is returned as it is."""
        if type(text) is cls:
            return text
        problem = problem_with(text)
        if problem is not None:
            raise DigestInvalid(f"{problem[0]}: {text[:200]!r}")
        return str.__new__(cls, text)

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview, algorithm: str = "sha256") -> Self:
        """Return the digest of these bytes."""
        hasher = new_hasher(algorithm)
        hasher.update(data)
        return cls(f"{algorithm}:{hasher.hexdigest()}")

    @property
    def algorithm(self) -> str:
        """Return the part before the colon."""
        return self.partition(":")[0]

    @property
    def encoded(self) -> str:
        """Return the part after the colon."""
        return self.partition(":")[2]

    @property
    def computable(self) -> bool:
        """Tell whether we can compute this algorithm here, and so verify content against the digest."""
        algorithm = self.algorithm
        return algorithm in _NEW and (algorithm != "blake3" or find_spec("blake3") is not None)

    @property
    def short(self) -> str:
        """Return `sha256:0123456789ab`, enough for people."""
        return f"{self.algorithm}:{self.encoded[:12]}"


EMPTY = Digest.of(b"")
"""The digest of no bytes at all."""


class Verifier:
    """Counts and hashes bytes as they pass, and says at their end whether they are the promised ones.

    The size is checked first and while reading ("Before calculating the digest, the size of the content
    SHOULD be verified"), so a peer that never stops is stopped at the first byte too many.

    Args:
        digest: What the bytes must hash to.
        size: How many they must be; None when nobody has promised a size.
    """

    __slots__ = ("_hasher", "digest", "received", "size")

    def __init__(self, digest: Digest, size: int | None) -> None:
        self.digest = digest
        self.size = size
        self.received = 0
        self._hasher = new_hasher(digest.algorithm)

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take in more bytes.

        Raises:
            SizeMismatch: These are more than were promised.
        """
        self.received += len(data)
        if self.size is not None and self.received > self.size:
            raise SizeMismatch(expected=self.size, actual=self.received, digest=self.digest)
        self._hasher.update(data)

    def finish(self) -> None:
        """Check that all bytes have come and are the right ones.

        Raises:
            SizeMismatch: There were fewer than promised.
            DigestMismatch: They hash to something else.
        """
        if self.size is not None and self.received != self.size:
            raise SizeMismatch(expected=self.size, actual=self.received, digest=self.digest)
        actual = f"{self.digest.algorithm}:{self._hasher.hexdigest()}"
        if actual != self.digest:
            raise DigestMismatch(expected=self.digest, actual=actual)
