"""Names of images: `registry.example:5000/team/app:1.2@sha256:…`.

The grammar is that of the reference package which docker, containerd, podman and nerdctl share
(https://pkg.go.dev/github.com/distribution/reference), with the repository names and tags of
distribution-spec, "Pulling manifests":

    reference       ::= name [ ":" tag ] [ "@" digest ]
    name            ::= [ registry "/" ] repository
    registry        ::= host [ ":" port ]
    host            ::= domain-component ( "." domain-component )* | "[" IPv6 address "]"
    domain-component::= alphanumeric, with "-" inside
    repository      ::= component ( "/" component )*
    component       ::= [a-z0-9]+ ( ( "." | "_" | "__" | "-"+ ) [a-z0-9]+ )*
    tag             ::= [a-zA-Z0-9_] [a-zA-Z0-9._-]{0,127}

The first component is a registry if it has a `.` or a `:`, an upper-case letter, or is `localhost`; otherwise
the registry is docker.io, where a repository of one component is below `library/`.

Where we differ: digests follow image-spec, which admits other algorithms and encodings than hexadecimal; a
port is at most 65535; the 255 characters that a name may have include the registry, as older releases of that
package and distribution-spec's implementers' note count them (newer ones count the repository alone).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Final, Self

from entrepot.errors import InvalidReference, NameInvalid, TagInvalid
from entrepot.oci.digest import ALGORITHMS, MAX_DIGEST_CHARACTERS, Digest, problem_with

__all__ = ["DEFAULT_TAG", "DOCKER_HUB", "RefName", "Reference", "RepositoryName", "Tag", "referrers_tag"]

DOCKER_HUB: Final = "docker.io"
_HUB_ALIASES: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HUB_API_HOST: Final = "registry-1.docker.io"
DEFAULT_TAG: Final = "latest"
MAX_NAME_CHARACTERS: Final = 255
"""Of registry and repository together: what clients impose (distribution-spec, implementers' note)."""
MAX_TAG_CHARACTERS: Final = 128
_SCHEME: Final = "docker://"
_MAX_CHARACTERS: Final = (
    len(_SCHEME) + MAX_NAME_CHARACTERS + 1 + MAX_TAG_CHARACTERS + 1 + MAX_DIGEST_CHARACTERS
)

# Possessive throughout: what has matched is never tried again in another way, so all of these run in linear
# time. A `…_BEGINNING` matches as far as a text could still become valid; behind that is the wrong character.
_COMPONENT = r"[a-z0-9]++(?:(?:\.|__?+|-++)[a-z0-9]++)*+"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*+")
_REPOSITORY_BEGINNING = re.compile(rf"(?:{_COMPONENT}/)*+(?:{_COMPONENT}(?:\.|__?+|-++)?+)?+")
_LABEL = r"[a-zA-Z0-9]++(?:-++[a-zA-Z0-9]++)*+"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*+")
_HOST_BEGINNING = re.compile(rf"(?:{_LABEL}\.)*+(?:{_LABEL}-*+)?+")
_IPV6 = re.compile(r"\[[0-9a-fA-F:]++\]")
_IPV6_BEGINNING = re.compile(r"\[[0-9a-fA-F:]*+")
_PORT = re.compile(r"[0-9]{1,5}")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_REF_NAME = re.compile(r"[A-Za-z0-9_\[][A-Za-z0-9._:@+/\[\]-]{0,1023}")
_BARE_ID = re.compile(r"[a-f0-9]{64}")
_FOREIGN = re.compile(r"[^!-~]")

_LETTERS: Final = "lower-case letters and digits, joined by . _ __ or -, with / between parts"
_NAME_TOO_LONG: Final = f"registry and repository have more than {MAX_NAME_CHARACTERS} characters"


class RepositoryName(str):
    """A repository's name within its registry: `library/alpine`. Constructing one is parsing it.

    Raises:
        NameInvalid: The text does not follow the grammar, or is longer than clients can use.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Parse the text; a repository name is returned as it is."""
        if type(text) is cls:
            return text
        if len(text) > MAX_NAME_CHARACTERS:
            raise NameInvalid(
                f"a repository name has at most {MAX_NAME_CHARACTERS} characters: {text[:80]!r}…"
            )
        if not _REPOSITORY.fullmatch(text):
            message, _, hint = _wrong_in_repository(text)
            raise NameInvalid(f"{message}: {text!r}", hint=hint)
        return str.__new__(cls, text)


class RefName(str):
    """A name that a layout or the image store gives to a manifest: `1.2`, `docker.io/library/alpine:latest`.

    This is what `org.opencontainers.image.ref.name` may hold (image-spec `annotations.md`), and brackets for
    the sake of IPv6 hosts.

    Raises:
        TagInvalid: The text is empty, too long, or has a character that no name has.
    """

    __slots__ = ()

    _grammar = _REF_NAME
    _what = "a name"

    def __new__(cls, text: str) -> Self:
        """Parse the text; one that has been parsed is returned as it is."""
        if type(text) is cls:
            return text
        if not cls._grammar.fullmatch(text):
            raise TagInvalid(f"not {cls._what}: {text[:200]!r}")
        return str.__new__(cls, text)


class Tag(RefName):
    """A name that a registry accepts.

    Raises:
        TagInvalid: The text does not follow the grammar.
    """

    __slots__ = ()

    _grammar = _TAG
    _what = "a tag (a letter, digit or _, then at most 127 of these and . -)"


@dataclass(frozen=True, slots=True)
class Reference:
    """The name of an image, in full.

    Attributes:
        registry: `host[:port]` as it was written; aliases of Docker Hub become `docker.io`.
        repository: The name there.
        tag: Which image; None when only a digest was given.
        digest: Which bytes. With both, the digest decides and the tag is kept for people.
    """

    registry: str
    repository: RepositoryName
    tag: Tag | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str, *, default_tag: str | None = DEFAULT_TAG) -> Self:
        """Read a reference as people write it: `alpine`, `localhost:5000/a`, `name:tag@digest`.

        Args:
            text: The reference; a `docker://` in front of it is passed over.
            default_tag: Added when there is neither tag nor digest; None to leave it out.

        Raises:
            InvalidReference: The text does not follow the grammar; points at the character.
        """
        return cls._from_parts(_Parser(text).parse(), default_tag)

    @classmethod
    def _from_parts(cls, parts: _Parts, default_tag: str | None) -> Self:
        tag = parts.tag or (Tag(default_tag) if default_tag and not parts.digest else None)
        return cls(registry=parts.registry, repository=parts.repository, tag=tag, digest=parts.digest)

    @property
    def name(self) -> str:
        """Return registry and repository."""
        return f"{self.registry}/{self.repository}"

    @property
    def target(self) -> Tag | Digest:
        """Return what to ask the registry for: the digest if there is one, else the tag.

        Raises:
            InvalidReference: It has neither.
        """
        target = self.digest or self.tag
        if target is None:
            name = str(self)
            raise InvalidReference(
                f"neither tag nor digest: {name!r}", text=name, position=len(name), hint="add :TAG or @DIGEST"
            )
        return target

    @property
    def api_host(self) -> str:
        """Return the host that speaks the API: Docker Hub's is not the one in its references."""
        return _HUB_API_HOST if self.registry == DOCKER_HUB else self.registry

    def with_digest(self, digest: Digest) -> Reference:
        """Return the same reference, pinned to these bytes."""
        return replace(self, digest=digest)

    def without_digest(self) -> Reference:
        """Return the same reference by its tag alone."""
        return replace(self, digest=None)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"


