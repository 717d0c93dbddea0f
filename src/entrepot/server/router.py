"""From a request line to a route.

    path ::= "/v2" [ "/" ] | "/v2/_catalog" | "/v2/_oci/ext/discover"
           | "/v2/" name "/blobs/" digest
           | "/v2/" name "/blobs/uploads" [ "/" [ upload ] ]
           | "/v2/" name "/manifests/" ( tag | digest )
           | "/v2/" name "/tags/list"
           | "/v2/" name "/referrers/" digest

The path is read from its end, so that a repository may be called `blobs/uploads`. It is the *raw* path, as it
came over the wire: nothing is decoded before it is judged, and what is judged is what is used. One escape is
read: `%3A` in a digest, which some HTTP libraries write for the colon (RFC 3986 makes them equivalent).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeAlias
from urllib.parse import parse_qsl

from entrepot.errors import (
    DigestInvalid,
    MethodNotAllowed,
    NameInvalid,
    NameUnknown,
    PaginationNumberInvalid,
    RequestTooLong,
)
from entrepot.oci.digest import ALGORITHMS, Digest
from entrepot.reference import RepositoryName, Tag
from entrepot.server.routes import (
    AppendUpload,
    BeginUpload,
    CancelUpload,
    CompleteUpload,
    DeleteBlob,
    DeleteManifest,
    Discover,
    GetBlob,
    GetManifest,
    GetUpload,
    ListReferrers,
    ListRepositories,
    ListTags,
    MountBlob,
    Page,
    PushBlob,
    PutManifest,
    Route,
    Support,
)
from entrepot.storage.content import UploadId

__all__ = ["MAX_PAGE", "MAX_QUERY_BYTES", "MAX_TAGS", "match"]

MAX_PAGE: Final = 1_000
"""Entries in a page of a list that was asked for with `n`."""

MAX_TAGS: Final = 46
"""Tags in one PUT of a manifest: the names of so many, at their longest, fit into one header line of 6 KiB."""

MAX_QUERY_BYTES: Final = 8_192

_REPEATED: Final = frozenset({"GET", "HEAD"})
_KEPT_BYTES: Final = 512
"""Up to this length of path and query a route is kept; nobody gets to fill the memory with long ones."""

Query: TypeAlias = dict[str, list[str]]
_Build: TypeAlias = Callable[[str, str, Query], Route]
"""Builds a route from a repository's name, the last part of the path, and the query."""


def match(method: str, raw_path: bytes, query: bytes = b"") -> Route:
    """Return what is asked.

    Args:
        method: In upper case.
        raw_path: The path as it came, without the query.
        query: What came after the `?`.

    Raises:
        NameUnknown: No endpoint has this path.
        MethodNotAllowed: One has, but not with this method.
        NameInvalid: What stands for a repository's name is none.
        DigestInvalid: What stands for a digest is none.
        TagInvalid: What stands for a tag is none.
        BlobUploadUnknown: What stands for an upload cannot be one.
        PaginationNumberInvalid: `n` is no number.
        RequestTooLong: The query is too long, or names too many tags.
    """
    if method in _REPEATED and len(raw_path) + len(query) <= _KEPT_BYTES:
        return _kept(method, raw_path, query)
    return _match(method, raw_path, query)


def _match(method: str, raw_path: bytes, query: bytes) -> Route:
    methods, name, last = _find(raw_path)
    build = methods.get(method)
    if build is None:
        raise _not_allowed(method, methods)
    return build(name, last, _parse_query(query) if query else {})


_kept = lru_cache(maxsize=4_096)(_match)
"""The routes of what is read over and over. A route is a value and says nothing about what there is."""


def _find(raw_path: bytes) -> tuple[dict[str, _Build], str, str]:
    """Return the methods of an endpoint, and the repository's name and the last part of the path."""
    fixed = _FIXED.get(raw_path)
    if fixed is not None:
        return fixed, "", ""
    if not raw_path.isascii():
        raise NameInvalid(f"a path has only ASCII characters: {raw_path!r}")
    front, _, rest = raw_path.decode("ascii").rpartition("/")
    front, _, kind = front.rpartition("/")
    if not front.startswith("/v2/"):
        raise _no_endpoint(raw_path)
    if kind == "manifests":
        return _MANIFEST, front[4:], rest
    if kind == "blobs":
        return (_UPLOADS, front[4:], "") if rest == "uploads" else (_BLOB, front[4:], rest)
    if kind == "uploads" and front.endswith("/blobs"):
        return (_UPLOAD if rest else _UPLOADS), front[4:-6], rest
    if kind == "referrers":
        return _REFERRERS, front[4:], rest
    if kind == "tags" and rest == "list":
        return _TAGS, front[4:], rest
    raise _no_endpoint(raw_path)


def _no_endpoint(raw_path: bytes) -> NameUnknown:
    return NameUnknown(f"no endpoint has this path: {raw_path.decode('ascii', 'backslashreplace')[:300]}")


def _not_allowed(method: str, methods: dict[str, _Build]) -> MethodNotAllowed:
    error = MethodNotAllowed(f"this path takes {', '.join(methods)}, not {method[:40]}")
    error.allowed = tuple(methods)
    return error


def _parse_query(query: bytes) -> Query:
    if len(query) > MAX_QUERY_BYTES:
        raise RequestTooLong(f"a query has at most {MAX_QUERY_BYTES} bytes, this has {len(query)}")
    parameters: Query = {}
    # An escape that is no UTF-8 becomes U+FFFD, which no name, tag or digest may have.
    for key, value in parse_qsl(query.decode("ascii", "backslashreplace"), keep_blank_values=True):
        parameters.setdefault(key, []).append(value)
    return parameters


