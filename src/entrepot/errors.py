"""Every error that Entrepot raises, on both sides of the wire.

    EntrepotError
    ├── InvalidReference            a name that the grammar refuses; points at the character
    ├── InvalidDocument             a document that is not what its media type says; knows the path inside it
    │   └── UnsupportedDocument     a media type or schema that we do not read
    ├── VerificationError           bytes that are not what their descriptor says
    │   ├── DigestMismatch
    │   └── SizeMismatch
    ├── CopyError                   a copy that failed: on which side, at which digest
    ├── StoreError                  a store that cannot do what was asked: full, locked, of a newer version
    ├── ConfigError                 settings that contradict themselves or the machine; all of them at once
    ├── PeerError                   another program on the network that does not behave
    │   ├── ConnectionFailed        no connection, or one that broke
    │   ├── ProtocolViolation       an answer that the specification does not allow
    │   └── ForbiddenURL            a URL from a peer that we refuse to follow
    └── RegistryError               an error of the specification, with its code
        ├── BlobUnknown             ├── BlobUploadInvalid     ├── BlobUploadUnknown
        ├── DigestInvalid           ├── ManifestBlobUnknown   ├── ManifestInvalid
        │                           │                         │   └── ManifestTooLarge
        ├── ManifestUnknown         ├── NameInvalid           ├── NameUnknown
        ├── SizeInvalid             ├── Unauthorized          ├── Denied
        ├── Unsupported             ├── TooManyRequests       ├── RangeInvalid
        │   ├── UnsupportedMediaType
        │   ├── MethodNotAllowed
        │   └── RequestTooLong
        ├── TagInvalid              ├── PaginationNumberInvalid
        └── Unavailable             └── Unknown

The classes state facts. Who renders them decides how: `entrepot.server.problems` turns them into a status
and a body, the command line into one sentence and a hint. An error that came from another registry carries
that registry as its `peer`, so that a server never passes it on as its own.
"""

# Classes are named by the specification's codes, which have no suffix.
# ruff: noqa: N818

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, TypedDict, Unpack

__all__ = [
    "BY_CODE",
    "BlobUnknown",
    "BlobUploadInvalid",
    "BlobUploadUnknown",
    "ConfigError",
    "ConnectionFailed",
    "CopyError",
    "Denied",
    "DigestInvalid",
    "DigestMismatch",
    "EntrepotError",
    "ForbiddenURL",
    "InvalidDocument",
    "InvalidReference",
    "ManifestBlobUnknown",
    "ManifestInvalid",
    "ManifestTooLarge",
    "ManifestUnknown",
    "MethodNotAllowed",
    "NameInvalid",
    "NameUnknown",
    "PaginationNumberInvalid",
    "PeerError",
    "ProtocolViolation",
    "RangeInvalid",
    "RegistryError",
    "RequestTooLong",
    "SizeInvalid",
    "SizeMismatch",
    "StoreError",
    "TagInvalid",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "Unknown",
    "Unsupported",
    "UnsupportedDocument",
    "UnsupportedMediaType",
    "VerificationError",
]


