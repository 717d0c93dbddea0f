from __future__ import annotations

import json
from typing import Any

import pytest

from entrepot.errors import (
    BlobUnknown,
    Denied,
    DigestMismatch,
    ForbiddenURL,
    ManifestBlobUnknown,
    ManifestUnknown,
    NameUnknown,
    ProtocolViolation,
    SizeMismatch,
    TagInvalid,
    Unsupported,
)
from entrepot.oci import Descriptor, Digest, encode, mediatype, parse_manifest
from entrepot.oci.index import Index
from entrepot.oci.manifest import ImageManifest
from entrepot.reference import RefName, Tag, referrers_tag
from entrepot.store import DeletesContent, MountsBlobs, Store

pytestmark = pytest.mark.anyio

MANIFESTS = "/v2/demo/app/manifests"
EMPTY = Descriptor(media_type=mediatype.EMPTY_JSON, digest=Digest.of(b"{}"), size=2)


def manifest(
    *, subject: Descriptor | None = None, artifact_type: str | None = None
) -> tuple[Descriptor, bytes]:
    raw = encode(
        ImageManifest(
            schema_version=2,
            media_type=mediatype.IMAGE_MANIFEST,
            artifact_type=artifact_type,
            config=EMPTY,
            layers=(EMPTY,),
            subject=subject,
        )
    )
    return Descriptor(media_type=mediatype.IMAGE_MANIFEST, digest=Digest.of(raw), size=len(raw)), raw


IMAGE, RAW = manifest()
SAID = {"Content-Type": IMAGE.media_type, "Docker-Content-Digest": IMAGE.digest}


async def test_it_is_a_store(odd: Any) -> None:
    """A remote repository has every power of a store that can mount and delete."""
    async with odd.trial() as trial:
        assert isinstance(trial.repository, Store)
        assert isinstance(trial.repository, MountsBlobs)
        assert isinstance(trial.repository, DeletesContent)
        assert trial.repository.seekable


# resolve


async def test_one_head_resolves_a_tag(odd: Any) -> None:
    """A registry that says type, size and digest is asked once."""
    async with odd.trial() as trial:
        trial.peer.on("HEAD", f"{MANIFESTS}/v1", odd.reply(headers=SAID, length=IMAGE.size))
        assert await trial.repository.resolve(Tag("v1")) == IMAGE
    assert len(trial.peer.asked) == 1


@pytest.mark.parametrize(
    "head",
    [
        {"status": 405},
        {"status": 400},
        {"headers": {"Content-Type": IMAGE.media_type}, "length": IMAGE.size},
        {"headers": SAID, "length": -1},
        {"headers": {"Docker-Content-Digest": IMAGE.digest}, "length": IMAGE.size},
        {"headers": {**SAID, "Content-Type": "text/plain; charset=utf-8"}, "length": IMAGE.size},
        {"headers": {**SAID, "Content-Type": "nonsense"}, "length": IMAGE.size},
    ],
)
async def test_a_head_that_does_not_say_enough(odd: Any, head: dict[str, Any]) -> None:
    """Then the manifest itself is read and hashed."""
    async with odd.trial() as trial:
        trial.peer.on("HEAD", f"{MANIFESTS}/v1", odd.reply(**head))
        trial.peer.on(
            "GET", f"{MANIFESTS}/v1", odd.reply(body=RAW, headers={"Content-Type": "application/json"})
        )
        assert await trial.repository.resolve(Tag("v1")) == IMAGE


async def test_parameters_of_the_media_type_are_passed_over(odd: Any) -> None:
    """`; charset=utf-8` is no part of a manifest's media type."""
    async with odd.trial() as trial:
        headers = {**SAID, "Content-Type": f"{IMAGE.media_type}; charset=utf-8"}
        trial.peer.on("HEAD", f"{MANIFESTS}/v1", odd.reply(headers=headers, length=IMAGE.size))
        assert await trial.repository.resolve(Tag("v1")) == IMAGE