def _first(query: Query, key: str) -> str | None:
    values = query.get(key)
    return values[0] if values else None


def _page(query: Query) -> Page:
    n = _first(query, "n")
    if n is None:
        return Page(None, _first(query, "last") or "")
    # ASCII digits only, and no more of them than can be a number of anything.
    if not (n.isascii() and n.isdigit()) or len(n) > 18:
        raise PaginationNumberInvalid(f"n is a whole number that is not negative: {n[:40]!r}")
    return Page(min(int(n), MAX_PAGE), _first(query, "last") or "")


def _tags_page(query: Query) -> Page:
    """Read a page of a list of tags; `last` "MUST be a proper tag"."""
    page = _page(query)
    if page.last:
        Tag(page.last)
    return page


def _repositories_page(query: Query) -> Page:
    page = _page(query)
    if page.last:
        RepositoryName(page.last)
    return page


def _referrers_page(query: Query) -> Page:
    page = _page(query)
    if page.last:
        Digest(page.last)
    return page


def _digest(text: str) -> Digest:
    """Read a digest from the path, where its colon may have been escaped."""
    return Digest(text.replace("%3A", ":").replace("%3a", ":") if "%" in text else text)


def _reference(text: str) -> Tag | Digest:
    return _digest(text) if ":" in text or "%3" in text else Tag(text)


def _put_manifest(name: str, last: str, query: Query) -> Route:
    repository, reference = RepositoryName(name), _reference(last)
    named = query.get("tag", [])
    if len(named) > MAX_TAGS:
        raise RequestTooLong(f"a manifest is pushed with at most {MAX_TAGS} tags, not {len(named)}")
    tags = tuple(dict.fromkeys(Tag(tag) for tag in named))
    if isinstance(reference, Digest):
        return PutManifest(repository, _computable(reference), tags)
    return PutManifest(repository, None, (reference, *(tag for tag in tags if tag != reference)))


def _computable(digest: Digest) -> Digest:
    if not digest.computable:
        raise DigestInvalid(
            f"content is pushed under {', '.join(ALGORITHMS)}, not under {digest.algorithm!r}"
        )
    return digest


def _begin_upload(name: str, _: str, query: Query) -> Route:
    repository = RepositoryName(name)
    mount = _first(query, "mount")
    if mount is not None:
        return _mount(repository, Digest(mount), query)
    digest = _first(query, "digest")
    if digest is not None:
        return PushBlob(repository, _computable(Digest(digest)))
    algorithm = _first(query, "digest-algorithm") or ALGORITHMS[0]
    if algorithm not in ALGORITHMS:
        raise DigestInvalid(
            f"unsupported digest algorithm, not one of {', '.join(ALGORITHMS)}: {algorithm[:80]!r}"
        )
    return BeginUpload(repository, algorithm)


def _mount(repository: RepositoryName, digest: Digest, query: Query) -> Route:
    """Read a mount. A source that cannot be a repository of ours has no blobs to mount, so an upload begins."""
    source = _first(query, "from")
    try:
        return MountBlob(repository, digest, RepositoryName(source) if source else None)
    except NameInvalid:
        return BeginUpload(repository, digest.algorithm if digest.computable else ALGORITHMS[0])


def _complete_upload(name: str, last: str, query: Query) -> Route:
    repository, upload = RepositoryName(name), UploadId(last)
    digest = _first(query, "digest")
    if digest is None:
        raise DigestInvalid("an upload is completed with ?digest=…, and there is none")
    return CompleteUpload(repository, upload, _computable(Digest(digest)))


def _referrers(name: str, last: str, query: Query) -> Route:
    artifact_type = _first(query, "artifactType") or None
    return ListReferrers(RepositoryName(name), _digest(last), artifact_type, _referrers_page(query))


def _readable(build: _Build) -> dict[str, _Build]:
    """Return the methods of what can be read: HEAD is wherever GET is."""
    return {"GET": build, "HEAD": build}


_BLOB: Final = {
    **_readable(lambda name, last, _: GetBlob(RepositoryName(name), _digest(last))),
    "DELETE": lambda name, last, _: DeleteBlob(RepositoryName(name), _digest(last)),
}
_MANIFEST: Final = {
    **_readable(lambda name, last, _: GetManifest(RepositoryName(name), _reference(last))),
    "PUT": _put_manifest,
    "DELETE": lambda name, last, _: DeleteManifest(RepositoryName(name), _reference(last)),
}
_UPLOADS: Final[dict[str, _Build]] = {"POST": _begin_upload}
_UPLOAD: Final[dict[str, _Build]] = {
    **_readable(lambda name, last, _: GetUpload(RepositoryName(name), UploadId(last))),
    "PATCH": lambda name, last, _: AppendUpload(RepositoryName(name), UploadId(last)),
    "PUT": _complete_upload,
    "DELETE": lambda name, last, _: CancelUpload(RepositoryName(name), UploadId(last)),
}
_TAGS: Final = _readable(lambda name, _, query: ListTags(RepositoryName(name), _tags_page(query)))
_REFERRERS: Final = _readable(_referrers)
_FIXED: Final = {
    b"/v2/": _readable(lambda *_: Support()),
    b"/v2": _readable(lambda *_: Support()),
    b"/v2/_catalog": _readable(lambda _, __, query: ListRepositories(_repositories_page(query))),
    b"/v2/_oci/ext/discover": _readable(lambda *_: Discover()),
}
