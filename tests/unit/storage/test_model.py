"""Random histories of a registry, against a small model of what it has to hold."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from entrepot.errors import (
    BlobUnknown,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestUnknown,
    NameUnknown,
    RangeInvalid,
    Unsupported,
)
from entrepot.oci.digest import Digest
from entrepot.reference import RepositoryName, Tag
from entrepot.storage import Registry, Repository, StorageSettings, UploadId, layout, prepare
from entrepot.testing.images import Content, Tree, artifact, blob, chunked, image, index

T = TypeVar("T")

LAYERS = [blob(size, str(size)) for size in (0, 10, 70_000)]
IMAGES = [image(LAYERS[0], LAYERS[1]), image(LAYERS[2], seed="2")]
SIGNATURE = artifact(LAYERS[1], subject=IMAGES[0])
TREES = [*IMAGES, index(*IMAGES), SIGNATURE]
BLOBS: list[Content] = list({part.digest: part for tree in TREES for part in tree.all_blobs()}.values())

some_repository = strategies.sampled_from(["a", "a/b"])
some_worker = strategies.sampled_from([0, 1])
some_blob = strategies.sampled_from(BLOBS)
some_tree = strategies.sampled_from(TREES)
some_tag = strategies.sampled_from([Tag("1"), Tag("latest")])


@dataclass
class Model:
    """What one repository has to hold."""

    exists: bool = False
    blobs: set[Digest] = field(default_factory=set)
    manifests: dict[Digest, Tree] = field(default_factory=dict)
    tags: dict[Tag, Digest] = field(default_factory=dict)
    uploads: dict[UploadId, bytes] = field(default_factory=dict)

    def missing(self, tree: Tree) -> list[Digest]:
        parts = [part.digest for part in tree.blobs if part.digest not in self.blobs]
        children = [child.digest for child in tree.children if child.digest not in self.manifests]
        return list(dict.fromkeys(parts + children))

    def uses(self, digest: Digest) -> bool:
        return any(part.digest == digest for tree in self.manifests.values() for part in tree.blobs)

    def referrers(self, subject: Digest) -> list[Digest]:
        found = [SIGNATURE.digest] if subject == IMAGES[0].digest else []
        return [digest for digest in found if digest in self.manifests]


class Histories(RuleBasedStateMachine):
    """Two workers on one root, two repositories, everything that can be done to them."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = TemporaryDirectory()
        self._settings = StorageSettings(root=Path(self._directory.name) / "root", durable=False)
        self._lock = prepare(self._settings)
        self._loop = asyncio.Runner()
        self._workers = [self._run(Registry.open(self._settings)) for _ in range(2)]
        self._model = {"a": Model(), "a/b": Model()}

    def teardown(self) -> None:
        for worker in self._workers:
            self._run(worker.close())
        self._loop.close()
        self._lock.close()
        self._directory.cleanup()

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(call)

    def _try(self, call: Coroutine[Any, Any, T]) -> T | Exception:
        try:
            return self._run(call)
        except Exception as error:
            return error

    def _at(self, worker: int, name: str) -> tuple[Repository, Model]:
        return self._workers[worker].repository(RepositoryName(name)), self._model[name]

    @initialize()
    def begin_with_an_image(self) -> None:
        """Something to mount, delete and refer to."""
        repository, model = self._at(0, "a")
        self._run(IMAGES[0].write_to(repository, names=[Tag("1")]))
        model.exists = True
        model.blobs |= {part.digest for part in IMAGES[0].blobs}
        model.manifests[IMAGES[0].digest] = IMAGES[0]
        model.tags[Tag("1")] = IMAGES[0].digest

    @rule(worker=some_worker, name=some_repository, content=some_blob)
    def write_blob(self, worker: int, name: str, content: Content) -> None:
        repository, model = self._at(worker, name)
        self._run(repository.write_blob(content.descriptor, content.open_at))
        model.exists = True
        model.blobs.add(content.digest)

    @rule(worker=some_worker, name=some_repository, content=some_blob, anywhere=strategies.booleans())
    def mount(self, worker: int, name: str, content: Content, anywhere: bool) -> None:
        repository, model = self._at(worker, name)
        other = "a" if name == "a/b" else "a/b"
        there = content.digest in self._model[other].blobs
        if anywhere:
            there = there or content.digest in model.blobs
        found = self._run(repository.mount_blob(content.digest, None if anywhere else RepositoryName(other)))
        assert (found is not None) is there
        if there:
            model.exists = True
            model.blobs.add(content.digest)

    @rule(worker=some_worker, name=some_repository, tree=some_tree, tags=strategies.sets(some_tag))
    def put_manifest(self, worker: int, name: str, tree: Tree, tags: set[Tag]) -> None:
        repository, model = self._at(worker, name)
        missing = model.missing(tree)
        outcome = self._try(
            repository.put_manifest(tree.raw, media_type=tree.descriptor.media_type, tags=tags)
        )
        if missing:
            assert isinstance(outcome, ManifestBlobUnknown)
            assert list(outcome.missing) == missing
            return
        assert not isinstance(outcome, Exception)
        model.exists = True
        model.manifests[tree.digest] = tree
        model.tags |= dict.fromkeys(tags, tree.digest)

    @rule(worker=some_worker, name=some_repository, tag=some_tag)
    def delete_tag(self, worker: int, name: str, tag: Tag) -> None:
        repository, model = self._at(worker, name)
        outcome = self._try(repository.delete_tag(tag))
        if model.tags.pop(tag, None) is None:
            assert isinstance(outcome, ManifestUnknown if model.exists else NameUnknown)
        else:
            assert outcome is None

    @rule(worker=some_worker, name=some_repository, tree=some_tree)
    def delete_manifest(self, worker: int, name: str, tree: Tree) -> None:
        repository, model = self._at(worker, name)
        outcome = self._try(repository.delete_manifest(tree.digest))
        if model.manifests.pop(tree.digest, None) is None:
            assert isinstance(outcome, ManifestUnknown if model.exists else NameUnknown)
        else:
            assert outcome is None
            model.tags = {tag: digest for tag, digest in model.tags.items() if digest != tree.digest}

    @rule(worker=some_worker, name=some_repository, content=some_blob)
    def delete_blob(self, worker: int, name: str, content: Content) -> None:
        repository, model = self._at(worker, name)
        outcome = self._try(repository.delete_blob(content.digest))
        if content.digest not in model.blobs:
            assert isinstance(outcome, BlobUnknown if model.exists else NameUnknown)
        elif model.uses(content.digest):
            assert isinstance(outcome, Unsupported)
        else:
            assert outcome is None
            model.blobs.discard(content.digest)

    @rule(worker=some_worker, name=some_repository)
    def begin_upload(self, worker: int, name: str) -> None:
        repository, model = self._at(worker, name)
        model.uploads[self._run(repository.begin_upload()).upload] = b""
        model.exists = True

    @rule(
        worker=some_worker,
        name=some_repository,
        content=some_blob,
        count=strategies.integers(0, 70_000),
        start=strategies.sampled_from(["right", "none", "wrong"]),
        data=strategies.data(),
    )
    def append(
        self, worker: int, name: str, content: Content, count: int, start: str, data: strategies.DataObject
    ) -> None:
        repository, model = self._at(worker, name)
        upload = self._some_upload(model, data)
        before = model.uploads.get(upload, b"")
        raw = content.raw[len(before) : len(before) + count]
        place = {"right": len(before), "none": None, "wrong": len(before) + 1}[start]
        outcome = self._try(repository.append_upload(upload, chunked(raw), start=place, length=len(raw)))
        if upload not in model.uploads:
            assert isinstance(outcome, BlobUploadUnknown)
        elif start == "wrong":
            assert isinstance(outcome, RangeInvalid)
            assert outcome.size == len(before)
        else:
            assert not isinstance(outcome, Exception)
            model.uploads[upload] = before + raw

    @rule(worker=some_worker, name=some_repository, content=some_blob, data=strategies.data())
    def complete(self, worker: int, name: str, content: Content, data: strategies.DataObject) -> None:
        repository, model = self._at(worker, name)
        upload = self._some_upload(model, data)
        digest = content.digest
        if data.draw(strategies.booleans(), label="as what it is") and upload in model.uploads:
            digest = Digest.of(model.uploads[upload])
        outcome = self._try(repository.complete_upload(upload, digest, None, start=None, length=None))
        if upload not in model.uploads:
            assert (outcome.__class__ is BlobUploadUnknown) is (digest not in model.blobs)
        elif Digest.of(model.uploads[upload]) != digest:
            assert isinstance(outcome, DigestInvalid)
        else:
            assert not isinstance(outcome, Exception)
            assert outcome.size == len(model.uploads.pop(upload))
            model.blobs.add(digest)

    @rule(worker=some_worker, name=some_repository, data=strategies.data())
    def cancel_upload(self, worker: int, name: str, data: strategies.DataObject) -> None:
        repository, model = self._at(worker, name)
        upload = self._some_upload(model, data)
        outcome = self._try(repository.cancel_upload(upload))
        if model.uploads.pop(upload, None) is None:
            assert isinstance(outcome, BlobUploadUnknown)
        else:
            assert outcome is None

    def _some_upload(self, model: Model, data: strategies.DataObject) -> UploadId:
        """Draw one of the repository's uploads, or now and then one of the other one's, or none at all."""
        known = [upload for one in self._model.values() for upload in one.uploads]
        mine = list(model.uploads)
        return data.draw(strategies.sampled_from([*mine, *mine, *known, UploadId("0" * 32)]))

    @rule(worker=some_worker)
    def maintain(self, worker: int) -> None:
        self._run(self._workers[worker].maintain())

    @rule(worker=some_worker)
    def reopen(self, worker: int) -> None:
        self._run(self._workers[worker].close())
        self._workers[worker] = self._run(Registry.open(self._settings))

    @invariant()
    def both_workers_show_what_the_model_holds(self) -> None:
        for worker in (0, 1):
            for name in self._model:
                self._run(self._compare(*self._at(worker, name)))
            with_manifests = [name for name, model in self._model.items() if model.manifests]
            assert self._run(self._workers[worker].repositories(n=9)) == with_manifests

    async def _compare(self, repository: Repository, model: Model) -> None:
        for content in BLOBS:
            assert await repository.has_blob(content.descriptor) is (content.digest in model.blobs)
        for digest in model.blobs:
            reader = await repository.open_stored_blob(await repository.find_blob(digest))
            assert Digest.of(await reader.read(0, reader.size)) == digest
            reader.close()
        for tree in TREES:
            assert await repository.has_manifest(tree.digest) is (tree.digest in model.manifests)
            if tree.digest in model.manifests:
                assert await repository.read_manifest(tree.descriptor.plain()) == tree.raw
            listed = await repository.list_referrers(tree.digest, artifact_type=None, n=9)
            assert [one.digest for one in listed] == model.referrers(tree.digest)
        assert [tag async for tag in repository.tags()] == sorted(model.tags)
        for tag, digest in model.tags.items():
            assert (await repository.resolve(tag)).digest == digest
        for upload, raw in model.uploads.items():
            assert (await repository.upload_status(upload)).offset == len(raw)

    @invariant()
    def files_are_those_of_uploads_and_blobs(self) -> None:
        uploads = {path.name for path in (self._settings.root / layout.UPLOADS).iterdir()}
        assert uploads == {upload for model in self._model.values() for upload in model.uploads}
        files = [path for path in (self._settings.root / layout.BLOBS).rglob("*") if path.is_file()]
        digests = [path.name.partition(".")[0] for path in files]
        assert len(digests) == len(set(digests))
        held = {digest.encoded for model in self._model.values() for digest in model.blobs}
        assert held <= set(digests)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