@pytest.mark.parametrize(
    ("code", "error"),
    [("MANIFEST_UNKNOWN", ManifestUnknown), ("NAME_UNKNOWN", NameUnknown), ("", ManifestUnknown)],
)
async def test_absent_is_said_in_the_words_of_the_registry(
    odd: Any, code: str, error: type[Exception]
) -> None:
    """A HEAD has no words, so a GET asks for them."""
    async with odd.trial() as trial:
        body = (
            json.dumps({"errors": [{"code": code, "message": "nothing of the sort"}]}).encode()
            if code
            else b""
        )
        trial.peer.on("GET", f"{MANIFESTS}/v1", odd.reply(404, body))
        with pytest.raises(error) as caught:
            await trial.repository.resolve(Tag("v1"))
    assert str(caught.value).endswith(f": {trial.peer.host}/demo/app:v1")


async def test_forbidden_is_not_absent(odd: Any) -> None:
    """A 403 stays one, whatever its body calls it."""
    async with odd.trial() as trial:
        body = b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"private"}]}'
        trial.peer.on("HEAD", f"{MANIFESTS}/v1", odd.reply(403))
        trial.peer.on("GET", f"{MANIFESTS}/v1", odd.reply(403, body))
        with pytest.raises(Denied, match="private"):
            await trial.repository.resolve(Tag("v1"))
        trial.peer.on("HEAD", f"{MANIFESTS}/{IMAGE.digest}", odd.reply(403))
        with pytest.raises(Denied):
            await trial.repository.has_manifest(IMAGE.digest)


async def test_a_page_instead_of_a_manifest(odd: Any) -> None:
    """200 with a web page is not a manifest, and not an absent one either."""
    async with odd.trial() as trial:
        page = odd.reply(body=b"<html><title>Welcome</title></html>", headers={"Content-Type": "text/html"})
        trial.peer.on("HEAD", f"{MANIFESTS}/v1", page)
        trial.peer.on("GET", f"{MANIFESTS}/v1", page)
        with pytest.raises(ProtocolViolation, match="no manifest"):
            await trial.repository.resolve(Tag("v1"))


async def test_another_digest_than_was_asked_for(odd: Any) -> None:
    """A registry that answers a digest with another manifest is found out, by its header or by its bytes."""
    wanted = Digest.of(b"wanted")
    async with odd.trial() as trial:
        trial.peer.on("HEAD", f"{MANIFESTS}/{wanted}", odd.reply(headers=SAID, length=IMAGE.size))
        with pytest.raises(DigestMismatch):
            await trial.repository.resolve(wanted)
        trial.peer.on("HEAD", f"{MANIFESTS}/{wanted}", odd.reply(405))
        trial.peer.on(
            "GET", f"{MANIFESTS}/{wanted}", odd.reply(body=RAW, headers={"Content-Type": IMAGE.media_type})
        )
        with pytest.raises(DigestMismatch):
            await trial.repository.resolve(wanted)


async def test_a_digest_header_that_is_a_lie(odd: Any) -> None:
    """The bytes are hashed; what the header says must agree."""
    async with odd.trial() as trial:
        headers = {"Content-Type": IMAGE.media_type, "Docker-Content-Digest": Digest.of(b"else")}
        trial.peer.on("HEAD", f"{MANIFESTS}/v1", odd.reply(405))
        trial.peer.on("GET", f"{MANIFESTS}/v1", odd.reply(body=RAW, headers=headers))
        with pytest.raises(DigestMismatch):
            await trial.repository.resolve(Tag("v1"))
        trial.peer.on(
            "HEAD", f"{MANIFESTS}/v1", odd.reply(headers={**SAID, "Docker-Content-Digest": "../../x"})
        )
        with pytest.raises(ProtocolViolation, match="Docker-Content-Digest"):
            await trial.repository.resolve(Tag("v1"))


async def test_a_name_that_no_registry_takes(odd: Any) -> None:
    """A name of the image store is refused before anything is sent."""
    async with odd.trial() as trial:
        with pytest.raises(TagInvalid):
            await trial.repository.resolve(RefName("docker.io/library/alpine:latest"))
        with pytest.raises(TagInvalid):
            await trial.repository.write_manifest(IMAGE, RAW, names=[RefName("a/b:c")])
    assert trial.peer.asked == []


# read_manifest


async def test_a_manifest_is_read_as_it_is(odd: Any) -> None:
    """The bytes come back exactly, and the type that is expected is asked for."""
    async with odd.trial() as trial:
        trial.peer.on("GET", f"{MANIFESTS}/{IMAGE.digest}", odd.reply(body=RAW))
        assert await trial.repository.read_manifest(IMAGE) == RAW
    assert trial.peer.asked[0].headers["accept"] == f"{mediatype.IMAGE_MANIFEST}, */*"