@dataclass(frozen=True, slots=True)
class _Parts:
    registry: str
    repository: RepositoryName
    tag: Tag | None
    digest: Digest | None


class _Parser:
    """Takes a reference apart from its end, and knows where each part stood."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.start = len(_SCHEME) if text.startswith(_SCHEME) else 0

    def parse(self) -> _Parts:
        self._check_characters()
        rest = self.text[self.start :]
        self._refuse_bare_digest(rest)
        rest, digest = self._split_digest(rest)
        rest, tag = self._split_tag(rest)
        registry, path = self._split_registry(rest)
        repository = self._repository(path, at=self.start + len(rest) - len(path))
        if registry in _HUB_ALIASES:
            registry = DOCKER_HUB
            if "/" not in repository:
                repository = f"library/{repository}"
        if len(registry) + 1 + len(repository) > MAX_NAME_CHARACTERS:
            raise self._refuse(_NAME_TOO_LONG, None)
        return _Parts(registry, RepositoryName(repository), tag, digest)

    def _refuse(self, message: str, position: int | None, hint: str | None = None) -> InvalidReference:
        shown = repr(self.text) if len(self.text) <= 300 else f"{self.text[:300]!r}…"
        return InvalidReference(f"{message}: {shown}", text=self.text, position=position, hint=hint)

    def _check_characters(self) -> None:
        if self.start == len(self.text):
            raise self._refuse("a reference is missing", None, "write [REGISTRY/]REPOSITORY[:TAG]")
        if len(self.text) > _MAX_CHARACTERS:
            raise self._refuse(f"a reference has at most {_MAX_CHARACTERS} characters", _MAX_CHARACTERS)
        foreign = _FOREIGN.search(self.text)
        if foreign:
            raise self._refuse(f"{foreign[0]!r} cannot be in a reference", foreign.start())

    def _refuse_bare_digest(self, rest: str) -> None:
        if _BARE_ID.fullmatch(rest):
            message = "64 hexadecimal digits are an image id, not a name"
            raise self._refuse(message, self.start, "write NAME@sha256:…")
        if rest.startswith(ALGORITHMS) and ":" in rest and problem_with(rest) is None:
            raise self._refuse("a digest needs a name in front of it", self.start, f"write NAME@{rest}")

    def _split_digest(self, rest: str) -> tuple[str, Digest | None]:
        name, at, text = rest.partition("@")
        if not at:
            return rest, None
        problem = problem_with(text)
        if problem is not None:
            raise self._refuse(problem[0], self.start + len(name) + 1 + problem[1])
        return name, Digest(text)

    def _split_tag(self, rest: str) -> tuple[str, Tag | None]:
        """Split at the last colon behind the last slash; any other colon belongs to the registry's port."""
        colon = rest.rfind(":")
        if colon <= rest.rfind("/") or rest.rfind("]") > colon:
            return rest, None
        text = rest[colon + 1 :]
        matched = _TAG.match(text)
        if matched is None or matched.end() < len(text):
            position = self.start + colon + 1 + (matched.end() if matched else 0)
            raise self._refuse(
                "not a tag (a letter, digit or _, then at most 127 of these and . -)", position
            )
        return rest[:colon], Tag(text)

    def _split_registry(self, rest: str) -> tuple[str, str]:
        first, slash, others = rest.partition("/")
        if not _is_registry(first) or not (slash or first.startswith("[")):
            return DOCKER_HUB, rest
        if others.startswith("/") and first.endswith(":"):
            at = self.start + len(first) - 1
            raise self._refuse("a reference has no scheme", at, "leave out http:// or https://")
        self._check_registry(first)
        return first, others

    def _check_registry(self, registry: str) -> None:
        host, port = _split_port(registry)
        if host.startswith("["):
            wrong = _wrong_in_ipv6(host)
        else:
            wrong = None if _HOST.fullmatch(host) else _end(_HOST_BEGINNING, host)
        if wrong is not None:
            raise self._refuse("not a registry's host", self.start + wrong)
        if port is not None and not (_PORT.fullmatch(port) and 0 < int(port) < 65536):
            raise self._refuse("not a port", self.start + len(host) + 1)

    def _repository(self, path: str, *, at: int) -> str:
        if _REPOSITORY.fullmatch(path):
            return path
        message, position, hint = _wrong_in_repository(path)
        raise self._refuse(message, at + position, hint)


