"""A repository as a careful client without any code of the product would use it, one request at a time."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus

from bench.images import ALL_MANIFESTS, OCI_MANIFEST

from proofs.connection import Answer, Connection

__all__ = [
    "Repository",
    "UnservedError",
    "Upload",
    "WrongAnswerError",
    "catalog",
    "digest_of",
    "require",
    "require_blob",
]

_OCTETS = {"Content-Type": "application/octet-stream"}


class WrongAnswerError(Exception):
    """A server said what it should not have said; the message has the request, the status and the body."""


class UnservedError(WrongAnswerError):
    """A server could not do what it was asked and said so (500, 503), as it should when its disk is gone."""


def require(answer: Answer, status: HTTPStatus, what: str) -> None:
    """Go on only with this status.

    Raises:
        UnservedError: The server could not do it.
        WrongAnswerError: It is another status.
    """
    if answer.status == status:
        return
    unserved = answer.status in {HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE}
    kind = UnservedError if unserved else WrongAnswerError
    raise kind(f"{what}: {answer.status} instead of {status.value}: {answer.body[:300]!r}")


def digest_of(data: bytes) -> str:
    """Return the sha256 digest of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that was begun: the target of its requests, without the server's address."""

    target: str

    @property
    def identity(self) -> str:
        """Return the last part of its path, which tells it from others."""
        return self.target.partition("?")[0].rpartition("/")[2]

    def completing(self, digest: str) -> str:
        """Return the target of the PUT that makes it a blob."""
        return f"{self.target}{'&' if '?' in self.target else '?'}digest={digest}"


class Repository:
    """One repository over one connection.

    Args:
        connection: Carries every request; the caller closes it.
        name: Of the repository.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection = connection
        self.name = name

    def begin(self) -> Upload:
        """Begin an upload."""
        answer = self._expect(HTTPStatus.ACCEPTED, "POST", f"/v2/{self.name}/blobs/uploads/")
        return Upload(answer.headers["location"].removeprefix(f"http://{self.connection.address}"))

    def patch(self, upload: Upload, data: bytes | memoryview, *, start: int | None = None) -> Answer:
        """Append a chunk, which begins at `start` if that is said; whatever the answer is."""
        headers = _OCTETS | ({} if start is None else {"Content-Range": f"{start}-{start + len(data) - 1}"})
        return self.connection.request("PATCH", upload.target, body=data, headers=headers)

    def complete(
        self, upload: Upload, digest: str, pieces: Iterable[bytes | memoryview] = (), *, length: int = 0,
        start: int | None = None,
    ) -> Answer:  # fmt: skip
        """Send a last body and make the upload a blob; whatever the answer is."""
        headers = _OCTETS | ({} if start is None else {"Content-Range": f"{start}-{start + length - 1}"})
        self.connection.send_head("PUT", upload.completing(digest), length=length, headers=headers)
        self.connection.send_all(pieces)
        return self.connection.answer()

    def standing(self, upload: Upload) -> int:
        """Return how many bytes an upload has, by GET (204, `Range: 0-LAST`)."""
        answer = self._expect(HTTPStatus.NO_CONTENT, "GET", upload.target)
        return offset_of(answer)

    def push_blob(self, data: bytes) -> str:
        """Push a blob as POST and PUT; its digest."""
        digest = digest_of(data)
        answer = self.complete(self.begin(), digest, [data], length=len(data))
        require(answer, HTTPStatus.CREATED, f"PUT of blob {digest}")
        return digest

    def put_manifest(self, reference: str, raw: bytes) -> Answer:
        """Put an image manifest under a tag or its digest; whatever the answer is."""
        target = f"/v2/{self.name}/manifests/{reference}"
        return self.connection.request("PUT", target, body=raw, headers={"Content-Type": OCI_MANIFEST})

    def delete_manifest(self, reference: str) -> Answer:
        """Delete a tag, or a manifest by its digest; whatever the answer is."""
        return self.connection.request("DELETE", f"/v2/{self.name}/manifests/{reference}")

    def manifest(self, reference: str) -> Answer:
        """Read a manifest; whatever the answer is."""
        target = f"/v2/{self.name}/manifests/{reference}"
        return self.connection.request("GET", target, headers={"Accept": ALL_MANIFESTS})

    def blob(self, digest: str) -> Answer:
        """Read a blob to its end and keep its digest only; whatever the answer is."""
        self.connection.send_head("GET", f"/v2/{self.name}/blobs/{digest}")
        return self.connection.answer(keep_body=False)

    def tags(self) -> list[str]:
        """List the tags; none if there is no such repository."""
        answer = self.connection.request("GET", f"/v2/{self.name}/tags/list")
        if answer.status == HTTPStatus.NOT_FOUND:
            return []
        require(answer, HTTPStatus.OK, f"tags of {self.name}")
        return list(json.loads(answer.body)["tags"] or [])

    def _expect(self, status: HTTPStatus, method: str, target: str) -> Answer:
        answer = self.connection.request(method, target)
        require(answer, status, f"{method} {target}")
        return answer


def require_blob(repository: Repository, digest: str) -> None:
    """Read a blob and go on only if it has the right bytes."""
    answer = repository.blob(digest)
    if (answer.status, answer.digest) != (HTTPStatus.OK, digest):
        raise WrongAnswerError(f"GET of {digest}: {answer.status}, {answer.length} bytes {answer.digest}")


def offset_of(answer: Answer) -> int:
    """Return where an upload stands, as 202, 204 and 416 say it: `Range: 0-LAST`, and `0-0` for nothing or one byte."""
    matched = re.fullmatch(r"(?:bytes=)?0-(\d+)", answer.headers.get("range", ""))
    if matched is None:
        raise WrongAnswerError(f"no Range that says where the upload stands: {dict(answer.headers)}")
    return int(matched[1]) + 1 if matched[1] != "0" else 0


def catalog(connection: Connection) -> list[str]:
    """List the repositories of a registry, page by page."""
    found: list[str] = []
    target = "/v2/_catalog?n=1000"
    while True:
        answer = connection.request("GET", target)
        found += json.loads(answer.body)["repositories"]
        link = re.match(r"<(?:http://[^/]+)?([^>]+)>", answer.headers.get("link", ""))
        if link is None:
            return found
        target = link[1]