@pytest.mark.parametrize(
    ("body", "error"),
    [(RAW[:-1], SizeMismatch), (RAW + b" ", SizeMismatch), (RAW.replace(b"2", b"3", 1), DigestMismatch)],
)
async def test_a_manifest_that_is_not_what_was_promised(
    odd: Any, body: bytes, error: type[Exception]
) -> None:
    """Size and digest are checked before anybody sees a byte."""
    async with odd.trial() as trial:
        trial.peer.on("GET", f"{MANIFESTS}/{IMAGE.digest}", odd.reply(body=body))
        with pytest.raises(error):
            await trial.repository.read_manifest(IMAGE)


async def test_a_manifest_without_end(odd: Any) -> None:
    """Reading stops at the first byte too many; one that is too large by its descriptor is not begun."""
    async with odd.trial() as trial:
        trial.peer.on(
            "GET", f"{MANIFESTS}/{IMAGE.digest}", odd.reply(body=bytes(1 << 16), length=-1, repeats=100_000)
        )
        with pytest.raises(SizeMismatch):
            await trial.repository.read_manifest(IMAGE)
        huge = Descriptor(
            media_type=IMAGE.media_type, digest=IMAGE.digest, size=odd.limits.max_manifest_bytes + 1
        )
        with pytest.raises(SizeMismatch):
            await trial.repository.read_manifest(huge)
    assert len(trial.peer.asked) == 1


async def test_a_compressed_document_that_nobody_asked_for(odd: Any) -> None:
    """A body in an encoding that we did not accept is refused, not inflated."""
    async with odd.trial() as trial:
        reply = odd.reply(body=b"\x1f\x8b" + bytes(100), headers={"Content-Encoding": "gzip"})
        trial.peer.on("GET", "/v2/demo/app/tags/list", reply)
        with pytest.raises(ProtocolViolation, match="gzip"):
            [_ async for _ in trial.repository.tags()]


# has


async def test_what_is_there(odd: Any) -> None:
    """200 with the right size is there, 404 is not, and another size is not the blob."""
    blob = odd.blob(b"content")
    path = f"/v2/demo/app/blobs/{blob.digest}"
    async with odd.trial() as trial:
        assert not await trial.repository.has_blob(blob)
        trial.peer.on("HEAD", path, odd.reply(length=7))
        assert await trial.repository.has_blob(blob)
        trial.peer.on("HEAD", path, odd.reply(length=8))
        assert not await trial.repository.has_blob(blob)
        trial.peer.on("HEAD", path, odd.reply(403))
        with pytest.raises(Denied):
            await trial.repository.has_blob(blob)
        assert not await trial.repository.has_manifest(IMAGE.digest)
        trial.peer.on("HEAD", f"{MANIFESTS}/{IMAGE.digest}", odd.reply(headers=SAID, length=IMAGE.size))
        assert await trial.repository.has_manifest(IMAGE.digest)


# write_manifest


async def test_a_manifest_under_a_tag(odd: Any) -> None:
    """One tag is one PUT, with the manifest's media type and its exact bytes."""
    async with odd.trial() as trial:
        trial.peer.on(
            "PUT", f"{MANIFESTS}/v1", odd.reply(201, headers={"Docker-Content-Digest": IMAGE.digest})
        )
        await trial.repository.write_manifest(IMAGE, RAW, names=[Tag("v1")])
    (put,) = trial.peer.asked
    assert put.body == RAW
    assert put.headers["content-type"] == IMAGE.media_type


async def test_a_manifest_without_a_name(odd: Any) -> None:
    """Without a tag it is put by its digest."""
    async with odd.trial() as trial:
        trial.peer.on("PUT", f"{MANIFESTS}/{IMAGE.digest}", odd.reply(201))
        await trial.repository.write_manifest(IMAGE, RAW)
    assert len(trial.peer.asked) == 1