def _is_registry(component: str) -> bool:
    return component == "localhost" or "." in component or ":" in component or component.lower() != component


def _split_port(registry: str) -> tuple[str, str | None]:
    """Split `host:port`; the colons of an IPv6 address are inside brackets."""
    end_of_address = registry.find("]") + 1
    host, colon, port = registry[end_of_address:].partition(":")
    return registry[:end_of_address] + host, port if colon else None


def _wrong_in_ipv6(host: str) -> int | None:
    """Return the first character that cannot be there; the common grammar has no zones and no IPv4 inside."""
    if not _IPV6.fullmatch(host):
        return _end(_IPV6_BEGINNING, host) if "]" not in host[:-1] else host.find("]") + 1
    try:
        ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        return 1
    return None


def _wrong_in_repository(text: str) -> tuple[str, int, str]:
    """Say what is wrong with a repository name that does not follow the grammar, where, and what to write."""
    position = _end(_REPOSITORY_BEGINNING, text)
    if not text:
        return "the repository is missing", position, "write [REGISTRY/]REPOSITORY[:TAG]"
    if position == len(text):
        return "a repository name ends with a letter or digit", position, _LETTERS
    character = text[position]
    hint = "repository names are lower case" if character.isupper() else _LETTERS
    return f"{character!r} cannot be here in a repository name", position, hint


def _end(beginning: re.Pattern[str], text: str) -> int:
    """Return how far a text fits a pattern that may match nothing."""
    matched = beginning.match(text)
    return matched.end() if matched else 0


def referrers_tag(subject: Digest) -> Tag:
    """Return the tag that lists a manifest's referrers where no API does ("Referrers Tag Schema")."""
    text = f"{subject.algorithm[:32]}-{subject.encoded[:64]}"
    return Tag(re.sub(r"[^a-zA-Z0-9._-]", "-", text))
