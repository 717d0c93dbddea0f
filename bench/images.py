"""Small images to push, made and pushed without any code of the product: a second pair of eyes."""

import gzip
import hashlib
import http.client
import io
import json
import platform as this_machine
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
ALL_MANIFESTS = ", ".join(
    [
        OCI_INDEX,
        OCI_MANIFEST,
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ]
)

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Content:
    """Bytes with their media type, and the content that they refer to."""

    media_type: str
    data: bytes
    references: tuple["Content", ...] = ()
    platform: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The name of the bytes."""
        return digest_of(self.data)

    @property
    def descriptor(self) -> dict[str, Any]:
        """What a manifest says of them."""
        known = {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data)}
        return {**known, "platform": dict(self.platform)} if self.platform else known

    def closure(self) -> Iterator["Content"]:
        """Everything that must be there before this, and then this."""
        for content in self.references:
            yield from content.closure()
        yield self


def digest_of(data: bytes) -> str:
    """Compute the sha256 digest of some bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def this_platform() -> dict[str, str]:
    """Say which platform's images run here."""
    machine = this_machine.machine()
    return {"os": "linux", "architecture": ARCHITECTURES.get(machine, machine)}


def other_platform() -> dict[str, str]:
    """Name a platform whose images do not run here."""
    return {"os": "linux", "architecture": "arm64" if this_platform()["architecture"] != "arm64" else "amd64"}


def layer(files: Mapping[str, bytes]) -> tuple[Content, str]:
    """Make a compressed layer of executable files; also its `diff_id`. The same files, the same bytes."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            tar.addfile(member, io.BytesIO(data))
    raw = archive.getvalue()
    return Content(OCI_LAYER, gzip.compress(raw, mtime=0)), digest_of(raw)


def image(
    layers: Sequence[Mapping[str, bytes]],
    *,
    command: Sequence[str] = (),
    platform: Mapping[str, str] | None = None,
) -> Content:
    """Make an image manifest with one layer per set of files; for this machine unless told otherwise."""
    platform = platform or this_platform()
    made = [layer(files) for files in layers]
    config = Content(
        OCI_CONFIG,
        _json(
            {
                **platform,
                "config": {"Cmd": list(command)},
                "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in made]},
            }
        ),
    )
    blobs = [content for content, _ in made]
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.descriptor,
        "layers": [blob.descriptor for blob in blobs],
    }
    return Content(OCI_MANIFEST, _json(manifest), (config, *blobs), platform)


def index(manifests: Iterable[Content]) -> Content:
    """Make an image index of images."""
    children = tuple(manifests)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [child.descriptor for child in children],
    }
    return Content(OCI_INDEX, _json(document), children)


def write_layout(directory: Path, root: Content, tag: str) -> None:
    """Write an OCI image layout that holds one tagged image or index."""
    for content in root.closure():
        blob = directory / "blobs" / Path(content.digest.replace(":", "/"))
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content.data)
    named = {**root.descriptor, "annotations": {"org.opencontainers.image.ref.name": tag}}
    (directory / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    (directory / "index.json").write_bytes(_json({"schemaVersion": 2, "manifests": [named]}))


def layout_root(directory: Path) -> dict[str, Any]:
    """Read the descriptor of the one image that a layout holds."""
    (descriptor,) = json.loads((directory / "index.json").read_bytes())["manifests"]
    return dict(descriptor)


def push(address: str, repository: str, tag: str, root: Content) -> None:
    """Push an image to a registry, each blob as POST and PUT."""
    *below, _ = root.closure()
    for content in below:
        if content.media_type in (OCI_MANIFEST, OCI_INDEX):
            _put_manifest(address, repository, content.digest, content)
        else:
            _push_blob(address, repository, content)
    _put_manifest(address, repository, tag, root)


def stored_manifest(address: str, repository: str, reference: str) -> tuple[bytes, Mapping[str, str]] | None:
    """Read a manifest's bytes and the answer's headers (lower case); None if there is none."""
    status, headers, body = request(
        address, "GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": ALL_MANIFESTS}
    )
    if status == http.client.NOT_FOUND:
        return None
    _expect(status, http.client.OK, body)
    return body, headers


def request(
    address: str, method: str, target: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> tuple[int, Mapping[str, str], bytes]:
    """Send one request on its own connection: status, headers with names in lower case, body."""
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request(method, target, body=body or None, headers=dict(headers or {}))
        response = connection.getresponse()
        answer = response.read()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, answer
    finally:
        connection.close()


def upload_target(address: str, repository: str, digest: str) -> str:
    """Open an upload; the target of the PUT that finishes it."""
    status, headers, body = request(
        address, "POST", f"/v2/{repository}/blobs/uploads/", headers={"Content-Length": "0"}
    )
    _expect(status, http.client.ACCEPTED, body)
    target = headers["location"].removeprefix(f"http://{address}")
    return f"{target}{'&' if '?' in target else '?'}digest={digest}"


def _push_blob(address: str, repository: str, content: Content) -> None:
    target = upload_target(address, repository, content.digest)
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(len(content.data))}
    status, _, body = request(address, "PUT", target, body=content.data, headers=headers)
    _expect(status, http.client.CREATED, body)


def _put_manifest(address: str, repository: str, reference: str, content: Content) -> None:
    target = f"/v2/{repository}/manifests/{reference}"
    status, _, body = request(
        address, "PUT", target, body=content.data, headers={"Content-Type": content.media_type}
    )
    _expect(status, http.client.CREATED, body)


def _expect(status: int, wanted: int, body: bytes) -> None:
    if status != wanted:
        raise AssertionError(f"expected {wanted}, got {status}: {body[:500]!r}")


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