@pytest.mark.parametrize(
    ("acknowledged", "left"),
    [({"OCI-Tag": "a, b,c"}, []), ({"OCI-Tag": "b"}, ["a", "c"]), ({}, ["a", "b", "c"])],
)
async def test_several_tags(odd: Any, acknowledged: dict[str, str], left: list[str]) -> None:
    """They are sent at once, and those that the registry does not confirm once more, each by itself."""
    async with odd.trial() as trial:
        trial.peer.on("PUT", f"{MANIFESTS}/{IMAGE.digest}", odd.reply(201, headers=acknowledged))
        for tag in "abc":
            trial.peer.on("PUT", f"{MANIFESTS}/{tag}", odd.reply(201))
        await trial.repository.write_manifest(IMAGE, RAW, names=[Tag(tag) for tag in "cab"])
    first, *others = trial.peer.asked
    assert first.query == {"tag": ["a", "b", "c"]}
    assert [asked.path.rpartition("/")[2] for asked in others] == left


async def test_bytes_that_are_not_the_descriptors_are_not_sent(odd: Any) -> None:
    """A wrong manifest is refused here, before the registry sees it."""
    async with odd.trial() as trial:
        with pytest.raises(DigestMismatch):
            await trial.repository.write_manifest(IMAGE, b"x" * IMAGE.size, names=[Tag("v1")])
    assert trial.peer.asked == []


async def test_what_a_manifest_misses(odd: Any) -> None:
    """Every missing digest is in the error."""
    missing = [Digest.of(b"1"), Digest.of(b"2")]
    body = json.dumps(
        {"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "detail": {"digest": d}} for d in missing]}
    )
    async with odd.trial() as trial:
        trial.peer.on("PUT", f"{MANIFESTS}/v1", odd.reply(400, body.encode()))
        with pytest.raises(ManifestBlobUnknown) as caught:
            await trial.repository.write_manifest(IMAGE, RAW, names=[Tag("v1")])
    assert caught.value.missing == tuple(missing)


async def test_a_registry_that_changed_the_manifest(odd: Any) -> None:
    """Another digest in the answer is an error, not a success."""
    async with odd.trial() as trial:
        headers = {"Docker-Content-Digest": Digest.of(b"else")}
        trial.peer.on("PUT", f"{MANIFESTS}/v1", odd.reply(201, headers=headers))
        with pytest.raises(DigestMismatch):
            await trial.repository.write_manifest(IMAGE, RAW, names=[Tag("v1")])


# tags


def page(odd: Any, tags: list[str] | None, link: str | None = None) -> Any:
    headers = {"Link": link} if link else {}
    return odd.reply(body=json.dumps({"name": "demo/app", "tags": tags}).encode(), headers=headers)


async def tags(trial: Any) -> list[str]:
    return [str(tag) async for tag in trial.repository.tags()]


@pytest.mark.parametrize(
    "link",
    [
        '</v2/demo/app/tags/list?n=2&last=b>; rel="next"',
        "</v2/demo/app/tags/list?n=2&last=b>;rel=next",
        '<?n=2&last=b> ; title="a, b; c" ; rel="prev next"',
        '</other>; rel="prev", </v2/demo/app/tags/list?n=2&last=b>; rel="next"',
        '<http://{host}/v2/demo/app/tags/list?n=2&last=b>; rel="next"',
    ],
)
async def test_pages_are_followed(odd: Any, link: str) -> None:
    """Each page names the next by a Link; together they are sorted by bytes, each tag once."""
    async with odd.trial() as trial:
        link = link.format(host=trial.peer.host)
        trial.peer.on(
            "GET",
            "/v2/demo/app/tags/list",
            page(odd, ["a", "b"], link),
            page(odd, ["B", "b"]),
            page(odd, ["never"]),
        )
        assert await tags(trial) == ["B", "a", "b"]
    assert trial.peer.asked[0].query == {}
    assert trial.peer.asked[1].query == {"n": ["2"], "last": ["b"]}


@pytest.mark.parametrize("listed", [None, []])
async def test_no_tags(odd: Any, listed: list[str] | None) -> None:
    """An empty list may be null."""
    async with odd.trial() as trial:
        trial.peer.on("GET", "/v2/demo/app/tags/list", page(odd, listed))
        assert await tags(trial) == []


async def test_a_repository_that_is_not_there(odd: Any) -> None:
    """Without a repository there is no list, which is not an empty one."""
    async with odd.trial() as trial:
        with pytest.raises(NameUnknown):
            await tags(trial)


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'{"tags": "a"}', b'{"tags": ["../x"]}', b"[" * 5000, b"\xff"]
)
async def test_a_list_that_is_none(odd: Any, body: bytes) -> None:
    """Whatever else is there instead of tags is refused."""
    async with odd.trial() as trial:
        trial.peer.on("GET", "/v2/demo/app/tags/list", odd.reply(body=body))
        with pytest.raises(ProtocolViolation):
            await tags(trial)


