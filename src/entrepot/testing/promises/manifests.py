"""Promises about manifests and what refers to them."""

from __future__ import annotations

import msgspec

from entrepot.errors import EntrepotError, ManifestUnknown, NameUnknown, VerificationError
from entrepot.oci import Descriptor, Digest, Platform, mediatype
from entrepot.store import Store
from entrepot.testing.images import Content, Tree, artifact, content, image, index
from entrepot.testing.promises.trial import (
    Broken,
    Promise,
    Trial,
    name_absent,
    refused,
    require,
    tree_present,
)

__all__ = ["PROMISES"]


async def image_round_trip(trial: Trial) -> None:
    async with trial.open() as store:
        for media_type in (mediatype.IMAGE_MANIFEST, mediatype.DOCKER_MANIFEST):
            built = image(trial.blob(70_000), seed=trial.seed, media_type=media_type)
            await built.write_to(store, names=[trial.name("image")])
            await tree_present(store, built, f"after writing {media_type}", trial.name("image"))


async def index_round_trip(trial: Trial) -> None:
    arm = image(
        trial.blob(500), platform=Platform(os="linux", architecture="arm64", variant="v8"), seed=trial.seed
    )
    inner = index(trial.image("amd64"), arm)
    outer = index(inner, trial.image("beside"), annotations={"org.example.level": "outer"})
    async with trial.open() as store:
        await outer.write_to(store, names=[trial.name()])
        await tree_present(store, outer, "after writing an index in an index", trial.name())


async def artifact_round_trip(trial: Trial) -> None:
    subject = trial.image()
    about = artifact(trial.blob(300), subject=subject, annotations={"org.example.note": "ä"})
    async with trial.open() as store:
        await subject.write_to(store)
        await about.write_to(store)
        await tree_present(store, about, "after writing an artifact with a subject")


async def bytes_kept(trial: Trial) -> None:
    built = trial.image()
    odd = (
        built.raw.replace(b"{", b'{ "x-unknown" : [1, {"y": null}],\n\t', 1).replace(b":2,", b" :2 , ", 1)
        + b"\n"
    )
    kept = Tree(content(odd, mediatype.IMAGE_MANIFEST), built.blobs)
    async with trial.open() as store:
        await kept.write_to(store, names=[trial.name()])
        await tree_present(
            store, kept, "after writing a manifest with unknown fields and odd spaces", trial.name()
        )


async def sha512(trial: Trial) -> None:
    built = trial.image(algorithm="sha512")
    async with trial.open() as store:
        await built.write_to(store, names=[trial.name()])
        await tree_present(store, built, "after writing a manifest under its sha512", trial.name())


async def unknown(trial: Trial) -> None:
    never = trial.image("never written").descriptor.plain()
    async with trial.open() as store:
        await trial.image("makes the repository exist").write_to(store)
        await name_absent(store, trial.name("nobody"), "for a name that nobody gave")
        with refused("resolve of a digest that nobody wrote", ManifestUnknown):
            await store.resolve(never.digest)
        with refused("read_manifest of one that nobody wrote", ManifestUnknown):
            await store.read_manifest(never)
        require(
            not await store.has_manifest(never.digest), "has_manifest says True for one that nobody wrote"
        )


async def read_is_verified(trial: Trial) -> None:
    built = trial.image()
    async with trial.open() as store:
        await built.write_to(store)
        for size in (len(built.raw) - 1, len(built.raw) + 1):
            with refused(
                f"read_manifest of {len(built.raw)} bytes with a descriptor of {size}", VerificationError
            ):
                await store.read_manifest(msgspec.structs.replace(built.descriptor.plain(), size=size))


async def write_is_verified(trial: Trial) -> None:
    built, other = trial.image(), trial.image("other")
    same_size = built.raw[:-1] + b" "
    async with trial.open_twice() as (store, another):
        await _write_blobs(store, built, other)
        for raw, what in (
            (same_size, "other bytes"),
            (built.raw + b" ", "more bytes"),
            (built.raw[:-1], "fewer bytes"),
        ):
            with refused(f"a manifest with {what} than its descriptor says", VerificationError):
                await store.write_manifest(built.descriptor, raw)
            require(not await another.has_manifest(built.digest), f"after {what}, has_manifest says True")
            with refused(f"after {what}, resolve", ManifestUnknown, NameUnknown):
                await another.resolve(built.digest)


