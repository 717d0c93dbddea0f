"""The requests of the specification to one repository, as they are meant (distribution-spec, "Endpoints")."""

from __future__ import annotations

from collections.abc import Collection

from entrepot.errors import BlobUnknown, ManifestUnknown, NameUnknown
from entrepot.oci import mediatype
from entrepot.oci.descriptor import Descriptor
from entrepot.oci.digest import Digest
from entrepot.reference import RefName, RepositoryName, Tag
from entrepot.remote.authorizer import Access, Scope
from entrepot.remote.message import Body, Request
from entrepot.remote.urls import query
from entrepot.wire.exchange import Cause

__all__ = ["Endpoints"]

_FOUND = frozenset({200})
_DELETED = frozenset({200, 202, 204})


class Endpoints:
    """Makes the requests to one repository.

    Args:
        registry: The registry, `host[:port]`; for errors.
        name: The repository.
    """

    def __init__(self, registry: str, name: RepositoryName) -> None:
        self._registry = registry
        self._name = name

    def subject(self, reference: RefName | Digest) -> str:
        """Return what a request is about, in words."""
        return f"{self._registry}/{self._name}{'@' if isinstance(reference, Digest) else ':'}{reference}"

    def scopes(self, *actions: Access) -> tuple[Scope, ...]:
        """Return what these actions need."""
        return (Scope(self._name, actions),)

    def manifest(
        self,
        method: str,
        reference: RefName | Digest,
        phase: str,
        *,
        accept: str = mediatype.MANIFEST_ACCEPT,
    ) -> Request:
        """Return end-3: look at a manifest, or read it."""
        return Request(
            method=method,
            to=f"/v2/{self._name}/manifests/{reference}",
            subject=self.subject(reference),
            phase=phase,
            headers=(("Accept", accept),),
            expect=_FOUND,
            absent=ManifestUnknown,
            scopes=self.scopes("pull"),
        )

    def put_manifest(
        self, descriptor: Descriptor, raw: bytes, reference: Tag | Digest, tags: Collection[Tag] = ()
    ) -> Request:
        """Return end-7: write a manifest, and several tags with it if there are any."""
        path = f"/v2/{self._name}/manifests/{reference}"
        return Request(
            method="PUT",
            to=f"{path}?{query(*(('tag', tag) for tag in tags))}" if tags else path,
            subject=self.subject(reference),
            phase="write it",
            headers=(("Content-Type", descriptor.media_type),),
            body=Body.of(raw),
            expect=frozenset({200, 201, 202}),
            absent=NameUnknown,
            manifest=True,
            scopes=self.scopes("pull", "push"),
        )

    def delete_manifest(self, reference: Tag | Digest, phase: str) -> Request:
        """Return end-9: delete a manifest or a tag."""
        return Request(
            method="DELETE",
            to=f"/v2/{self._name}/manifests/{reference}",
            subject=self.subject(reference),
            phase=phase,
            expect=_DELETED,
            absent=ManifestUnknown,
            scopes=self.scopes("delete"),
        )

    def blob(self, method: str, digest: Digest, phase: str, *actions: Access) -> Request:
        """Return end-2 or end-10: look at a blob, read it, delete it."""
        return Request(
            method=method,
            to=f"/v2/{self._name}/blobs/{digest}",
            subject=self.subject(digest),
            phase=phase,
            expect=_DELETED if method == "DELETE" else _FOUND,
            absent=BlobUnknown,
            scopes=self.scopes(*(actions or ("pull",))),
        )

    def mount(self, digest: Digest, origin: RepositoryName) -> Request:
        """Return end-11: take a blob from a neighbour."""
        return Request(
            method="POST",
            to=f"/v2/{self._name}/blobs/uploads/?{query(('mount', digest), ('from', origin))}",
            subject=self.subject(digest),
            phase=f"mount it from {origin}?",
            expect=frozenset({201, 202}),
            absent=BlobUnknown,
            scopes=(*self.scopes("pull", "push"), Scope(origin, ("pull",))),
            cause=Cause.MOUNT,
        )

    def uploads(self) -> str:
        """Return the path of end-4, where uploads begin."""
        return f"/v2/{self._name}/blobs/uploads/"

    def tags(self) -> Request:
        """Return end-8: list the tags; without `n`, so that a registry cannot cut the list without saying so."""
        return Request(
            method="GET",
            to=f"/v2/{self._name}/tags/list",
            subject=f"{self._registry}/{self._name}",
            phase="which tags?",
            absent=NameUnknown,
            scopes=self.scopes("pull"),
        )

    def referrers(self, subject: Digest, artifact_type: str | None) -> Request:
        """Return end-12: list the referrers."""
        path = f"/v2/{self._name}/referrers/{subject}"
        return Request(
            method="GET",
            to=f"{path}?{query(('artifactType', artifact_type))}" if artifact_type else path,
            subject=self.subject(subject),
            phase="who refers to it?",
            headers=(("Accept", f"{mediatype.IMAGE_INDEX}, */*"),),
            absent=ManifestUnknown,
            scopes=self.scopes("pull"),
        )