async def test_pages_in_a_circle(odd: Any) -> None:
    """A page that leads to itself is an error."""
    async with odd.trial() as trial:
        link = '</v2/demo/app/tags/list?last=a>; rel="next"'
        trial.peer.on("GET", "/v2/demo/app/tags/list", page(odd, ["a"], link))
        with pytest.raises(ProtocolViolation, match="circle"):
            await tags(trial)


async def test_pages_without_end(odd: Any) -> None:
    """So many pages and so many bytes, and no more."""
    async with odd.trial() as trial:
        numbers = iter(range(1000))
        trial.peer.on(
            "GET", "/v2/demo/app/tags/list", lambda _: page(odd, [], f'<?last={next(numbers)}>; rel="next"')
        )
        with pytest.raises(ProtocolViolation, match="more than 20 pages"):
            await tags(trial)
        big = ["x" * 100 + str(n) for n in range(4000)]
        trial.peer.on(
            "GET", "/v2/demo/app/tags/list", lambda _: page(odd, big, f'<?last={next(numbers)}>; rel="next"')
        )
        with pytest.raises(ProtocolViolation, match="bytes"):
            await tags(trial)


async def test_a_next_page_elsewhere(odd: Any) -> None:
    """The next page is at the same origin, or there is none."""
    async with odd.trial() as trial, odd.peer().serving() as other:
        trial.peer.on(
            "GET", "/v2/demo/app/tags/list", page(odd, ["a"], f'<http://{other.host}/x>; rel="next"')
        )
        with pytest.raises(ForbiddenURL, match="another host"):
            await tags(trial)
    assert other.asked == []


# referrers


SBOM, SBOM_RAW = manifest(subject=IMAGE, artifact_type="application/vnd.example.sbom")
SIGNATURE, SIGNATURE_RAW = manifest(subject=IMAGE, artifact_type="application/vnd.example.signature")
LISTED = tuple(parse_manifest(raw).as_referrer() for raw in (SBOM_RAW, SIGNATURE_RAW))
REFERRERS = f"/v2/demo/app/referrers/{IMAGE.digest}"
FALLBACK = f"{MANIFESTS}/{referrers_tag(IMAGE.digest)}"


def index(*descriptors: Descriptor) -> bytes:
    return encode(Index(schema_version=2, media_type=mediatype.IMAGE_INDEX, manifests=descriptors))


def index_reply(odd: Any, *descriptors: Descriptor, link: str | None = None) -> Any:
    headers = {"Content-Type": mediatype.IMAGE_INDEX, **({"Link": link} if link else {})}
    return odd.reply(body=index(*descriptors), headers=headers)


async def referrers(trial: Any, artifact_type: str | None = None) -> list[Descriptor]:
    return [d async for d in trial.repository.referrers(IMAGE.digest, artifact_type=artifact_type)]


async def test_the_referrers_api(odd: Any) -> None:
    """Pages are followed, and the filter is applied by us when the registry does not."""
    async with odd.trial() as trial:
        trial.peer.on(
            "GET",
            REFERRERS,
            index_reply(odd, LISTED[0], link='<?p=2>; rel="next"'),
            index_reply(odd, LISTED[1]),
        )
        assert await referrers(trial) == list(LISTED)
        trial.peer.on("GET", REFERRERS, index_reply(odd, *LISTED))
        assert await referrers(trial, "application/vnd.example.sbom") == [LISTED[0]]
    assert trial.peer.asked[-1].query == {"artifactType": ["application/vnd.example.sbom"]}