async def idempotent(trial: Trial) -> None:
    built = trial.image()
    async with trial.open() as store:
        await built.write_to(store, names=[trial.name()])
        try:
            await store.write_manifest(built.descriptor, built.raw, names=[trial.name()])
            await store.write_manifest(built.descriptor, built.raw)
        except EntrepotError as error:
            raise Broken(f"writing it again raised {type(error).__name__}: {error}") from error
        await tree_present(store, built, "after writing it three times", trial.name())


async def referrers(trial: Trial) -> None:
    subject, unrelated = trial.image(), trial.image("unrelated")
    sbom = artifact(
        trial.blob(10), subject=subject, artifact_type="application/vnd.example.sbom", annotations={"a": "b"}
    )
    signature = artifact(subject=subject, artifact_type="application/vnd.example.signature")
    listed = index(trial.image("listed"), subject=subject, artifact_type="application/vnd.example.bundle")
    by_config = image(trial.blob(20), seed=f"{trial.seed} by config", subject=subject)
    async with trial.open() as store:
        await sbom.write_to(store)  # before its subject: referrers may come first
        await subject.write_to(store, names=[trial.name()])
        for other in (signature, listed, by_config):
            await other.write_to(store)
        await artifact(subject=unrelated, artifact_type="application/vnd.example.sbom").write_to(store)
        await _refer(store, subject.digest, None, sbom, signature, listed, by_config)
        await _refer(store, subject.digest, "application/vnd.example.sbom", sbom)
        await _refer(store, subject.digest, "application/vnd.example.bundle", listed)
        await _refer(store, subject.digest, mediatype.IMAGE_CONFIG, by_config)
        await _refer(store, subject.digest, "application/vnd.example.nothing")
        await _refer(store, trial.image("nobody refers to").digest, None)


async def _refer(store: Store, subject: Digest, artifact_type: str | None, *wanted: Tree) -> None:
    found = {one.digest: one async for one in store.referrers(subject, artifact_type=artifact_type)}
    which = f"with artifactType {artifact_type}" if artifact_type else "without a filter"
    require(
        found.keys() == {tree.digest for tree in wanted},
        f"referrers {which}: {len(found)} came, not {len(wanted)}",
    )
    for tree in wanted:
        expected = _as_referrer(tree.manifest)
        require(
            found[tree.digest] == expected, f"referrers {which}: {found[tree.digest]} came, not {expected}"
        )


def _as_referrer(manifest: Content) -> Descriptor:
    """Return what the distribution specification says that a referrers list holds, by its plain words."""
    document = msgspec.json.decode(manifest.raw)
    own = document.get("artifactType")
    return Descriptor(
        media_type=document["mediaType"],
        digest=manifest.digest,
        size=len(manifest.raw),
        artifact_type=own or document["config"]["mediaType"],
        annotations=document.get("annotations"),
    )


async def _write_blobs(store: Store, *trees: Tree) -> None:
    for tree in trees:
        for part in tree.all_blobs():
            await store.write_blob(part.descriptor, part.open_at)


PROMISES = (
    Promise(
        "image-round-trip", "an image is read back, byte for byte, by digest and by name", image_round_trip
    ),
    Promise("index-round-trip", "so is an index, and an index in an index", index_round_trip),
    Promise("artifact-round-trip", "so is an artifact with a subject", artifact_round_trip),
    Promise("manifest-bytes-kept", "unknown fields, spaces and the order of a manifest are kept", bytes_kept),
    Promise("manifest-sha512", "a manifest may be known by its sha512", sha512),
    Promise("manifest-unknown", "what is not there is ManifestUnknown", unknown),
    Promise(
        "manifest-read-verified",
        "read_manifest gives bytes of this digest and this size, or raises",
        read_is_verified,
    ),
    Promise(
        "manifest-write-verified",
        "bytes that are not what the descriptor says are refused and not visible",
        write_is_verified,
    ),
    Promise("manifest-idempotent", "write_manifest is idempotent", idempotent),
    Promise(
        "referrers", "referrers are the manifests whose subject this is, filtered by artifactType", referrers
    ),
)