class EntrepotError(Exception):
    """Anything that went wrong and that Entrepot can put into words.

    Args:
        message: One sentence without a full stop, the offending value at its end.
        hint: What the reader may do about it.
        peer: The registry (`host[:port]`) that said so, when it was said to us over the network.
    """

    def __init__(self, message: str, *, hint: str | None = None, peer: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.peer = peer

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        """Make every error survive pickling and copying, whatever its constructor asks for."""
        return _restore, (type(self), self.args), self.__dict__


def _restore(kind: type[EntrepotError], args: tuple[Any, ...]) -> EntrepotError:
    return kind.__new__(kind, *args)


class InvalidReference(EntrepotError):
    """A reference that the grammar refuses.

    Attributes:
        text: What was given.
        position: Index of the first character in `text` that cannot be there, or None when it is the
            whole that is wrong (too long, empty).
    """

    def __init__(
        self, message: str, *, text: str, position: int | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.text = text
        self.position = position

    def pointer(self) -> str:
        """Return the text and, on a second line, a caret under the character that is wrong.

        Of a long text only the surroundings are shown; what cannot be printed is replaced.
        """
        first = max(0, (self.position or 0) - 60)
        shown = self.text[first : first + 100]
        line = "".join(
            character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in shown
        )
        before = "…" if first else ""
        after = "…" if len(self.text) > first + 100 else ""
        caret = "" if self.position is None else f"\n{' ' * (len(before) + self.position - first)}^"
        return f"{before}{line}{after}{caret}"


class InvalidDocument(EntrepotError):
    """A document that is not what its media type says.

    Attributes:
        path: Where inside the document, as in `layers[2].size`; empty for the document as a whole.
    """

    def __init__(self, message: str, *, path: str = "", hint: str | None = None) -> None:
        super().__init__(f"{path}: {message}" if path else message, hint=hint)
        self.path = path


class UnsupportedDocument(InvalidDocument):
    """A document of a media type or schema version that we do not read."""


class VerificationError(EntrepotError):
    """Bytes that are not what their descriptor says. Nothing of them may become visible."""


class DigestMismatch(VerificationError):
    """The bytes have another digest.

    Attributes:
        expected: The digest that was promised.
        actual: The digest of the bytes that came.
    """

    def __init__(self, *, expected: str, actual: str, peer: str | None = None) -> None:
        super().__init__(
            f"the content does not have the promised digest: expected {expected}, got {actual}", peer=peer
        )
        self.expected = expected
        self.actual = actual


class SizeMismatch(VerificationError):
    """There are more or fewer bytes than promised. `actual` is a lower bound: we stop reading early."""

    def __init__(self, *, expected: int, actual: int, digest: str, peer: str | None = None) -> None:
        relation = "more than" if actual > expected else f"{actual} of"
        super().__init__(f"the content has {relation} {expected} bytes: {digest}", peer=peer)
        self.expected = expected
        self.actual = actual
        self.digest = digest


class CopyError(EntrepotError):
    """A copy that failed. `__cause__` says why.

    Attributes:
        side: Which end failed.
        digest: The content that was on its way.
    """

    def __init__(
        self, message: str, *, side: Literal["source", "destination"], digest: str, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.side = side
        self.digest = digest


class StoreError(EntrepotError):
    """A local store that cannot do what was asked."""


class ConfigError(EntrepotError):
    """Settings that cannot be used.

    Attributes:
        problems: One sentence for each of them; all that were found, not the first.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class PeerError(EntrepotError):
    """Another program on the network that does not behave as it must."""


class ConnectionFailed(PeerError):
    """No connection could be made, or one broke before the answer was complete."""


class ProtocolViolation(PeerError):
    """An answer that the specification does not allow."""


class ForbiddenURL(PeerError):
    """A URL that a peer told us to use and that we refuse to follow."""


class _Facts(TypedDict, total=False):
    """What every error of the specification can carry; see `RegistryError`."""

    detail: Any
    hint: str | None
    peer: str | None
    status: int | None


class RegistryError(EntrepotError):
    """An error of the distribution specification ("Error Codes"), raised by a registry or received from one.

    Attributes:
        code: The identifier on the wire.
        detail: Anything JSON that helps a program, as on the wire.
        status: The HTTP status it came with, when it came over the network.
    """

    code: ClassVar[str] = "UNKNOWN"

    def __init__(
        self,
        message: str = "",
        *,
        detail: Any = None,  # noqa: ANN401 - the specification allows any JSON
        hint: str | None = None,
        peer: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message or self.code.replace("_", " ").lower(), hint=hint, peer=peer)
        self.detail = detail
        self.status = status


class BlobUnknown(RegistryError):
    """The repository has no such blob."""

    code = "BLOB_UNKNOWN"


class BlobUploadInvalid(RegistryError):
    """The request does not fit the upload that it names."""

    code = "BLOB_UPLOAD_INVALID"


class BlobUploadUnknown(RegistryError):
    """There is no such upload in this repository: finished, cancelled, expired, or never begun."""

    code = "BLOB_UPLOAD_UNKNOWN"


class DigestInvalid(RegistryError):
    """The digest is malformed, of an unknown algorithm, or not that of the content."""

    code = "DIGEST_INVALID"


class ManifestBlobUnknown(RegistryError):
    """The manifest references content that the repository does not have.

    Attributes:
        missing: Every digest that is missing, in the order of the manifest.
    """

    code = "MANIFEST_BLOB_UNKNOWN"

    def __init__(self, message: str = "", *, missing: Sequence[str] = (), **facts: Unpack[_Facts]) -> None:
        super().__init__(message, **facts)
        self.missing = tuple(missing)


class ManifestInvalid(RegistryError):
    """The manifest is not what its media type says."""

    code = "MANIFEST_INVALID"


class ManifestTooLarge(ManifestInvalid):
    """The manifest has more bytes than the registry takes."""


class ManifestUnknown(RegistryError):
    """The repository has no such manifest or tag."""

    code = "MANIFEST_UNKNOWN"


class NameInvalid(RegistryError):
    """The repository's name does not follow the grammar."""

    code = "NAME_INVALID"


class NameUnknown(RegistryError):
    """The registry has no such repository."""

    code = "NAME_UNKNOWN"


class SizeInvalid(RegistryError):
    """The body does not have the length that was announced."""

    code = "SIZE_INVALID"


class Unauthorized(RegistryError):
    """Nobody has said who asks, or not convincingly."""

    code = "UNAUTHORIZED"


class Denied(RegistryError):
    """It is known who asks, and they may not."""

    code = "DENIED"


class Unsupported(RegistryError):
    """The registry does not do this, or was told not to."""

    code = "UNSUPPORTED"


class UnsupportedMediaType(Unsupported):
    """The registry does not take manifests of this media type."""


class MethodNotAllowed(Unsupported):
    """The path is one of the registry's, and this method is not for it.

    Attributes:
        allowed: The methods that are.
    """

    def __init__(self, message: str = "", *, allowed: Sequence[str] = (), **facts: Unpack[_Facts]) -> None:
        super().__init__(message, **facts)
        self.allowed = tuple(allowed)


class RequestTooLong(Unsupported):
    """The request's target is longer, or names more tags, than the registry takes."""


class TooManyRequests(RegistryError):
    """Slow down.

    Attributes:
        retry_after: Seconds after which to try again, when that was said.
    """

    code = "TOOMANYREQUESTS"

    def __init__(
        self, message: str = "", *, retry_after: float | None = None, **facts: Unpack[_Facts]
    ) -> None:
        super().__init__(message, **facts)
        self.retry_after = retry_after


class RangeInvalid(RegistryError):
    """The range cannot be satisfied, or a chunk does not begin where the upload ends.

    Attributes:
        size: How many bytes there are: of the blob that was asked for, or received so far by the upload.
    """

    code = "RANGE_INVALID"

    def __init__(self, message: str = "", *, size: int | None = None, **facts: Unpack[_Facts]) -> None:
        super().__init__(message, **facts)
        self.size = size


class TagInvalid(RegistryError):
    """The tag does not follow the grammar."""

    code = "TAG_INVALID"


class PaginationNumberInvalid(RegistryError):
    """`n` is not a number of results."""

    code = "PAGINATION_NUMBER_INVALID"


class Unavailable(RegistryError):
    """Not now: the registry is full, busy or stopping.

    Attributes:
        retry_after: Seconds after which to try again, when that was said.
    """

    code = "UNAVAILABLE"

    def __init__(
        self, message: str = "", *, retry_after: float | None = None, **facts: Unpack[_Facts]
    ) -> None:
        super().__init__(message, **facts)
        self.retry_after = retry_after


class Unknown(RegistryError):
    """An error that has no code of its own, or one that we do not know.

    Attributes:
        received_code: The code that was on the wire.
    """

    def __init__(
        self, message: str = "", *, received_code: str | None = None, **facts: Unpack[_Facts]
    ) -> None:
        super().__init__(message, **facts)
        self.received_code = received_code


BY_CODE: dict[str, type[RegistryError]] = {
    kind.code: kind
    for kind in (
        BlobUnknown,
        BlobUploadInvalid,
        BlobUploadUnknown,
        DigestInvalid,
        ManifestBlobUnknown,
        ManifestInvalid,
        ManifestUnknown,
        NameInvalid,
        NameUnknown,
        SizeInvalid,
        Unauthorized,
        Denied,
        Unsupported,
        TooManyRequests,
        RangeInvalid,
        TagInvalid,
        PaginationNumberInvalid,
        Unavailable,
        Unknown,
    )
}
"""The way back from a code on the wire to its class."""