class Fallback:
    """A registry without the referrers API: it has manifests, by tag and by digest."""

    def __init__(self, odd: Any, peer: Any) -> None:
        self.odd, self.peer = odd, peer
        self.held: bytes | None = None
        for method in ("GET", "HEAD"):
            peer.on(method, FALLBACK, self.get)
        peer.on("PUT", FALLBACK, self.put)

    def get(self, asked: Any) -> Any:
        if self.held is None:
            return self.odd.reply(404)
        headers = {"Content-Type": mediatype.IMAGE_INDEX, "Docker-Content-Digest": Digest.of(self.held)}
        return self.odd.reply(body=self.held, headers=headers)

    def put(self, asked: Any) -> Any:
        self.held = asked.body
        self.peer.on("GET", f"{MANIFESTS}/{Digest.of(self.held)}", self.get)
        return self.odd.reply(201)

    @property
    def digests(self) -> list[str]:
        assert self.held is not None
        return [d["digest"] for d in json.loads(self.held)["manifests"]]


@pytest.mark.parametrize(
    "api", [{"status": 404}, {"body": b"<html>", "headers": {"Content-Type": "text/html"}}]
)
async def test_without_the_api_there_is_the_tag(odd: Any, api: dict[str, Any]) -> None:
    """A 404, or a page that is no index, leads to the referrers tag."""
    async with odd.trial() as trial:
        fallback = Fallback(odd, trial.peer)
        trial.peer.on("GET", REFERRERS, odd.reply(**api))
        assert await referrers(trial) == []
        fallback.put(type("A", (), {"body": index(*LISTED)}))
        assert await referrers(trial) == list(LISTED)
        assert await referrers(trial, "application/vnd.example.signature") == [LISTED[1]]


async def test_a_referrers_tag_that_is_no_index(odd: Any) -> None:
    """Then there are no referrers, and nobody overwrites it."""
    async with odd.trial() as trial:
        headers = {**SAID}
        for method in ("GET", "HEAD"):
            trial.peer.on(method, FALLBACK, odd.reply(body=RAW, headers=headers))
            trial.peer.on(method, f"{MANIFESTS}/{IMAGE.digest}", odd.reply(body=RAW, headers=headers))
        assert await referrers(trial) == []
        trial.peer.on("PUT", f"{MANIFESTS}/{SBOM.digest}", odd.reply(201))
        with pytest.raises(ProtocolViolation, match="no index"):
            await trial.repository.write_manifest(SBOM, SBOM_RAW)
    assert not trial.peer.saw("PUT", FALLBACK)


async def test_a_subject_that_the_registry_has_noticed(odd: Any) -> None:
    """OCI-Subject means that there is nothing more to do."""
    async with odd.trial() as trial:
        trial.peer.on(
            "PUT", f"{MANIFESTS}/{SBOM.digest}", odd.reply(201, headers={"OCI-Subject": IMAGE.digest})
        )
        await trial.repository.write_manifest(SBOM, SBOM_RAW)
    assert len(trial.peer.asked) == 1


async def test_a_subject_that_the_registry_has_not_noticed(odd: Any) -> None:
    """The referrers tag is made, added to, and not written when nothing changes; a delete takes the entry out."""
    async with odd.trial() as trial:
        fallback = Fallback(odd, trial.peer)
        for descriptor, raw in ((SBOM, SBOM_RAW), (SIGNATURE, SIGNATURE_RAW)):
            path = f"{MANIFESTS}/{descriptor.digest}"
            trial.peer.on("PUT", path, odd.reply(201))
            trial.peer.on("GET", path, odd.reply(body=raw, headers={"Content-Type": descriptor.media_type}))
            trial.peer.on("DELETE", path, odd.reply(202))
        await trial.repository.write_manifest(SBOM, SBOM_RAW)
        assert fallback.digests == [SBOM.digest]
        await trial.repository.write_manifest(SIGNATURE, SIGNATURE_RAW)
        assert fallback.digests == [SBOM.digest, SIGNATURE.digest]
        assert fallback.held == index(*LISTED)
        writes = len(trial.peer.saw("PUT", FALLBACK))
        await trial.repository.write_manifest(SBOM, SBOM_RAW)
        assert len(trial.peer.saw("PUT", FALLBACK)) == writes
        await trial.repository.delete_manifest(SBOM.digest)
        assert fallback.digests == [SIGNATURE.digest]


# deletes


async def test_deletes(odd: Any) -> None:
    """A tag, a manifest, a blob: one DELETE each, and what is absent is absent."""
    async with odd.trial() as trial:
        trial.peer.on("GET", f"{MANIFESTS}/{IMAGE.digest}", odd.reply(body=RAW, headers=SAID))
        for path in (f"{MANIFESTS}/v1", f"{MANIFESTS}/{IMAGE.digest}", f"/v2/demo/app/blobs/{EMPTY.digest}"):
            trial.peer.on("DELETE", path, odd.reply(202))
        await trial.repository.delete_tag(Tag("v1"))
        await trial.repository.delete_manifest(IMAGE.digest)
        await trial.repository.delete_blob(EMPTY.digest)
        assert len(trial.peer.saw("DELETE")) == 3
        with pytest.raises(ManifestUnknown):
            await trial.repository.delete_tag(Tag("v2"))
        with pytest.raises(ManifestUnknown):
            await trial.repository.delete_manifest(Digest.of(b"x"))
        with pytest.raises(BlobUnknown):
            await trial.repository.delete_blob(Digest.of(b"x"))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b""),
        (405, b'{"errors":[{"code":"UNSUPPORTED"}]}'),
        (404, b'{"errors":[{"code":"UNSUPPORTED"}]}'),
        (404, b""),
    ],
)
async def test_a_registry_that_cannot_delete_a_tag(odd: Any, status: int, body: bytes) -> None:
    """The manifest is not deleted instead: that would take its other tags too."""
    async with odd.trial() as trial:
        trial.peer.on("HEAD", f"{MANIFESTS}/v1", odd.reply(headers=SAID, length=IMAGE.size))
        trial.peer.on("DELETE", f"{MANIFESTS}/v1", odd.reply(status, body))
        with pytest.raises(Unsupported, match="cannot take a tag away"):
            await trial.repository.delete_tag(Tag("v1"))
    assert len(trial.peer.saw("DELETE")) == 1


async def test_a_delete_that_is_forbidden(odd: Any) -> None:
    """Forbidden is neither absent nor unsupported."""
    async with odd.trial() as trial:
        trial.peer.on("DELETE", f"{MANIFESTS}/v1", odd.reply(403))
        with pytest.raises(Denied):
            await trial.repository.delete_tag(Tag("v1"))


# the registry


async def test_the_catalog(odd: Any) -> None:
    """Repositories come in the registry's order, page after page."""
    async with odd.trial() as trial:
        first = odd.reply(
            body=b'{"repositories":["b","a/c"]}',
            headers={"Link": '</v2/_catalog?last=a%2Fc&n=2>; rel="next"'},
        )
        trial.peer.on("GET", "/v2/_catalog", first, odd.reply(body=b'{"repositories":["a/c","d"]}'))
        registry = trial.remote.registry(trial.peer.host)
        assert [name async for name in registry.repositories()] == ["b", "a/c", "d"]
        trial.peer.on("GET", "/v2/_catalog", odd.reply(body=b'{"repositories":["../x"]}'))
        with pytest.raises(ProtocolViolation):
            [name async for name in registry.repositories()]
    assert trial.peer.asked[1].target == "/v2/_catalog?last=a%2Fc&n=2"


async def test_what_is_no_registry(odd: Any) -> None:
    """Neither a catalog nor /v2/: then it does not speak the specification."""
    async with odd.trial() as trial:
        registry = trial.remote.registry(trial.peer.host)
        with pytest.raises(Unsupported):
            [name async for name in registry.repositories()]
        with pytest.raises(Unsupported):
            await registry.ping()
        trial.peer.on("GET", "/v2/", odd.reply(body=b"{}"))
        await registry.ping()


async def test_a_blob_of_which_only_the_digest_is_known(odd: Any) -> None:
    """A HEAD says how big it is; a registry that does not say is no help."""
    blob = odd.blob(b"content")
    path = f"/v2/demo/app/blobs/{blob.digest}"
    async with odd.trial() as trial:
        with pytest.raises(BlobUnknown):
            await trial.repository.describe_blob(blob.digest)
        trial.peer.on("HEAD", path, odd.reply(length=7))
        assert (await trial.repository.describe_blob(blob.digest)).size == 7
        trial.peer.on("HEAD", path, odd.reply(length=-1))
        with pytest.raises(ProtocolViolation, match="how big"):
            await trial.repository.describe_blob(blob.digest)
